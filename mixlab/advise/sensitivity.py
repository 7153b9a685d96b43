"""What one more point of a source does to each metric, and which source a predicted change is due to.

A point more of a source means: its weight rises by 0.01 and all others shrink in proportion. Reads fits, writes
nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from mixlab.advise.fits import POINT, Fit
from mixlab.advise.objective import Objective, aligned
from mixlab.advise.validation import groups_of

MEAN = "mean"
"""Name of the objective in the tables: the weighted sum of the metrics."""
STEPS = 32  # points of the path that a change is attributed along
NUDGE = 1e-4  # of the difference quotient, in weight


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """Of one point more of a source, in the metric's own unit (of the mean: as a loss)."""

    source: str
    metric: str
    change: float
    lo: float | None
    hi: float | None
    """95 % interval; None where the method has no joint posterior."""


def effects(objective: Objective, mix: Mapping[str, float]) -> list[Effect]:
    """Of every source on the mean and on every metric, at this mix. ConfigError: unknown source."""
    at = aligned(mix, objective.sources, "given")
    moved = np.array([at * (1 - POINT) + POINT * row for row in np.eye(len(at))])
    reach = float(student.ppf(0.975, int(groups_of(objective.fits[0].weights).max())))
    change, sd = objective.contrast(moved, at)
    found = [_effect(s, MEAN, c, e * reach) for s, c, e in zip(objective.sources, change, sd, strict=True)]
    for f in objective.fits:
        change = f.surrogate.predict(moved)[0] - f.surrogate.predict(at[None])[0]
        change = -change if f.higher_is_better else change
        own = None if f.surrogate.contrast is None else f.surrogate.contrast(moved, at) * f.calibration.scale * reach
        found += [_effect(s, f.metric, change[i], None if own is None else own[i]) for i, s in enumerate(f.sources)]
    return found


def attribution(fit: Fit, start: Mapping[str, float], end: Mapping[str, float]) -> dict[str, float]:
    """Source -> its part of the predicted change of the metric from one mix to another; the parts sum to the change.

    The derivative by each source (the others shrinking in proportion) times its change of weight, integrated along the
    straight line between the mixes (Aumann and Shapley). In the metric's own unit. ConfigError: unknown source.
    """
    a, b = (aligned(mix, fit.sources, name) for mix, name in ((start, "first"), (end, "second")))
    parts = np.zeros(len(a))
    for at in (np.arange(STEPS) + 0.5) / STEPS:
        w = a + at * (b - a)
        moved = np.vstack([w, w + NUDGE * (np.eye(len(w)) - w)])
        value = fit.surrogate.predict(moved)[0]
        parts += (value[1:] - value[0]) / NUDGE * (b - a) / STEPS
    sign = -1.0 if fit.higher_is_better else 1.0
    return dict(zip(fit.sources, (sign * parts).tolist(), strict=True))


def _effect(source: str, metric: str, change: float, half: float | None) -> Effect:
    ends = (None, None) if half is None else (float(change - half), float(change + half))
    return Effect(source=source, metric=metric, change=float(change), lo=ends[0], hi=ends[1])
