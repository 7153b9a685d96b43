"""A user's whole way through the app in a real browser, on a lab that mixlab itself makes while it goes on.

The tests follow one another: each finds the lab as the one before left it. Then every page is looked at in four ways,
and searched for what keeps people out; $MIXLAB_SCREENSHOTS keeps the pictures (.ci/run: artifacts/screenshots).
"""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from mixlab import jobs
from mixlab.results.listing import describe
from mixlab.workspace import Workspace, read_json
from tests.app import trained_lab
from tests.app.served import PAGES, WAIT_MS, browsing, looking, open_page, serving, settle

pytestmark = pytest.mark.browser
BLOCKING = ("serious", "critical")
RUN_S = 180.0
"""A small run takes 5 s, and far longer on two busy cores."""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with three sources and an empty lab."""
    folder = tmp_path_factory.mktemp("story")
    trained_lab.write_sources(folder)
    return folder


@pytest.fixture(scope="module")
def ws(project):
    return Workspace.open(project / "lab")


@pytest.fixture(scope="module")
def url(project):
    with serving(project) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser():
    with browsing() as found:
        yield found


@pytest.fixture
def tab(browser):
    with looking(browser) as page:
        yield page


def test_a_first_run_offers_the_demo_and_shows_what_it_left(tab, url, project):
    open_page(tab, url, "home")
    expect(tab.get_by_text("Nothing has run in this lab yet")).to_be_visible(timeout=WAIT_MS)
    expect(tab.get_by_role("button", name="Run the demo")).to_be_enabled()
    expect(tab.get_by_text("mixlab demo", exact=True)).to_be_visible()
    trained_lab.make_demo(project)  # the demo, shrunken: its own takes minutes
    open_page(tab, url, "home")
    expect(tab.get_by_role("heading", name="Best mixes")).to_be_visible(timeout=WAIT_MS)
    expect(tab.get_by_text("Nothing has run")).not_to_be_visible()


def test_a_switched_off_rule_tells_at_once_what_would_come_back(tab, url):
    open_page(tab, url, "filters", "?look=What+if")
    tab.get_by_role("switch").or_(tab.get_by_role("checkbox")).first.wait_for(timeout=WAIT_MS)
    toggle = tab.locator("[class*=st-key-on-]", has_text="squigglybracket").locator("label").first
    toggle.click()
    expect(tab.get_by_text("--what-if")).to_be_visible(timeout=WAIT_MS)
    settle(tab)


def test_a_mix_designed_with_fast_keys_and_a_lock_is_trained_exactly_so(tab, url, project, ws):
    open_page(tab, url, "mix", f"?budget={trained_lab.TOKENS}")
    sliders = tab.get_by_role("slider")
    expect(sliders).to_have_count(3, timeout=WAIT_MS)
    tab.get_by_label("Lock prose").check()
    locked = int(sliders.nth(1).input_value())  # notes, prose, tales
    sliders.nth(0).focus()
    for _ in range(40):
        tab.keyboard.press("ArrowRight")
    shown = [int(sliders.nth(i).input_value()) for i in range(3)]
    assert sum(shown) == 1000 and shown[1] == locked
    box = tab.get_by_label("Name", exact=True)
    box.fill("hand-made")
    box.press("Tab")
    tab.get_by_role("button", name="Review and launch").click()
    launch = tab.get_by_role("button", name="Launch", exact=True)
    launch.click(timeout=WAIT_MS)
    job = _wait_for(lambda: next(iter(jobs.jobs(ws)), None))
    shown_job = tab.locator("[class*=st-key-job-mix]")  # progress is watched where it was launched
    expect(shown_job).to_contain_text(re.compile("starting|running|finished"), timeout=WAIT_MS)
    _wait_for(lambda: jobs.state_of(ws, job["job"]) not in jobs.LIVE)
    assert jobs.state_of(ws, job["job"]) == "finished", jobs.tail(Path(job["log"]))
    saved = yaml.safe_load((project / "sweeps" / "mixture" / "hand-made.yaml").read_text())["weights"]
    assert [round(1000 * saved[n]) for n in ("notes", "prose", "tales")] == shown
    (run,) = [r for r in ws.runs() if describe(r)["mixture"] == "hand-made"]
    assert read_json(run / "run.json")["mixture"]["weights"] == pytest.approx(saved)
    expect(shown_job).to_contain_text("finished", timeout=WAIT_MS)


def test_a_job_outlives_its_server_and_another_server_shows_and_cancels_it(browser, project, ws):
    with serving(project) as (url, server), looking(browser) as tab:
        open_page(tab, url, "mix", "?budget=2000000&limit=1000")
        expect(tab.get_by_role("slider")).to_have_count(3, timeout=WAIT_MS)
        box = tab.get_by_label("Name", exact=True)
        box.fill("long")
        box.press("Tab")
        tab.get_by_role("button", name="Review and launch").click()
        tab.get_by_role("button", name="Launch", exact=True).click(timeout=WAIT_MS)
        run = _wait_for(lambda: next((r for r in ws.runs() if describe(r)["mixture"] == "long"), None))
        before = _wait_for(lambda: describe(run)["step"])
        server.kill()
        server.wait()
    job = jobs.jobs(ws)[-1]
    _wait_for(lambda: (describe(run)["step"] or 0) > before)  # it goes on without the app
    assert jobs.state_of(ws, job["job"]) == "running"
    with serving(project) as (url, _), looking(browser) as tab:
        open_page(tab, url, "home")
        shown = tab.locator(f"[class*=st-key-job-home-{job['job']}]")
        expect(shown).to_contain_text("running", timeout=WAIT_MS)
        shown.get_by_role("button", name="Cancel").click()
        expect(tab.get_by_role("dialog")).to_contain_text(job["job"], timeout=WAIT_MS)
        tab.get_by_role("button", name="Stop it").click()
        _wait_for(lambda: jobs.state_of(ws, job["job"]) == "cancelled")
        assert not (run / "done.json").exists() and describe(run)["state"] == "queued"
        expect(shown).to_contain_text("cancelled", timeout=WAIT_MS)


def test_two_mixes_are_compared(tab, url, ws):
    ids = [r.name for r in ws.runs() if r.name.startswith(("natural", "uniform"))]
    open_page(tab, url, "compare", "?" + "&".join(f"ids={i}" for i in ids))
    expect(tab.get_by_text("against").first).to_be_visible(timeout=WAIT_MS)
    expect(tab.locator("[data-testid=stVegaLiteChart]").first).to_be_visible(timeout=WAIT_MS)


def test_the_advised_mix_is_trained_by_a_button(tab, url, ws):
    open_page(tab, url, "advice")
    tab.get_by_role("button", name="Train the advised mix").click(timeout=WAIT_MS)
    known = len(jobs.jobs(ws))
    job = _wait_for(lambda: next((j for j in jobs.jobs(ws)[::-1] if any("advised" in w for w in j["words"])), None))
    assert len(jobs.jobs(ws)) in (known, known + 1)
    _wait_for(lambda: jobs.state_of(ws, job["job"]) not in jobs.LIVE)
    assert jobs.state_of(ws, job["job"]) == "finished", jobs.tail(Path(job["log"]))
    assert any(describe(r)["name"] == "advised" and describe(r)["state"] == "finished" for r in ws.runs())


def test_actions_are_asked_in_a_dialog_that_names_the_run(tab, url, ws):
    run = next(r for r in ws.runs() if r.name.startswith("m2"))
    open_page(tab, url, "run", f"?id={run.name}")
    tab.get_by_role("button", name="Archive").click()
    expect(tab.get_by_role("dialog")).to_contain_text(f"mixlab runs archive {run.name}", timeout=WAIT_MS)
    tab.get_by_role("dialog").get_by_role("button", name="Archive").click()
    expect(tab.get_by_text("archived", exact=True)).to_be_visible(timeout=WAIT_MS)


def test_a_run_deleted_under_the_app_is_no_error(tab, url, ws):
    run = next(r for r in ws.runs() if r.name.startswith("m3"))
    open_page(tab, url, "runs", f"?run={run.name}")
    shutil.rmtree(run)
    search = tab.get_by_label("Search", exact=True)
    search.fill("natural")
    search.press("Enter")
    expect(tab.get_by_text("1 of ")).to_be_visible(timeout=WAIT_MS)
    settle(tab)
    for page in ("home", "runs", "run"):
        open_page(tab, url, page, f"?id={run.name}" if page == "run" else "")


@pytest.fixture(scope="module")
def spoilt(project):
    """One of the runs has failed by now, and one is live for the rest of the tests."""
    trained_lab.spoil(project)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_fits_and_keeps_nobody_out(tab, url, project, ws, spoilt, page):
    """Light and dark, 1280 and 390 px wide: no sideways scrolling, no serious violation; hostile text is inert."""
    run = next(r for r in ws.runs() if r.name.startswith("m4"))
    queries = {"run": f"?id={run.name}", "runs": f"?run={run.name}", "documents": "?source=prose&id=prose-1"}
    query = {**queries, "compare": "?ids=natural&ids=uniform", "sweep": "?tokens=20000"}.get(page, "")
    open_page(tab, url, page, query)
    keep = Path(os.environ.get("MIXLAB_SCREENSHOTS") or project / "screenshots")
    keep.mkdir(parents=True, exist_ok=True)
    found = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.wait_for_timeout(300)  # charts redraw after a resize
            tall = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
            tab.set_viewport_size({"width": width, "height": min(tall + 60, 3500)})
            tab.wait_for_timeout(300)
            tab.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')", timeout=WAIT_MS)
            wide = _width(tab, width)
            tab.screenshot(path=keep / f"{page}-{width}-{scheme}.png")
            assert wide <= width, f"{page} is {wide} px wide at {width} px: {tab.evaluate(WIDEST)}"
        found += [f"{scheme}: {told}" for told in _violations(tab)]
    assert not found, "\n".join(found)
    inert(tab)


WIDEST = """[...document.querySelectorAll('[data-testid=stMain] *')]
    .map(e => [Math.round(e.getBoundingClientRect().right), e.tagName, e.className.toString().slice(0, 80)])
    .sort((a, b) => b[0] - a[0]).slice(0, 5)"""
"""Script: the elements that reach farthest to the right."""


def _violations(tab: Page) -> set[str]:
    """Serious violations that stand at two looks: while a live part is drawn anew, its old text is faded."""
    found: set[str] = set()
    for look in range(2):
        told = Axe().run(tab, options={"resultTypes": ["violations"]}).response["violations"]
        seen = {f"{v['id']}: {v['nodes'][0]['html']}" for v in told if v["impact"] in BLOCKING}
        if not (found := seen if look == 0 else found & seen):
            break
        tab.wait_for_timeout(700)
    return found


def _width(tab: Page, at_most: int) -> int:
    """How wide the page's content is, px, once its charts are drawn anew; after 10 s as it then stands."""
    until = time.monotonic() + 10
    while True:
        wide = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        if wide <= at_most or time.monotonic() > until:
            return wide
        tab.wait_for_timeout(200)


def inert(tab: Page) -> None:
    """Nothing of a document became part of the page: no element, no image, no raw control or direction character."""
    assert not tab.locator("[data-testid=stMain] script, [data-testid=stMain] img[src*='127.0.0.1:9']").count()
    text = tab.locator("[data-testid=stMain]").inner_text()
    assert "\x1b" not in text and "\u202e" not in text


@pytest.mark.parametrize(("document", "told"), [("prose-0", "<script>alert(1)</script>"), ("prose-1", "{{7*7}}")])
def test_a_hostile_document_is_shown_as_the_text_it_is(tab, url, document, told):
    open_page(tab, url, "documents", f"?source=prose&id={document}")
    expect(tab.get_by_text(told).first).to_be_visible(timeout=WAIT_MS)
    expect(tab.get_by_text("**bold**").first).to_be_visible()
    inert(tab)


def _wait_for(ask: Callable[[], object], seconds: float = RUN_S):
    """The first answer that is true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := ask():
            return answer
        time.sleep(0.1)
    pytest.fail(f"nothing came within {seconds:.0f} s")
