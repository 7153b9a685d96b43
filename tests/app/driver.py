"""The app on one page without a browser, and everything a page says."""

from streamlit.testing.v1 import AppTest

from tests.app.synthetic_lab import ENTRY


def show(page: str, **query: str | list[str]) -> AppTest:
    """The app on the page of this file name (home, mix, …); any exception fails the test."""
    at = AppTest.from_file(str(ENTRY), default_timeout=60).run()
    for key, value in query.items():
        at.query_params[key] = value
    if page != "home" or query:
        at.switch_page(f"mixlab/app/pages_/{page}.py").run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def said(at: AppTest) -> str:
    """Every text on the page, a line each, titles of alerts included."""
    parts = [
        *(at.title, at.header, at.subheader, at.markdown, at.caption, at.text, at.code),
        *(at.info, at.warning, at.error, at.success),
    ]
    told = [str(element.value) for part in parts for element in part]
    titles = [e.proto.title for part in (at.info, at.warning, at.error, at.success) for e in part]
    return "\n".join([*told, *filter(None, titles)])
