"""The app in a real browser: what AppTest cannot see. Pictures of every page are made by test_story.py."""

from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.app.served import WAIT_MS, browsing, looking, serving, settle
from tests.app.synthetic_lab import make_lab

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A project directory with a synthetic lab."""
    path = tmp_path_factory.mktemp("project")
    make_lab(path / "lab")
    return path


@pytest.fixture(scope="module")
def url(folder):
    with serving(folder) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser():
    with browsing() as found:
        yield found


@pytest.fixture
def tab(browser):
    with looking(browser) as page:
        yield page


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


def test_a_shared_mix_opens_from_its_address(tab, url):
    _open(tab, f"{url}/mix?weights=books=10,code=20,docs=30,wiki=40", "Mix")
    sliders = tab.get_by_role("slider")
    expect(sliders.nth(3)).to_have_value("400", timeout=WAIT_MS)
    tab.get_by_role("button", name="Paste or share").click()
    expect(tab.get_by_text(f"{url}/mix?weights=books=10,code=20,docs=30,wiki=40")).to_be_visible(timeout=WAIT_MS)
    assert "weights" not in tab.url


def test_home_shows_states_verdict_and_best_mixes(tab, url):
    _open(tab, url, "mixlab")
    expect(tab.get_by_role("heading", name="Last verdict")).to_be_visible(timeout=WAIT_MS)
    expect(tab.get_by_text("The gain over natural is 0.05 ± 0.01.")).to_be_visible()
    expect(tab.get_by_role("heading", name="Best mixes")).to_be_visible()
    assert tab.title() == "mixlab"


def test_a_shared_link_opens_the_chosen_runs_and_hostile_samples_stay_text(tab, url):
    _open(tab, f"{url}/runs?run=uniform-s0-aaaa0002&run=natural-s0-aaaa0001", "Runs")
    expect(tab.get_by_text("Training loss", exact=True).first).to_be_visible(timeout=WAIT_MS)
    tab.get_by_role("tab", name="Each source").click()
    expect(tab.locator("[data-testid=stVegaLiteChart]")).to_have_count(6, timeout=WAIT_MS)
    _choose(tab, "Run", "uniform s0")
    expect(tab.get_by_text("<script>alert(1)</script>").first).to_be_visible(timeout=WAIT_MS)


def test_ticked_rows_become_the_chosen_runs_and_the_link_to_them(tab, url):
    _open(tab, f"{url}/runs?run=uniform-s0-aaaa0002", "Runs")
    expect(tab.locator("[data-testid=stVegaLiteChart]")).to_have_count(3, timeout=WAIT_MS)
    table = tab.locator("[data-testid=stDataFrame] .dvn-scroller")
    table.click(position={"x": 15, "y": 35 + 2 * 35 + 17})  # third row: natural; the linked run is ticked already
    expect(tab.get_by_role("tab", name="Each source")).to_be_visible(timeout=WAIT_MS)  # two are compared
    tab.wait_for_url("**/runs?run=*natural-s0-aaaa0001*", timeout=WAIT_MS)
    assert "uniform-s0-aaaa0002" in tab.url


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
