"""What every page is made of: commands, empty states, errors, ages, charts with words, untrusted text, launch buttons.

Draws; reads and starts jobs through mixlab.jobs, nothing else. Colours come from results/charts.py: one for each source
of the lab on every page (`palette`).
"""

import re
import shlex
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from mixlab import jobs
from mixlab.app import lab
from mixlab.errors import MixlabError
from mixlab.results.charts import colours
from mixlab.workspace import Workspace

MANY_ROWS = 300
"""From here on a chart is painted: each of its points as an element of the page, with words, takes a browser 0.3 ms."""


def text_of(words: Sequence[str] | str) -> str:
    """The shell line of a command: words after `mixlab`, quoted where a shell wants it; a text is left as it is.

    >>> text_of(["run", "mixture=even", "name=a b"]), text_of("mixlab app")
    ("mixlab run mixture=even 'name=a b'", 'mixlab app')
    """
    return words if isinstance(words, str) else shlex.join(["mixlab", *words])


def command(words: Sequence[str] | str, says: str | None = None) -> None:
    """The equivalent command, copyable; `says` is a caption above it."""
    if says:
        st.caption(says)
    st.code(text_of(words), language="bash", wrap_lines=True)


def empty(title: str, what_to_do: str, *, command: Sequence[str] | str | None = None) -> None:
    """The state of a page that has nothing to show: what is missing, what to do, the exact command."""
    with st.container(border=True):
        st.subheader(title, anchor=False)
        st.write(what_to_do)
        if command is not None:
            st.code(text_of(command), language="bash", wrap_lines=True)


def no_sources() -> None:
    """Nothing is prepared, so nothing can be mixed: both ways on. Ends the page."""
    empty(
        "No prepared source in this lab yet",
        "There is nothing to mix. Prepare the starter sources:",
        command=["data", "prepare"],
    )
    command(["demo"], "or let the demo do it all, runs included:")
    st.stop()


def problem(error: Exception, where: str = "This page cannot be shown") -> None:
    """An error in words: what and where, the message that says what to do, the traceback folded.

    A mistake of ours is shown as one, with the way to report it; AppTest finds it under `at.exception`.
    """
    is_users = isinstance(error, MixlabError)
    st.error(
        "The message below says what is wrong and what to do."
        if is_users
        else "This is a mistake in mixlab, not in your lab: nothing was changed. Reload; if it stays, report it with "
        "the text below and the output of `mixlab doctor`.",
        title=where,
        icon=":material/error:",
    )
    st.code(lab.visible(str(error) or type(error).__name__), language=None, wrap_lines=True)
    with st.expander("Traceback"):
        if is_users:
            st.code(lab.visible("".join(traceback.format_exception(error))), language=None, wrap_lines=True)
        else:
            st.exception(error)


