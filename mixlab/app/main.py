"""Entry of the Streamlit app: the pages and what they share. Run it with `mixlab app`."""

from pathlib import Path

import streamlit as st

from mixlab.errors import MixlabError

HERE = Path(__file__).parent


def main() -> None:
    """Draws the chosen page."""
    st.set_page_config(page_title="mixlab", page_icon=str(HERE / "favicon.png"), layout="wide")
    page = st.navigation(
        [
            st.Page(
                HERE / "pages_" / "home.py",
                title="Home",
                icon=":material/home:",
                default=True,
                help="What ran, which mixes came out best, and the last verdict.",
            ),
            st.Page(
                HERE / "pages_" / "runs.py",
                title="Runs",
                icon=":material/table_rows:",
                help="Every run in one table; pick some to see their curves, mixes and samples.",
            ),
            st.Page(
                HERE / "pages_" / "mix.py",
                title="Mix",
                icon=":material/tune:",
                help="Design a mixture: weights that sum to 100 %, epochs, licences and cost; save it for a run.",
            ),
        ]
    )
    try:
        page.run()
    except MixlabError as e:  # its message says what, where and what to do; another error is a mistake of ours
        st.error("This page cannot be shown.")
        st.code(e, language=None, wrap_lines=True)


if __name__ == "__main__":
    main()
