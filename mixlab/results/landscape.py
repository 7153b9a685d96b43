"""Runs as points in the space of mixtures: ternary and parallel coordinates, Pareto front, which axes differ.

Reads frames of `Store.runs`, writes nothing. Only runs of one recipe (same corpora, model, training and exam; other
mixture, other seed) belong in one picture.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

SHARE, SCORE = "w_", "bpb_"
REST = "rest"
FEWEST = 2  # mixes from which a picture tells something
FEWEST_TO_FIT = 5  # as advise.fits.MIN_MIXES, which is not read here; a test holds the two together


def alike(runs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The largest set of finished, scored runs of one recipe, best first, and how many others were left out."""
    if runs.empty:
        return runs, 0
    done: pd.DataFrame = runs.loc[(runs["state"] == "finished") & runs["bpb_macro"].notna()]
    if done.empty:
        return done, 0
    counts: Any = done["recipe"].value_counts()
    recipe: str = min(counts.index[counts == counts.max()])
    used = done.loc[done["recipe"] == recipe].sort_values(["bpb_macro", "run_id"], ignore_index=True)
    empty = [c for c in used.columns if str(c).startswith((SHARE, SCORE)) and used[c].isna().all()]
    used = used.drop(columns=empty)
    shares = [c for c in used.columns if str(c).startswith(SHARE)]
    return used.assign(**{c: used[c].fillna(0.0) for c in shares}), len(done) - len(used)


def mixes_of(runs: pd.DataFrame) -> int:
    """How many different mixtures these runs have."""
    return len(runs[shares_of(runs)].round(6).drop_duplicates()) if len(runs) else 0


def shares_of(runs: pd.DataFrame) -> list[str]:
    """Columns of shares, by name."""
    return sorted(str(c) for c in runs.columns if str(c).startswith(SHARE))


def scores_of(runs: pd.DataFrame) -> list[str]:
    """Columns of bits per byte, the mean of the sources first; no standard errors."""
    found = sorted(str(c) for c in runs.columns if str(c).startswith(SCORE) and not str(c).endswith("_stderr"))
    return sorted(found, key=lambda c: c != "bpb_macro")


def differing(runs: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Those of the columns in which the runs are not all alike, in their order."""
    return [c for c in columns if len(set(runs[c].round(9) if runs[c].dtype.kind == "f" else runs[c].astype(str))) > 1]


def ternary(runs: pd.DataFrame, corners: Sequence[str]) -> pd.DataFrame:
    """The runs with `x`, `y` in a triangle of side 1 and `rest`, the share of all sources that are no corner.

    `corners`: three sources, at (0, 0), (1, 0) and (1/2, sqrt(3)/2). A point stands where the three shares stand to
    each other; a run with none of the three has no place and is left out.

    >>> runs = pd.DataFrame({"w_a": [0.5], "w_b": [0.25], "w_c": [0.0], "w_d": [0.25]})
    >>> ternary(runs, ["a", "b", "c"])[["x", "y", "rest"]].round(3).values.tolist()
    [[0.333, 0.0, 0.25]]
    """
    shares = runs[[f"{SHARE}{s}" for s in corners]].to_numpy(float)
    total = shares.sum(axis=1)
    keep: np.ndarray = total > 0
    a = shares[keep] / total[keep, None]
    placed = runs.loc[keep].assign(x=a[:, 1] + a[:, 2] / 2, y=a[:, 2] * math.sqrt(3) / 2)
    return placed.assign(**{REST: np.clip(1 - total[keep], 0, 1)})


def parallel(runs: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """The runs on parallel axes, long: run_id, label, loss (macro), axis, at (0 to 1 of that axis), value.

    An axis goes from its least to its greatest value; one on which all agree puts them in the middle.
    """
    parts = list[pd.DataFrame]()
    for axis in axes:
        values: Any = runs[axis].astype(float)
        low, high = values.min(), values.max()
        at = (values - low) / (high - low) if high > low else values * 0 + 0.5
        parts.append(runs[["run_id", "label", "bpb_macro"]].assign(axis=axis, at=at, value=values))
    told = pd.concat(parts) if parts else pd.DataFrame(columns=["run_id", "label", "bpb_macro", "axis", "at", "value"])
    return told.rename(columns={"bpb_macro": "loss"}).dropna(subset=["value"]).reset_index(drop=True)


def pareto(runs: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The runs that have both scores, with `is_best`: no other run is lower on one and no higher on the other.

    >>> runs = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]})
    >>> pareto(runs, "a", "b")["is_best"].tolist()
    [True, True, False]
    """
    told = runs.dropna(subset=[x, y])
    p, q = told[x].to_numpy(float), told[y].to_numpy(float)
    beaten = (p[None] <= p[:, None]) & (q[None] <= q[:, None]) & ((p[None] < p[:, None]) | (q[None] < q[:, None]))
    return told.assign(is_best=~beaten.any(axis=1))


def doses(runs: pd.DataFrame, score: str) -> pd.DataFrame:
    """Each source's share against one score, long: run_id, label, source, weight, value."""
    parts = [
        runs[["run_id", "label"]].assign(source=c.removeprefix(SHARE), weight=runs[c], value=runs[score])
        for c in shares_of(runs)
    ]
    columns = ["run_id", "label", "source", "weight", "value"]
    return pd.concat(parts).dropna(subset=["value"]).reset_index(drop=True) if parts else pd.DataFrame(columns=columns)


def mixture_of(runs: pd.DataFrame, run_id: str) -> dict[str, float]:
    """Source -> share of training tokens of one run; sources with none are left out."""
    row = runs.loc[runs["run_id"] == run_id].iloc[0]
    return {c.removeprefix(SHARE): float(row[c]) for c in shares_of(runs) if row[c] > 0}
