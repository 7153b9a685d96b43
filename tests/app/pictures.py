"""Takes the pictures of README.md from the app on what `mixlab demo` left in ./lab: `python -m tests.app.pictures`."""

from pathlib import Path

from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace
from tests.app.served import browsing, looking, open_page, serving

ROOT = Path(__file__).parents[2]
TALL = {"runs": 1640, "advice": 1500}
"""Page -> how much of it is shown, px from its top, at 960 px of width."""


def main() -> None:
    """docs/runs.png and docs/advice.png."""
    rows = list_runs(Workspace.open(ROOT / "lab"))
    first = {r["mixture"]: r["run_id"] for r in rows if r["seed"] == 0}
    queries = {"runs": f"?run={first['natural']}&run={first['recommended']}", "advice": ""}
    with serving(ROOT) as (url, _), browsing() as browser, looking(browser) as tab:
        for page, height in TALL.items():
            tab.set_viewport_size({"width": 960, "height": height})
            open_page(tab, url, page, queries[page])
            tab.wait_for_timeout(2000)  # charts are drawn after the page
            tab.screenshot(path=ROOT / "docs" / f"{page}.png")


if __name__ == "__main__":
    main()
