"""What can be done with runs that are there, as buttons: each opens a dialog that names the runs and shows the command.

Remarks are written at once; a cancel is a signal to the run's own process; a retry is a detached job.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from mixlab import claims, jobs
from mixlab.app import parts
from mixlab.errors import MixlabError
from mixlab.results import annotations
from mixlab.workspace import Workspace

SHOWN = 12
"""Names of runs in a dialog; of more, the number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One thing to do with runs."""

    label: str
    icon: str
    says: str
    words: Callable[[Sequence[str], str], list[str]]
    """Run ids and what was typed -> the words after `mixlab`."""
    asks: str | None = None
    """Label of a text to type; None: nothing is asked."""
    undo: bool = False
    """Whether it can be taken back, by the same command with --undo."""


VERBS: Mapping[str, Verb] = {
    "star": Verb(
        label="Star", icon=":material/star:", says="Marks runs to come back to.", undo=True,
        words=lambda ids, _: ["runs", "star", *ids],
    ),
    "tag": Verb(
        label="Tag", icon=":material/sell:", says="Puts a tag on runs; the search finds it.", undo=True, asks="Tag",
        words=lambda ids, text: ["runs", "tag", text, *ids],
    ),
    "note": Verb(
        label="Note", icon=":material/edit_note:", says="Replaces the note on a run.", asks="Note",
        words=lambda ids, text: ["runs", "note", ids[0], text],
    ),
    "archive": Verb(
        label="Archive", icon=":material/archive:", undo=True,
        says="Lists leave these runs out. Nothing is deleted, and advice goes on counting them.",
        words=lambda ids, _: ["runs", "archive", *ids],
    ),
    "cancel": Verb(
        label="Cancel", icon=":material/stop_circle:",
        says="Their processes write a checkpoint and stop; `retry` goes on from there.",
        words=lambda ids, _: ["runs", "cancel", ids[0]],
    ),
    "retry": Verb(
        label="Retry", icon=":material/restart_alt:",
        says="Trains runs that stopped, were killed or failed to their end, from their checkpoints, in the background.",
        words=lambda ids, _: ["runs", "retry", *ids],
    ),
}  # fmt: skip


def bar(run_ids: Sequence[str], *, key: str) -> None:
    """A button for each verb; all are off while no run is chosen."""
    with st.container(horizontal=True, key=f"actions-{key}"):
        for name, verb in VERBS.items():
            if st.button(verb.label, icon=verb.icon, key=f"{key}-{name}", disabled=not run_ids, help=verb.says):
                _ask(name, list(run_ids))


def _ask(name: str, run_ids: Sequence[str]) -> None:
    verb = VERBS[name]
    whom = parts.plain(run_ids[0]) if len(run_ids) == 1 else parts.several(len(run_ids), "run")
    st.dialog(f"{verb.label}: {whom}", icon=verb.icon)(_body)(name, run_ids)


def _body(name: str, run_ids: Sequence[str]) -> None:
    """Names the runs, shows the command, and does it on the second click."""
    verb = VERBS[name]
    if name == "note" and len(run_ids) > 1:
        st.write("A note is of one run: choose one.")
        return
    st.write(verb.says)
    st.code("\n".join(run_ids[:SHOWN]) + (f"\nand {len(run_ids) - SHOWN} more" if len(run_ids) > SHOWN else ""))
    text = (st.text_input(verb.asks, key=f"text-{name}") or "").strip() if verb.asks else ""
    undo = verb.undo and st.checkbox("Take it back", key=f"undo-{name}")
    for ids in [[i] for i in run_ids] if name == "cancel" else [run_ids]:
        parts.command([*verb.words(ids, text or "…"), *(["--undo"] if undo else [])])
    label = f"{verb.label}: take it back" if undo else verb.label
    if st.button(label, key=f"do-{name}", type="primary", disabled=bool(verb.asks) and not text and name != "note"):
        try:
            st.toast(parts.plain(do(name, run_ids, text, undo=undo)))
        except MixlabError as error:
            parts.problem(error, "This was not done")
        else:
            st.rerun()


def do(name: str, run_ids: Sequence[str], text: str = "", *, undo: bool = False) -> str:
    """Does one verb to runs, and says in a sentence what came of it. MixlabError if it cannot be done."""
    ws = Workspace.open()
    runs = [ws.root / "runs" / run_id for run_id in run_ids]
    if name == "retry":
        words = VERBS["retry"].words(run_ids, "")
        job, is_new = jobs.launch_once(ws, words, jobs.work_key(words), again=True)
        return f"Job {job} trains them." if is_new else f"Job {job} is at it already."
    for run in runs:
        if name == "star":
            annotations.star(run, on=not undo)
        elif name == "tag":
            annotations.tag(run, text, on=not undo)
        elif name == "note":
            annotations.note(run, text)
        elif name == "archive":
            annotations.archive(run, on=not undo)
        else:
            claims.stop(ws, run.name)
    named = ", ".join(run_ids[:3]) + (" …" if len(run_ids) > 3 else "")
    return f"{VERBS[name].label}{' taken back' if undo else ''}: {named}"
