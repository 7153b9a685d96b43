"""What is to be made small: a weighted sum of fitted metrics, its predictions and its errors.

Every metric keeps its own fit; only their predictions are summed. The errors of that sum are calibrated on its own
out-of-fold errors, so metrics that err together are not taken for independent witnesses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixlab.advise.fits import Fit
from mixlab.advise.validation import CV, Calibration, LeftOut, calibrate, figures, groups_of
from mixlab.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A weighted sum of fitted metrics as a loss (negated where higher is better). Weights (n, m) must sum to one.

    (No slots: out-of-fold predictions are kept.)
    """

    fits: tuple[Fit, ...]
    factors: tuple[float, ...]
    """What each metric counts: 1/k for a plain mean, in units of its sd between runs if standardised."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Order of the columns of every weight array."""
        return self.fits[0].sources

    @cached_property
    def observed(self) -> np.ndarray:
        """(runs,) the loss of each run."""
        return np.asarray(self.factors) @ np.array([f.losses for f in self.fits])

    def predict(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and calibrated sd (n,) of one run's loss."""
        mean, sd = self.raw(weights)
        return mean, sd * self.calibration.scale

    def contrast(self, weights: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Loss minus that of the reference mix (m,), and the sd of this difference, run noise not included."""
        difference = self.raw(weights)[0] - self.raw(reference[None])[0]
        parts = [f.surrogate.contrast for f in self.fits]
        if any(part is None for part in parts):
            sd = np.full(len(weights), np.std(self.observed - self.unseen.mean))
            return difference, np.where(np.abs(weights - reference).sum(1) > 0, sd, 0.0)
        own = [part(weights, reference) * c for part, c in zip(parts, self.factors, strict=True) if part is not None]
        return difference, np.sqrt(np.sum(np.square(own), axis=0)) * self.calibration.scale

    def cv(self) -> CV:
        """Cross-validation of the mean of predictions, every metric refitted in every fold."""
        merged = [self._merge(predictions) for predictions in zip(*(f.rounds for f in self.fits), strict=True)]
        return figures(self.observed, merged, groups_of(self.fits[0].weights))

    @cached_property
    def unseen(self) -> LeftOut:
        """Predictions of `observed` by fits that saw neither the row nor its mix; sd not corrected."""
        return self._merge([f.unseen for f in self.fits])

    @cached_property
    def calibration(self) -> Calibration:
        """Interval widths that the out-of-fold errors of the mean call for."""
        return calibrate(self.observed, self.unseen, groups_of(self.fits[0].weights))

    def raw(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and sd (n,) of one run's loss before calibration, as if the metrics erred independently."""
        merged = self._merge(
            [LeftOut(mean=mean, sd=sd) for mean, sd in (f.surrogate.predict(weights) for f in self.fits)]
        )
        return merged.mean, merged.sd

    def _merge(self, predictions: Sequence[LeftOut]) -> LeftOut:
        """The weighted sum of predictions; its sd as if their errors were independent."""
        parts = list(zip(self.factors, predictions, strict=True))
        sd = np.sqrt(np.sum([(c * p.sd) ** 2 for c, p in parts], axis=0))
        return LeftOut(mean=np.sum([c * p.mean for c, p in parts], axis=0), sd=sd)


def objective_of(
    fits: Sequence[Fit], importance: Mapping[str, float] | None = None, *, standardise: bool = False
) -> Objective:
    """The mean of the fits, or their sum weighted by `importance` (metric -> weight, default 1; divided by its sum).

    `standardise` divides each metric by its sd between runs first. ConfigError: none, fits of different runs or
    sources, an unknown or negative importance.
    """
    if not fits:
        raise ConfigError("no metric was given to optimise; name at least one.")
    for f in fits[1:]:
        if f.sources != fits[0].sources or not np.array_equal(f.weights, fits[0].weights):
            raise ConfigError(
                f"metrics '{fits[0].metric}' and '{f.metric}' were fitted to different runs. "
                "Fit them to the rows that have a value for both."
            )
    told, names = importance or {}, [f.metric for f in fits]
    for name in told:
        if name not in names:
            raise ConfigError(f"an importance is given to '{name}', which is not optimised.{nearest(name, names)}")
    raw = np.array([told.get(name, 1.0) for name in names], float)
    if (raw < 0).any() or raw.sum() <= 0:
        raise ConfigError(f"the metrics' importances are {dict(told)}: none may be below 0, and not all 0.")
    shares = raw / raw.sum() / np.array([f.losses.std() if standardise else 1.0 for f in fits])
    return Objective(fits=tuple(fits), factors=tuple(shares.tolist()))


def aligned(weights: Mapping[str, float], sources: Sequence[str], name: str) -> np.ndarray:
    """Weights by name as an array (m,) in the order of the sources, summing to one. ConfigError: names or signs."""
    for key in weights:
        if key not in sources:
            raise ConfigError(f"the {name} mixture names '{key}', not a source of these runs.{nearest(key, sources)}")
    values = np.array([weights.get(s, 0.0) for s in sources], float)
    if not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
        raise ConfigError(f"the {name} mixture has weights {dict(weights)}: none may be below 0, and not all 0.")
    return values / values.sum()
