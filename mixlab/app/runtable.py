"""The table of runs on the page Runs: which of them it shows, and which columns. Reads nothing."""

from collections.abc import Iterable

import pandas as pd

ALWAYS = ("label", "state", "bpb_macro")
REMARKS = ("is_starred", "tags", "note", "is_archived")
BOOKKEEPING = (
    *("run_id", "name", "sweep", "mix_id", "path", "host", "git_sha", "created_at", "heartbeat_at", "ended_at"),
    *("wall_s", "gpu_s", "tokens_per_s", "mfu_frac", "cost_usd", "attempt", "slurm_job_id", "bpb_macro_stderr"),
)
"""Columns that differ from run to run without telling the runs apart."""


def sweeps(runs: pd.DataFrame) -> list[str]:
    """Names of all sweeps that asked for some of the runs."""
    return sorted(set[str]().union(*_asked_by(runs)))


def _asked_by(runs: pd.DataFrame) -> list[set[str]]:
    """Of each run the sweeps that asked for it, whichever of them trained it."""
    return [set(told.split(", ")) - {""} for told in runs["sweeps"].fillna("")]


def filtered(
    runs: pd.DataFrame, text: str, states: Iterable[str], asked_by: Iterable[str], *, archived: bool = True
) -> pd.DataFrame:
    """Runs that hold every word of `text` somewhere in their row, in these states, asked for by one of these sweeps.

    An empty list asks for nothing. `archived`: archived ones too.
    """
    if some := list(states):
        runs = runs.loc[runs["state"].isin(some)]
    if some := set(asked_by):
        runs = runs.loc[[not some.isdisjoint(names) for names in _asked_by(runs)]]
    runs = runs if archived else runs.loc[~runs["is_archived"]]
    words = text.lower().split()
    if not words:
        return runs
    told = (" ".join(map(str, run)).lower() for run in runs.itertuples(index=False, name=None))
    return runs.loc[[all(word in row for word in words) for row in told]]


def columns(runs: pd.DataFrame, *, only_differing: bool) -> list[str]:
    """Columns for the table, what matters first: state, bits per byte, shares, then the settings and the bookkeeping.

    `only_differing` leaves out columns in which all runs agree, and the bookkeeping.

    >>> columns(pd.DataFrame({"label": ["a", "b"], "seed": [0, 0], "steps": [1, 2]}), only_differing=True)
    ['label', 'steps']
    """
    shares = [c for c in runs.columns if c.startswith("w_")]
    bpb = [c for c in runs.columns if c.startswith("bpb_") and c not in ALWAYS]
    first = [*ALWAYS, "reason", *REMARKS]
    order = [c for c in dict.fromkeys([*first, *shares, *bpb, *runs.columns]) if c in runs.columns]
    if not only_differing:
        return order
    return [c for c in order if c in ALWAYS or (c not in BOOKKEEPING and len(set(runs[c].astype(str))) > 1)]
