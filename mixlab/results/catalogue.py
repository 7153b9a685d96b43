"""Which sources a lab knows, in the order in which they came: what the colours of all charts hang on.

Reads the times of prepared corpora and of runs, writes nothing. A source that comes later takes the next colour, so
those that are there keep theirs.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from mixlab.workspace import MANIFEST, Workspace

SHARE = "w_"


def source_order(ws: Workspace, runs: pd.DataFrame) -> list[str]:
    """Every source that a corpus or a run of the lab has, the oldest first; at one time by name.

    A source came when its text was first prepared, or when a run first named it, whichever was earlier. `runs`: of
    `Store.runs`. Of a run that others trained, the import counts.
    """
    came: dict[str, float] = {}
    for told in ws.root.glob(f"tokens/*/{MANIFEST}"):
        name = told.parent.name.rpartition("-")[0]
        came[name] = min(came.get(name, float("inf")), told.stat().st_mtime)
    if runs.empty:
        return sorted(came, key=lambda name: (came[name], name))
    is_ours = runs["origin"].isna() & runs["created_at"].notna()
    ours, others = runs.loc[is_ours, "created_at"], runs.loc[~is_ours, "path"].map(_written)
    for column in (c for c in runs.columns if str(c).startswith(SHARE)):
        named: Any = runs[column].notna()
        first = [at.timestamp() for at in (ours[named[is_ours]].min(),) if not pd.isna(at)]
        name = str(column).removeprefix(SHARE)
        came[name] = min([came.get(name, float("inf")), *first, *others[named[~is_ours]]])
    return sorted(came, key=lambda name: (came[name], name))


def _written(run: str) -> float:
    """When the run's folder got its `run.json`, in unix seconds; a run that is gone by now came last."""
    try:
        return (Path(run) / "run.json").stat().st_mtime
    except FileNotFoundError:
        return float("inf")