@contextmanager
def guarded(where: str = "This part cannot be shown") -> Generator[None]:
    """Draws what goes wrong inside the block as `problem`, so that the rest of the page goes on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # shown whole; Streamlit's own control flow is no Exception
        problem(error, where)


def age(stamp: float | None, now: float | None = None) -> str:
    """How old something is; `stamp` in unix seconds.

    >>> age(100.0, now=104.2), age(100.0, now=1000.0), age(100.0, now=90_100.0), age(None)
    ('updated 4 s ago', 'updated 15 min ago', 'updated 25 h ago', 'never updated')
    """
    if stamp is None:
        return "never updated"
    return f"updated {span(max(0.0, (time.time() if now is None else now) - stamp))} ago"


def span(seconds: float) -> str:
    """A length of time in its best whole unit.

    >>> span(4.2), span(119), span(7200), span(90_000), span(400_000)
    ('4 s', '119 s', '120 min', '25 h', '5 days')
    """
    for size, unit, most in ((1, "s", 120), (60, "min", 121), (3600, "h", 72)):
        if round(seconds / size) < most:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86_400)} days"


def several(n: int, what: str) -> str:
    """A number of things.

    >>> several(1, "run"), several(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def chart(altair_chart: Any, alt: str | None = None, *, key: str, height: int | None = None, **options: Any) -> Any:
    """A chart as wide as its place, with its takeaway in words: `alt`, else the chart's own description.

    `options` go to st.altair_chart (on_select, selection_mode); so does what comes back.
    """
    said = alt or getattr(altair_chart, "description", None)
    if not isinstance(said, str) or not said:
        raise ValueError(f"the chart '{key}' has no words: give alt or a description")
    if alt:  # Streamlit takes the description for the chart's words, and logs a warning where it has both
        altair_chart = altair_chart.properties(description=alt)
    if _rows_of(altair_chart) > MANY_ROWS:
        altair_chart = altair_chart.properties(usermeta={"embedOptions": {"renderer": "canvas"}})
    tall: dict[str, Any] = {} if height is None else {"height": height}
    return cast("Any", st.altair_chart(altair_chart, key=key, width="stretch", **tall, **options))


def table(rows: Any, *, key: str, alt: str, place: Any = st, **options: Any) -> None:
    """A table without its index, with its words in `alt`; `options` go to st.dataframe."""
    place.dataframe(rows, hide_index=True, key=key, alt=alt, **options)


def mean_or_each() -> Sequence[Any]:
    """Two tabs, the mean of the sources and each source; only the `open` one's charts need be drawn."""
    return st.tabs(["Mean of sources", "Each source"], key="curves", on_change="rerun", bind="query-params")


def _rows_of(altair_chart: Any) -> int:
    """Rows of the largest frame that a chart or one of its layers draws."""
    frames = (getattr(c, "data", None) for c in (altair_chart, *getattr(altair_chart, "layer", [])))
    return max((len(f) for f in frames if isinstance(f, pd.DataFrame)), default=0)


def untrusted(text: str, *, height: int | None = None) -> None:
    """Text of documents and models, as it is: no markdown, no HTML; control and direction characters written out."""
    tall: dict[str, Any] = {} if height is None else {"height": height}
    st.code(lab.visible(text), language=None, wrap_lines=True, **tall)


STATES: Mapping[str, tuple[str, str]] = {
    "starting": (":material/hourglass_top:", "blue"),
    "queued": (":material/schedule:", "gray"),
    "running": (":material/play_circle:", "blue"),
    "stopping": (":material/stop_circle:", "orange"),
    "finished": (":material/check_circle:", "green"),
    "slow": (":material/speed:", "orange"),
    "stalled": (":material/pause_circle:", "orange"),
    "cancelled": (":material/cancel:", "gray"),
    "lost": (":material/help:", "orange"),
    "killed": (":material/power_off:", "red"),
    "diverged": (":material/trending_up:", "red"),
    "failed": (":material/error:", "red"),
}
"""State of a job or a run -> icon and colour; the word stands beside both."""


FITTED_AT_ONCE = 64
"""Runs that are fitted whenever a page wants it: 6 CPU s with its cross-validation; 256 took 30."""


def is_fit_wanted(runs: int, words: Sequence[str] | None = None, *, at_once: int | None = None) -> bool:
    """True where a fit of so many runs is quick, or a person asks for it by the switch that stands here otherwise."""
    if runs <= (FITTED_AT_ONCE if at_once is None else at_once):
        return True
    is_asked = st.toggle(f"Fit these {runs:,} runs", key="fit", bind="query-params")
    if not is_asked:
        st.caption("A fit of so many takes minutes: it is made when you ask for it, and kept until a run changes.")
        if words is not None:
            command(words, "The same in a shell:")
    return is_asked


def samples(run_id: str, *, key: str) -> None:
    """What a run wrote to each prompt at the step chosen: the greedy answer first, then the drawn one."""
    told = lab.samples(run_id)
    if told.empty:
        st.write("This run wrote no samples: set `evals.prompts` to a list of prompts to see some.")
        return
    steps = sorted(set(told["step"]))
    step = st.select_slider("At step", steps, value=steps[-1], key=key) if len(steps) > 1 else steps[-1]
    for row in told.loc[told["step"] == step].sort_values(["prompt_id", "temperature"]).to_dict("records"):
        way = f"drawn at temperature {row['temperature']:g}" if row["temperature"] else "greedy"
        st.text(f"Prompt ({way}): {row['prompt']}")
        untrusted(row["output"])


def state(word: str) -> None:
    """The state of a job or a run: word, icon, colour."""
    icon, colour = STATES.get(word, (":material/help:", "gray"))
    st.badge(word, icon=icon, color=colour)  # pyright: ignore[reportArgumentType]  # a Literal of colours there


def plain(text: str) -> str:
    r"""Text for places where Streamlit reads markdown (labels, captions, alerts): shown as it is.

    >>> print(plain("w_code *and* $x [a](b)"))
    w\_code \*and\* \$x \[a\]\(b\)
    """
    return re.sub(r"([\\`*_{}\[\]()#+!|~<>$:^-])", r"\\\1", lab.visible(text))


def palette() -> Mapping[str, str]:
    """Source -> its colour, over all sources that the lab's corpora and runs know: the same on every page."""
    return colours(lab.source_names())


def launch(
    words: Sequence[str],
    *,
    key: str,
    label: str,
    before: Callable[[], object] | None = None,
    primary: bool = True,
    disabled: bool = False,
) -> str | None:
    """A button that starts `mixlab <words>` detached, with the command under it; the id of the job, if there is one.

    `key` names the work: a second click, another tab or another server finds the job that runs instead of starting it
    twice; one that has finished is done again only by a button that says so. Equal work must have an equal key, other
    work another (jobs.work_key). `before` is done first; a MixlabError of it is shown and nothing starts.
    """
    ws = Workspace.open()
    there = jobs.found(ws, key)
    is_done = there is not None and jobs.state_of(ws, there) == "finished"
    kind: Any = "primary" if primary and not is_done else "secondary"
    said = f"{label} again" if is_done else label
    if st.button(said, key=f"launch-{key}", type=kind, icon=":material/play_arrow:", disabled=disabled):
        with guarded("Nothing was started"):
            if before is not None:
                before()
            _, is_new = jobs.launch_once(ws, words, key, again=is_done)
            st.toast("Started." if is_new else "It runs already: nothing was started twice.")
    command(words, "The same in a shell:")
    return jobs.found(ws, key)


def address(page: str, **query: str) -> str:
    """The address of a page as the browser reaches it, with what its own holds by now and `query` beside it."""
    here = (st.context.url or "http://127.0.0.1:8501").rstrip("/").removesuffix(f"/{page}")
    return f"{here}/{page}?{urlencode({**st.query_params.to_dict(), **query}, safe='=,')}"


def linked(page: str, label: str, icon: str, *, query: Mapping[str, str] | None = None) -> None:
    """A link to another page of the app by the name of its file, e.g. `linked("runs", "All runs", ":material/…:")`."""
    path = Path(__file__).with_name("pages_") / f"{page}.py"
    if path.exists():
        st.page_link(path, label=label, icon=icon, query_params=dict(query or {}))
