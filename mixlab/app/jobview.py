"""A job on a page: its state in a word and an icon, how far it is, its log, and a button that stops it.

Draws what mixlab.jobs tells; starts nothing. Whoever draws live jobs does so by `live`, which looks again.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from mixlab import jobs
from mixlab.app import lab, now, parts
from mixlab.errors import MixlabError
from mixlab.workspace import Workspace

LOG_PX = 260
STALE_S = 20.0
"""Progress older than this is shown with its age."""


def live(draw: Callable[[], None], *, key: str, is_live: bool) -> None:
    """Draws a part of the page, and again every few seconds while `is_live`; its jobs are drawn with the same `key`.

    Whether a job is to be stopped, the page asks, and the part stands still until it is answered. A part that is drawn
    anew at that moment takes the question with it before the browser has it, or the click that answers it.
    """
    asked = _asked(key)
    st.fragment(draw, run_every=lab.LIVE_SECONDS if is_live and not asked else None, key=f"live-{key}")()
    if asked:
        ask = st.dialog("Stop this job?", icon=":material/stop_circle:", on_dismiss=lambda: _forget(key))
        ask(_question)(asked, key)


def job(told: Mapping[str, Any], *, key: str) -> None:
    """One job in a box; `key` is that of the live part it stands in."""
    name = f"{key}-{told['job']}"
    with st.container(border=True, key=f"job-{name}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            parts.state("stopping" if told["is_stopping"] else told["state"])
            st.text(parts.text_of(now.words_of(told)), width="stretch")
            can_stop = told["state"] in jobs.LIVE and not told["is_stopping"]
            if can_stop:
                st.button("Cancel", key=f"cancel-{name}", icon=":material/stop_circle:", on_click=_ask,
                          args=(key, told["job"]))  # fmt: skip
        st.caption(when(told))
        if told["state"] in jobs.LIVE:
            progress(now.progress_of(told, Workspace.open()))
        elif told["state"] != "finished":
            _failure(told)
        with st.expander("Log", key=f"log-{name}", on_change="rerun") as log:
            if log.open:
                _log(Path(told["log"]))


def follow(name: str, *, key: str) -> None:
    """One job by its id, looked at again while it goes on; the page is drawn anew when it ends."""
    folder = Workspace.open().jobs / name
    is_live = jobs.describe(folder)["state"] in jobs.LIVE

    def part() -> None:
        told = jobs.describe(folder)
        if is_live and told["state"] not in jobs.LIVE:
            st.rerun()
        job(told, key=key)

    live(part, key=key, is_live=is_live)


def run(told: Mapping[str, Any]) -> None:
    """A run that has not ended (one of `now.live_runs`): its state, how far it is, its health with its age, a link."""
    is_moving = told["state"] in ("running", "slow")
    left = f", about {parts.span(told['left_s'])} left" if told["left_s"] is not None else ""
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"live-{told['run_id']}"):
        parts.state(told["state"])
        with st.container(width="stretch"):
            said = f"{told['label']}: {told['share']:.0%}{left}" if is_moving else told["label"]
            st.progress(told["share"], text=parts.plain(said))
            st.caption(parts.plain(f"{told['why']} · {parts.age(told['heard'])}"))
        parts.linked("run", "Open", ":material/open_in_new:", query={"id": told["run_id"]})


def when(told: Mapping[str, Any], at: float | None = None) -> str:
    """When a job began and how long it took, or has taken.

    >>> when({"job": "j1", "created_at": 100.0, "ended_at": 190.0, "state": "finished"}, at=290.0)
    'j1 · started 3 min ago · took 90 s'
    """
    at = time.time() if at is None else at
    began = told["created_at"] or at
    lasted = parts.span(max(0.0, (told["ended_at"] or at) - began))
    said = f"took {lasted}" if told["ended_at"] else f"running for {lasted}" if told["state"] == "running" else ""
    return " · ".join(filter(None, [told["job"], f"started {parts.span(max(0.0, at - began))} ago", said]))


def progress(told: Mapping[str, Any] | None) -> None:
    """A bar with what is being done and the time left; before anything is known, the word for it."""
    if not told or not told.get("total"):
        st.progress(0.0, text="Under way; how far is not known yet")
        return
    share = min(1.0, max(0.0, float(told["done"]) / float(told["total"])))
    left = f", about {parts.span(told['left_s'])} left" if told.get("left_s") else ""
    old = time.time() - float(told["at"])
    stale = f" ({parts.age(told['at'])})" if old > STALE_S else ""
    st.progress(share, text=parts.plain(f"{told['what']}: {share:.0%}{left}{stale}"))


def _question(told: Mapping[str, Any], key: str) -> None:
    """Asks before a job is stopped, by its name."""
    name = told["job"]
    st.text(f"{parts.text_of(now.words_of(told))}\n{name}")
    st.write("It writes its checkpoints and ends; the same command goes on from them. What is finished is kept.")
    with st.container(horizontal=True):
        if st.button("Stop it", key="stop-job", type="primary", on_click=_stop, args=(key, name)):
            st.rerun()
        if st.button("Keep it running", key="keep-job", on_click=_forget, args=(key,)):
            st.rerun()
    parts.command(["runs", "cancel", name], "The same in a shell:")


def _asked(key: str) -> Mapping[str, Any] | None:
    """The job of this part whose Cancel was clicked, until the question is answered or the job has ended."""
    if name := st.session_state.get(f"asked-{key}"):
        told = jobs.describe(Workspace.open().jobs / name)
        if told["state"] in jobs.LIVE and not told["is_stopping"]:
            return told
        _forget(key)
    return None


def _ask(key: str, name: str) -> None:
    st.session_state[f"asked-{key}"] = name
    st.rerun()  # the page, which asks


def _forget(key: str) -> None:
    st.session_state.pop(f"asked-{key}", None)


def _stop(key: str, name: str) -> None:
    _forget(key)
    try:
        jobs.cancel(Workspace.open(), name)
    except MixlabError as error:
        st.toast(parts.plain(str(error)), icon=":material/error:")


def _failure(told: Mapping[str, Any]) -> None:
    """Why a job did not finish, and what to do."""
    last = now.last_line(told["log"])
    if told["state"] == "cancelled":
        st.write("It was stopped on request. The same command goes on from its checkpoints:")
    elif told["state"] == "lost":
        st.write("Its process is gone without a word (the machine was restarted, or it was killed). Try it again:")
    else:
        st.write(f"It ended with exit code {told['code']}. The last line of its log:")
        parts.untrusted(last or "(the log is empty)")
    parts.command(now.words_of(told))


def _log(path: Path) -> None:
    try:
        text = jobs.tail(path)
    except FileNotFoundError:
        text = ""
    if text.strip():
        parts.untrusted(text, height=LOG_PX)
    else:
        st.caption("Nothing written yet.")
    st.caption(parts.plain(f"The last 64 KiB of {path}"))
