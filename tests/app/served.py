"""The app's server and a Chromium to look at it: what tests in a browser and the bench share."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mixlab.app.launch import command
from mixlab.app.main import GROUPS

PAGES = [name for pages in GROUPS.values() for name, *_ in pages]
"""Every page of the navigation, by its file's name."""
CHROMIUM = shutil.which("chromium")
WAIT_MS = 60_000
"""First render took 2-9 s on two busy cores; the fits of Explore and Advice 40 s on very busy ones."""
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"


@contextmanager
def serving(project: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The app of the lab in a project directory: its address, and the process of the server, killed at the end."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "MIXLAB_HOME": str(project / "lab")}
    env.pop("COVERAGE_PROCESS_CONFIG", None)  # at its full speed: what its lines do is measured without a browser
    url, log = f"http://127.0.0.1:{port}", project / f"server-{port}.log"
    with open(log, "wb") as out:
        server = subprocess.Popen(command(port, headless=True), cwd=project, env=env, stdout=out, stderr=out)
        try:
            _wait_for(f"{url}/_stcore/health", server, log)
            yield url, server
        finally:
            server.kill()
            server.wait(10)


@contextmanager
def browsing() -> Iterator[Browser]:
    """A headless Chromium; skips without one, and fails in CI, which installs it."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium in CI: .ci/run installs it with `apt-get install chromium`")
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@contextmanager
def looking(browser: Browser) -> Iterator[Page]:
    """A page 1280 px wide; at its end, nothing was asked of another machine and no script has thrown."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    asked, thrown = [], []
    tab.on("request", lambda r: asked.append(r.url))
    tab.on("pageerror", lambda e: thrown.append(str(e)))
    tab.on("dialog", lambda d: thrown.append(f"a dialog of the browser: {d.message}"))
    yield tab
    tab.close()
    local = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    assert not [url for url in asked if not url.startswith(local)]
    assert not thrown


def open_page(tab: Page, url: str, page: str, query: str = "") -> None:
    """Goes to a page by its file's name and waits until its script has run to the end."""
    tab.goto(f"{url}/{'' if page == 'home' else page}{query}")
    settle(tab)


def settle(tab: Page) -> None:
    """Waits until the page has been drawn to the end; a mistake of ours on it fails the test."""
    expect(tab.locator("h1").first).to_be_visible(timeout=WAIT_MS)
    expect(tab.locator(DONE)).to_be_attached(timeout=WAIT_MS)
    expect(tab.get_by_text("This is a mistake in mixlab")).not_to_be_attached()


def _wait_for(health: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(health, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the app did not answer within 60 s:\n" + log.read_text())
