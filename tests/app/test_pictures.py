"""The README's pictures, taken from the app on what `make demo` left in ./lab, as the page around them tells of that.

$MIXLAB_SCREENSHOTS keeps them: artifacts/screenshots in .ci/run, docs/ in `make pictures`.
"""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace
from tests.app.served import WAIT_MS, browsing, looking, open_page, serving

pytestmark = pytest.mark.browser
LAB = Path(__file__).parents[2] / "lab"
TALL = {"runs": 1640, "advice": 1500}
"""Page -> how much of it is shown, px from its top, at 960 px of width."""
CHART = "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"


def test_the_readme_shows_the_demo_as_the_app_draws_it(tmp_path):
    if not (LAB / "verdict.json").exists():
        pytest.skip("needs what `make demo` leaves in ./lab")
    (tmp_path / "lab").symlink_to(LAB)
    keep = Path(os.environ.get("MIXLAB_SCREENSHOTS") or tmp_path)
    keep.mkdir(parents=True, exist_ok=True)
    first = {r["mixture"]: r["run_id"] for r in list_runs(Workspace.open(LAB)) if r["seed"] == 0}
    asked = {"runs": f"?run={first['natural']}&run={first['recommended']}", "advice": ""}
    told = {"runs": "demo-recommended-s0", "advice": "The recommended mix"}
    with serving(tmp_path) as (url, _), browsing() as browser, looking(browser) as tab:
        for page, height in TALL.items():
            tab.set_viewport_size({"width": 960, "height": height})
            open_page(tab, url, page, asked[page])
            expect(tab.get_by_text(told[page]).first).to_be_visible(timeout=WAIT_MS)
            expect(tab.locator(CHART).first).to_be_visible(timeout=WAIT_MS)
            tab.wait_for_timeout(500)  # the chart's own drawing
            tab.screenshot(path=keep / f"{page}.png")
