"""Entry of the Streamlit app: the pages, in the order of the journey. Run it with `mixlab app`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from mixlab.app.parts import problem

HERE = Path(__file__).parent
GROUPS: Mapping[str, Sequence[tuple[str, str, str, str]]] = {
    "": [("home", "Home", ":material/home:", "What runs, the best mixes, the last verdict; where to begin.")],
    "Data": [],
    "Mixes": [
        (
            "mix",
            "Mix",
            ":material/tune:",
            "Design a mixture: weights, epochs, licences, cost; launch it.",
        ),
    ],
    "Results": [
        (
            "runs",
            "Runs",
            ":material/table_rows:",
            "Every run in one table; pick some to see their curves.",
        ),
    ],
    "Machine": [],
}
"""Group -> its pages: file in pages_ and path in the address, title, icon, what it is for."""


def main() -> None:
    """Draws the chosen page."""
    st.set_page_config(page_title="mixlab", page_icon=str(HERE / "favicon.png"), layout="wide")
    groups = {group: [_page(*told) for told in pages] for group, pages in GROUPS.items() if pages}
    page = st.navigation(groups)
    try:
        page.run()
    except Exception as error:  # noqa: BLE001  # shown whole, a mistake of ours as such; stop and rerun are no Exception
        problem(error)


def _page(name: str, title: str, icon: str, says: str) -> Any:
    return st.Page(HERE / "pages_" / f"{name}.py", title=title, icon=icon, default=name == "home", help=says)


if __name__ == "__main__":
    main()
