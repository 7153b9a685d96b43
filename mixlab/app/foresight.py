"""What the finished runs say of a mixture that was not trained: a score with its interval, and the gain over another.

Fits through advise/, once for the runs there are. Imported when it is first asked: SciPy and LightGBM take a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
from threadpoolctl import threadpool_limits  # pyright: ignore[reportMissingTypeStubs]  # it has none

from mixlab.advise import runs as reading
from mixlab.advise.card import Estimate
from mixlab.advise.gain import around, gain
from mixlab.advise.objective import Objective
from mixlab.app import lab
from mixlab.errors import ConfigError
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace

OUTSIDE = 0.02
"""A share this far beyond those of the runs is extrapolated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Foresight:
    """What the fit says of one mixture."""

    score: Estimate
    """Mean of the sources' bits per byte of one run, noise included."""
    gain: Estimate
    """The baseline's score minus the mixture's, averaged over seeds: above 0 the mixture is better."""
    runs: int
    tokens: int
    """Budget of the runs behind it: the score is that of such a run."""
    outside: tuple[str, ...]
    """Sources whose share lies outside of what the runs had."""

    @property
    def verdict(self) -> str:
        """Better, worse or not distinguishable, in words."""
        if self.gain.lo95 > 0:
            return "better than the baseline"
        return "worse than the baseline" if self.gain.hi95 < 0 else "not distinguishable from the baseline"


def foresee(mixture: Mapping[str, float], baseline: Mapping[str, float]) -> Foresight:
    """The predicted score of a mixture, and its predicted gain over a baseline.

    MissingError, ConfigError: too few finished runs, or the mixture gives weight to a source that was in none of them.
    """
    ws = Workspace.open()
    objective, tokens = _fitted(str(ws.root), lab.stamp_of("scores.jsonl", "done.json"))
    unknown = sorted(s for s, w in {**baseline, **mixture}.items() if w > 0 and s not in objective.sources)
    if unknown:
        raise ConfigError(f"no finished run had {', '.join(unknown)}: nothing can be said of a mix with it.")
    mix, other = (_row(m, objective.sources) for m in (mixture, baseline))
    with threadpool_limits(1):
        mean, sd = objective.raw(mix[None])
        half80, half95 = (float(objective.calibration.widths[q] * sd[0]) for q in (0.8, 0.95))
        found = gain(objective, mix, other)
    seen = objective.fits[0].weights
    is_out = (mix > seen.max(0) + OUTSIDE) | (mix < seen.min(0) - OUTSIDE)
    return Foresight(
        score=around(float(mean[0]), half80, half95),
        gain=found.estimate,
        runs=len(objective.observed),
        tokens=tokens,
        outside=tuple(s for s, out in zip(objective.sources, is_out, strict=True) if out),
    )


def _row(weights: Mapping[str, float], sources: tuple[str, ...]) -> np.ndarray:
    row = np.array([weights.get(s, 0.0) for s in sources])
    return row / row.sum()


@st.cache_resource(max_entries=2, show_spinner=False)
def _fitted(root: str, stamp: lab.Stamp) -> tuple[Objective, int]:
    """The objective, its left-out errors already worked out, and the budget of its runs."""
    ws = Workspace(Path(root))
    rows = list_runs(ws)
    with threadpool_limits(1):
        objective, _, _ = reading.fitted(rows, ws, reading.Ask())
        _ = objective.calibration, objective.unseen
    used, _, _ = reading.comparable(rows)
    return objective, int(used[0]["tokens"])
