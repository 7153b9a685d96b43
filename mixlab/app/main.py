"""Entry of the Streamlit app: the pages, in the order of the journey. Run it with `mixlab app`."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

HERE = Path(__file__).parent
PARTS = "mixlab.app.parts"
# Group -> its pages: file in pages_ and path in the address, title, icon, what it is for. (A string here is shown.)
GROUPS: Mapping[str, Sequence[tuple[str, str, str, str]]] = {
    "": [("home", "Home", ":material/home:", "What runs, the best mixes, the last verdict; where to begin.")],
    "Data": [
        ("sources", "Sources", ":material/database:", "What text there is, its licence; prepare it, add your own."),
        ("filters", "Filters", ":material/filter_alt:", "What cleaning takes, and what other rules would bring back."),
        ("documents", "Documents", ":material/article:", "Read what was kept and what was dropped, and why."),
    ],
    "Mixes": [
        (
            "mix",
            "Mix",
            ":material/tune:",
            "Design a mixture: weights, epochs, licences, cost; launch it.",
        ),
        ("sweep", "Sweep", ":material/grid_view:", "Many mixtures at once: design, cost, what is done; launch them."),
    ],
    "Results": [
        (
            "runs",
            "Runs",
            ":material/table_rows:",
            "Every run in one table; pick some to see their curves.",
        ),
        ("run", "Run", ":material/show_chart:", "One run: curves, scores, samples, settings, lineage, events, log."),
        ("compare", "Compare", ":material/compare_arrows:", "Mixes or runs against each other, with their noise."),
        ("explore", "Explore", ":material/scatter_plot:", "All mixes in pictures, and what each source does."),
        ("advice", "Advice", ":material/lightbulb:", "The best mix as far as the runs tell, and what to train next."),
        ("vibes", "Vibes", ":material/how_to_vote:", "What models wrote, side by side, blind until you vote."),
    ],
    "Machine": [
        ("system", "System", ":material/memory:", "Devices, disk, the store, and what the doctor says is missing."),
    ],
}
MENU_PX = 220  # its longest word takes 90; what it leaves goes to the tables
STYLE = """<style>
[data-testid=stMainBlockContainer] {padding-top: 4rem}
[data-testid=stSliderThumbValue], [data-testid=stCode] .token,
[data-testid=stMain] [data-selected=true], [data-testid=stMain] [data-selected=true] * {color: inherit !important}
</style>"""
# Less paper above the title. The others Streamlit writes in colours that cannot be read on dark (or light) paper: 2.9:1
# to 4.3:1, where 4.5:1 is needed.


def main() -> None:
    """Draws the chosen page."""
    st.set_page_config(page_title="mixlab", page_icon=str(HERE / "favicon.png"), layout="wide",
                       initial_sidebar_state=MENU_PX)  # fmt: skip
    groups = {group: [_page(*told) for told in pages] for group, pages in GROUPS.items() if pages}
    page = st.navigation(groups, position="hidden")
    _menu(groups)
    st.html(STYLE)
    parts = _loaded(page.title)
    try:
        page.run()
    except Exception as error:  # noqa: BLE001  # shown whole, a mistake of ours as such; stop and rerun are no Exception
        parts.problem(error)


def _menu(groups: Mapping[str, Sequence[Any]]) -> None:
    """The pages by group. Streamlit's own menu puts groups inside a list, which screen readers cannot follow."""
    with st.sidebar:
        for group, pages in groups.items():
            if group:
                st.caption(group)
            for page in pages:
                st.page_link(page)


def _loaded(title: str) -> Any:
    """The module of parts. The first page of a server waits seconds for pandas, DuckDB and Altair: it has a title."""
    spec = getattr(sys.modules.get(PARTS), "__spec__", None)
    if spec is not None and not getattr(spec, "_initializing", False):  # app/serve.py loads it in a thread of its own
        return sys.modules[PARTS]
    place = st.empty()
    with place.container():
        st.title(title)
        st.caption("Loading …")
        st.skeleton(height=320)
    parts = importlib.import_module(PARTS)
    place.empty()
    return parts


def _page(name: str, title: str, icon: str, says: str) -> Any:
    return st.Page(HERE / "pages_" / f"{name}.py", title=title, icon=icon, default=name == "home", help=says)


if __name__ == "__main__":
    main()
