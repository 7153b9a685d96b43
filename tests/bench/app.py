"""The app in headless Chromium, on a lab of 1,000 runs of 2,000 logged steps each (364 MB of metrics) and six sources.

Seconds from asking for a page to its first text, and to its content: the script has ended, no skeleton is left and
every chart is drawn. "New": the first time that the server shows this page; "again": the median of two more loads.
Each load is a new session in a new tab of one browser. The first page of a server, asked for as soon as it answers, has
a row of its own: it waits for what is left of loading pandas, DuckDB and Altair, and loads the app's scripts into the
browser. Pages are asked for as a link would: Runs with three runs chosen, Run with one, Compare with three. So many
runs are fitted only when somebody asks for it, so Mix, Explore and Advice stand here with all but their fit. Load of
the machine before and after: see the last row.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import BrowserContext, expect

from mixlab.results.store import publish
from mixlab.workspace import Workspace
from tests.app import synthetic_lab
from tests.app.corpora_lab import make_corpora
from tests.app.served import DONE, PAGES, browsing, serving
from tests.bench import store

REQUIRED = "< 2 s, < 4 s"
AGAIN = 2
WAIT_MS = 120_000
DRAWN = """() => !document.querySelector('[data-testid=stSkeleton]')
    && [...document.querySelectorAll('[data-testid=stVegaLiteChart]')]
        .every(c => !c.checkVisibility() || c.querySelector('canvas, svg'))"""
"""Script: true when no skeleton is left and every chart in sight has its picture."""


def rows() -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        return measured(make(Path(folder)))


def make(project: Path) -> Path:
    """The lab, published, in this project directory, which is returned."""
    ws = Workspace.open(project / "lab")
    for i in range(store.RUNS):
        store.write_run(ws, i)
    synthetic_lab.write_sources(ws.root)
    make_corpora(ws.root)
    publish(ws)
    return project


def measured(project: Path) -> list[dict[str, str]]:
    """A row a page of the app of this project."""
    chosen = sorted(run.name for run in Workspace.open(project / "lab").runs())[:3]
    query = {"run": f"?id={chosen[0]}", "runs": "?" + "&".join(f"run={r}" for r in chosen)}
    query["compare"] = "?" + "&".join(f"ids={r}" for r in chosen)
    told, before = [], os.getloadavg()[0]
    with serving(project) as (url, _), browsing() as browser:
        user = browser.new_context(viewport={"width": 1280, "height": 900})
        told.append(_row("first page of a server", [_load(user, url)]))
        for page in PAGES:
            address = f"{url}/{'' if page == 'home' else page}{query.get(page, '')}"
            told.append(_row(page, [_load(user, address) for _ in range(1 + AGAIN)]))
    load = f"{before:.1f}", f"{os.getloadavg()[0]:.1f}"
    return [*told, dict(zip(told[0], ("load of the machine (of others, too)", *load, "", "", ""), strict=True))]


def _load(user: BrowserContext, address: str) -> tuple[float, float]:
    """Seconds to the first text of a page, and to its content, in a session of its own."""
    tab = user.new_page()
    began = time.perf_counter()
    tab.goto(address)
    expect(tab.locator("[data-testid=stMain] h1").first).to_be_visible(timeout=WAIT_MS)
    first = time.perf_counter() - began
    expect(tab.locator(DONE)).to_be_attached(timeout=WAIT_MS)
    tab.wait_for_function(DRAWN, timeout=WAIT_MS)
    took = time.perf_counter() - began
    tab.close()
    return first, took


def _row(page: str, found: list[tuple[float, float]]) -> dict[str, str]:
    """The first load, and the median of the others."""
    new, *others = found
    again = [f"{statistics.median(column):.1f}" for column in zip(*others, strict=True)] or ["", ""]
    told = {"page": page, "text, new s": f"{new[0]:.1f}", "content, new s": f"{new[1]:.1f}"}
    return {**told, "text, again s": again[0], "content, again s": again[1], "required": REQUIRED}
