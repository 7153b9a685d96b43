"""The app in a real browser: what AppTest cannot see. Keeps screenshots in $MIXLAB_SCREENSHOTS if that is set."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from mixlab.app.launch import command
from tests.app.served import settle
from tests.app.synthetic_lab import make_lab

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium")
WAIT_MS = 20_000
"""First render took 2-9 s on two busy cores."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A project directory with a synthetic lab."""
    path = tmp_path_factory.mktemp("project")
    make_lab(path / "lab")
    return path


@pytest.fixture(scope="module")
def url(folder):
    """The app's server, started as `mixlab app` does, on a free port of this machine."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "MIXLAB_HOME": str(folder / "lab")}
    log = open(folder / "server.log", "wb")  # noqa: SIM115 - closed below, after the server
    server = subprocess.Popen(command(port, headless=True), cwd=folder, env=env, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server, folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)
        log.close()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium in CI: .ci/run installs it with `apt-get install chromium`")
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser, url):
    """A page 1280 px wide that fails the test if it asks for anything outside this machine or throws."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked, thrown = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: thrown.append(str(e)))
    yield page
    page.close()
    assert not [u for u in asked if not u.startswith((url, url.replace("http", "ws"), "data:", "blob:"))]
    assert not thrown


def test_fast_keys_and_locks_keep_the_weights_at_100_percent_and_save_writes_them(tab, url, folder):
    _open(tab, f"{url}/mix", "Mix")
    _choose(tab, "Start from", "uniform")
    settle(tab)  # a rerun may replace the button under the click
    tab.get_by_role("button", name="Use", exact=True).click()
    sliders = tab.get_by_role("slider")
    expect(sliders).to_have_count(4, timeout=WAIT_MS)
    expect(sliders.nth(1)).to_have_value("250", timeout=WAIT_MS)
    tab.get_by_label("Lock docs").check()
    sliders.nth(1).focus()
    for _ in range(60):
        tab.keyboard.press("ArrowRight")
    values = [int(sliders.nth(i).input_value()) for i in range(4)]
    assert values == [220, 310, 250, 220]
    tab.get_by_label("Name", exact=True).fill("more-code")
    tab.get_by_role("button", name="Save", exact=True).click()
    expect(tab.get_by_text("Saved.")).to_be_visible(timeout=WAIT_MS)
    expect(tab.get_by_text("mixlab run mixture=more-code")).to_be_visible()
    expect(tab.get_by_text("100.0%")).to_be_visible()
    saved = yaml.safe_load((folder / "sweeps" / "mixture" / "more-code.yaml").read_text())
    assert saved == {
        "rule": "weights",
        "name": "more-code",
        "weights": {"books": 0.22, "code": 0.31, "docs": 0.25, "wiki": 0.22},
    }
    _shots(tab, "mix", folder)


def test_presses_followed_straight_by_save_save_what_is_shown(tab, url, folder):
    _open(tab, f"{url}/mix", "Mix")
    expect(tab.get_by_role("slider")).to_have_count(4, timeout=WAIT_MS)
    tab.get_by_label("Name", exact=True).fill("straight")
    first = tab.get_by_role("slider").first
    first.focus()
    tab.keyboard.press("Home")
    for _ in range(30):
        tab.keyboard.press("ArrowRight")
    tab.get_by_role("button", name="Save", exact=True).click()
    expect(tab.get_by_text("Saved.")).to_be_visible(timeout=WAIT_MS)
    saved = yaml.safe_load((folder / "sweeps" / "mixture" / "straight.yaml").read_text())["weights"]
    shown = [int(tab.get_by_role("slider").nth(i).input_value()) for i in range(4)]
    assert [round(1000 * w) for w in saved.values()] == shown
    assert shown[0] == 30 and sum(shown) == 1000


