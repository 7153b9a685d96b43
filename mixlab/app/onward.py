"""What to train next, as the page Advice asks it: next runs, designs and their power, the best mix of longer runs.

Reads through advise/, keeps each answer until a run's scores or the ledger change; writes nothing. The fits are
imported when they are first asked for.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from threadpoolctl import threadpool_limits  # pyright: ignore[reportMissingTypeStubs]  # it has none

from mixlab.app import lab
from mixlab.app.advising import ONE_THREAD, Wanted, advice_stamp
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace


def next_runs(wanted: Wanted, batch: int) -> dict[str, Any]:
    """What `mixlab advise next` tells: mixes, regrets, whether it is worth it, words."""
    ws = Workspace.open()
    return _next(str(ws.root), advice_stamp(ws), wanted, batch)


def power(wanted: Wanted, designs: tuple[tuple[int, int], ...]) -> pd.DataFrame:
    """What `mixlab advise power` tells: runs (mixes), seeds, dollars, regret, decision_accuracy."""
    ws = Workspace.open()
    return _power(str(ws.root), advice_stamp(ws), wanted, designs)


def horizon(wanted: Wanted) -> dict[str, Any]:
    """What `mixlab advise horizon` tells: `steps`, `drift`, `hangs_on`.

    `steps`: times the tokens -> a sentence, and the best mix (None: the sources cannot fill it). `drift`: the mixes,
    long. `hangs_on`: how much of it hangs on what a repeated token is worth; empty if nothing can be filled.
    """
    wanted.check()
    ws = Workspace.open()
    return _horizon(str(ws.root), advice_stamp(ws), wanted)


@st.cache_data(max_entries=16, show_spinner=False)
def _next(root: str, stamp: lab.Stamp, wanted: Wanted, batch: int) -> dict[str, Any]:
    from mixlab.advise import buy, runs

    ws = Workspace(Path(root))
    with threadpool_limits(ONE_THREAD):
        objective, limits, dollars = runs.fitted(list_runs(ws), ws, wanted.ask())
        return dataclasses.asdict(buy.next_runs(objective, batch, limits=limits, dollars=dollars))


@st.cache_data(max_entries=16, show_spinner=False)
def _power(root: str, stamp: lab.Stamp, wanted: Wanted, designs: tuple[tuple[int, int], ...]) -> pd.DataFrame:
    from mixlab.advise import buy, runs

    ws = Workspace(Path(root))
    with threadpool_limits(ONE_THREAD):
        objective, _, dollars = runs.fitted(list_runs(ws), ws, wanted.ask())
        asked = [buy.Design(runs=mixes, seeds=seeds, dollars=dollars) for mixes, seeds in designs]
        told = buy.power(asked, buy.surface_of(objective), runs.designs(objective), buy.noise_sd(objective))
    return pd.DataFrame(
        [
            {"runs": p.design.runs, "seeds": p.design.seeds, "dollars": p.dollars, "regret": p.regret}
            | {"decision_accuracy": p.decision_accuracy}
            for p in told
        ]
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _horizon(root: str, stamp: lab.Stamp, wanted: Wanted) -> dict[str, Any]:
    from mixlab.advise import horizon as far

    with threadpool_limits(ONE_THREAD):
        steps = far.of_runs(Workspace(Path(root)), wanted.sweep, wanted.metrics, max_epochs=wanted.max_epochs)
    published = [s for s in steps if s.star == far.PUBLISHED.data]
    said = far.words(steps)
    told = {s.times: (words, s.weights) for s, words in zip(published, said, strict=False)}  # the last is of all
    return {"steps": told, "drift": far.frame(steps), "hangs_on": " ".join(said[len(published) :])}