def test_a_typed_percentage_moves_the_others(tab, url):
    _open(tab, f"{url}/mix", "Mix")
    sliders = tab.get_by_role("slider")
    expect(sliders).to_have_count(4, timeout=WAIT_MS)
    box = tab.get_by_label("wiki, percent")
    box.fill("40")
    box.press("Enter")
    values = [int(sliders.nth(i).input_value()) for i in range(4)]
    assert values[3] == 400 and sum(values) == 1000
    expect(tab.get_by_text("over the limit of 4")).not_to_be_visible()
    expect(tab.get_by_text("2.40 epochs, repeats")).to_be_visible(timeout=WAIT_MS)


def test_home_shows_states_verdict_and_best_mixes(tab, url, folder):
    _open(tab, url, "mixlab")
    expect(tab.get_by_role("heading", name="Last verdict")).to_be_visible(timeout=WAIT_MS)
    expect(tab.get_by_text("The gain over natural is 0.05 ± 0.01.")).to_be_visible()
    expect(tab.get_by_role("heading", name="Best mixes")).to_be_visible()
    assert tab.title() == "mixlab"
    _shots(tab, "home", folder)


def test_a_shared_link_opens_the_chosen_runs_and_hostile_samples_stay_text(tab, url, folder):
    tab.on("dialog", lambda d: pytest.fail("a sample ran as a script"))
    _open(tab, f"{url}/runs?run=uniform-s0-aaaa0002&run=natural-s0-aaaa0001", "Runs")
    expect(tab.get_by_text("Training loss", exact=True).first).to_be_visible(timeout=WAIT_MS)
    expect(tab.locator("[data-testid=stVegaLiteChart]")).to_have_count(7, timeout=WAIT_MS)
    _choose(tab, "Run", "uniform s0")
    expect(tab.get_by_text("<script>alert(1)</script>").first).to_be_visible(timeout=WAIT_MS)
    _shots(tab, "runs", folder)


def test_ticked_rows_become_the_chosen_runs_and_the_link_to_them(tab, url):
    _open(tab, f"{url}/runs?run=uniform-s0-aaaa0002", "Runs")
    expect(tab.locator("[data-testid=stVegaLiteChart]")).to_have_count(3, timeout=WAIT_MS)
    table = tab.locator("[data-testid=stDataFrame] .dvn-scroller")
    table.click(position={"x": 15, "y": 35 + 2 * 35 + 17})  # third row: natural; the linked run is ticked already
    expect(tab.locator("[data-testid=stVegaLiteChart]")).to_have_count(7, timeout=WAIT_MS)
    tab.wait_for_url("**/runs?run=*natural-s0-aaaa0001*", timeout=WAIT_MS)
    assert "uniform-s0-aaaa0002" in tab.url


def _wait_for(health: str, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(health, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the app did not answer within 60 s:\n" + log.read_text())


def _open(tab: Page, url: str, title: str) -> None:
    tab.goto(url)
    expect(tab.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=WAIT_MS)


def _choose(tab: Page, label: str, option: str) -> None:
    """Opens the list and picks; a rerun that arrives in between closes the list, so it may need opening again."""
    wanted = tab.get_by_role("option", name=option, exact=True)
    for _ in range(5):
        tab.get_by_label(label, exact=True).last.click()
        try:
            wanted.click(timeout=4000)
        except PlaywrightTimeout:
            continue
        return
    pytest.fail(f"the list '{label}' did not offer '{option}'")


def _shots(tab: Page, name: str, folder: Path) -> None:
    """The whole page at 1280 px, light and dark, and at 390 px; it never scrolls sideways."""
    keep = Path(os.environ.get("MIXLAB_SCREENSHOTS") or folder / "screenshots")
    keep.mkdir(parents=True, exist_ok=True)
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
        tab.emulate_media(color_scheme=scheme)
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(500)  # charts redraw after a resize
        height = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        tab.set_viewport_size({"width": width, "height": min(height + 60, 4000)})
        tab.wait_for_timeout(700)
        wide = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        tab.screenshot(path=keep / f"{name}-{width}-{scheme}.png")
        assert wide <= width, f"{name} is {wide} px wide at {width} px"
