"""The mix that minimises the mean of several fitted metrics between floors and caps, and the mixes that are as good.

Every metric keeps its own fit; only their predictions are averaged. The errors of that average are calibrated on its
own out-of-fold errors, so metrics that err together are not taken for independent witnesses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize

from mixlab.advise.fits import Fit
from mixlab.advise.validation import CV, Calibration, LeftOut, calibrate, figures, groups_of
from mixlab.errors import ConfigError, PlanError, nearest
from mixlab.mix.simplex import capped_sample, centre, project
from mixlab.seeds import generator

SAMPLES = 20_000  # points of the capped simplex
STARTS = 4  # best of them that are improved by SLSQP
STEP = 1e-5  # of the difference quotient, in weight
NEAR = (0.5, 0.25, 0.1)  # a quarter of the sample is also shrunk towards the best mix, so that a small plateau is seen
AT_LIMIT = 1e-4  # weight closer than this to a cap counts as capped


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The unweighted mean of fitted metrics as a loss (negated where higher is better). Weights (n, m) must sum to one.

    (No slots: out-of-fold predictions are kept.)
    """

    fits: tuple[Fit, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Order of the columns of every weight array."""
        return self.fits[0].sources

    @cached_property
    def observed(self) -> np.ndarray:
        """(runs,) the loss of each run."""
        return np.mean([f.losses for f in self.fits], axis=0)

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
        variance = np.sum([part(weights, reference) ** 2 for part in parts if part is not None], axis=0)
        return difference, np.sqrt(variance) / len(self.fits) * self.calibration.scale

    def cv(self) -> CV:
        """Cross-validation of the mean of predictions, every metric refitted in every fold."""
        merged = [_merge(predictions) for predictions in zip(*(f.rounds for f in self.fits), strict=True)]
        return figures(self.observed, merged, groups_of(self.fits[0].weights))

    @cached_property
    def unseen(self) -> LeftOut:
        """Predictions of `observed` by fits that saw neither the row nor its mix; sd not corrected."""
        return _merge([f.unseen for f in self.fits])

    @cached_property
    def calibration(self) -> Calibration:
        """Interval widths that the out-of-fold errors of the mean call for."""
        return calibrate(self.observed, self.unseen, groups_of(self.fits[0].weights))

    def raw(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and sd (n,) of one run's loss before calibration, as if the metrics erred independently."""
        merged = _merge([LeftOut(mean=mean, sd=sd) for mean, sd in (f.surrogate.predict(weights) for f in self.fits)])
        return merged.mean, merged.sd


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """Where the objective is lowest, and how sure that is."""

    weights: dict[str, float]
    loss: float
    sd: float
    """Of one run's loss at these weights."""
    indifference: dict[str, tuple[float, float]]
    """Source -> range of its weight over all sampled mixes within one sd of the difference to the best."""
    capped: tuple[str, ...]
    """Sources whose weight is at its cap."""
    floored: tuple[str, ...]
    """Sources held up by a floor above 0."""


def objective_of(fits: Sequence[Fit]) -> Objective:
    """The mean of the fits. ConfigError: none, or fits of different runs or sources."""
    if not fits:
        raise ConfigError("no metric was given to optimise; name at least one.")
    for f in fits[1:]:
        if f.sources != fits[0].sources or not np.array_equal(f.weights, fits[0].weights):
            raise ConfigError(
                f"metrics '{fits[0].metric}' and '{f.metric}' were fitted to different runs. "
                "Fit them to the rows that have a value for both."
            )
    return Objective(fits=tuple(fits))


def best_mix(
    objective: Objective,
    *,
    lo: Mapping[str, float] | None = None,
    hi: Mapping[str, float] | None = None,
    prior: Mapping[str, float] | None = None,
    kappa: float = 0.0,
    lam: float = 0.0,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Best:
    """The mix with the least `loss + kappa sd + lam KL(w || prior)` between floors `lo` and caps `hi` (by source name).

    Sampled on the capped simplex, the best improved by SLSQP. KL is in nats against `prior` (needed if lam > 0).
    PlanError where no mixture lies between the limits: it says how much is missing. ConfigError: unknown source.
    """
    sources = objective.sources
    low, high = limits(sources, lo, hi)
    best, points = minimiser(objective, low, high, prior=prior, kappa=kappa, lam=lam, seed=seed, samples=samples)
    loss, sd = objective.predict(best[None])
    return Best(
        weights=dict(zip(sources, best.tolist(), strict=True)),
        loss=float(loss[0]),
        sd=float(sd[0]),
        indifference=indifference(objective, best, points),
        capped=tuple(s for s, w, c in zip(sources, best, high, strict=True) if w > c - AT_LIMIT and c < 1 - AT_LIMIT),
        floored=tuple(s for s, w, c in zip(sources, best, low, strict=True) if w < c + AT_LIMIT and c > AT_LIMIT),
    )


def minimiser(
    objective: Objective,
    low: np.ndarray,
    high: np.ndarray,
    *,
    prior: Mapping[str, float] | None = None,
    kappa: float = 0.0,
    lam: float = 0.0,
    seed: int = 0,
    samples: int = SAMPLES,
) -> tuple[np.ndarray, np.ndarray]:
    """The weights (m,) that `best_mix` describes, and the points (n, m) of the capped simplex that were tried."""
    reference = None if prior is None else aligned(prior, objective.sources, "prior")
    if lam > 0 and reference is None:
        raise ConfigError("lam > 0 pulls towards a prior mixture, but no prior was given. Pass one, or lam=0.")

    def value(weights: np.ndarray) -> np.ndarray:
        mean, sd = objective.predict(weights) if kappa else (objective.raw(weights)[0], 0.0)
        return mean + kappa * sd + (lam * _kl(weights, reference) if lam and reference is not None else 0.0)

    points = capped_sample(low, high, samples, generator(seed, "optimise"))
    seen = np.array([project(w, low, high) for w in [*objective.fits[0].weights, centre(low, high)]])
    points = np.vstack([points, seen])
    return _descend(value, points[np.argsort(value(points), kind="stable")[:STARTS]], low, high), points


def indifference(objective: Objective, best: np.ndarray, points: np.ndarray) -> dict[str, tuple[float, float]]:
    """Range of each weight over the points (n, m) whose loss is within one sd of the difference to `best` (m,)."""
    cloud = np.vstack([best[None], points, *(best + r * (points[::4] - best) for r in NEAR)])
    difference, sd = objective.contrast(cloud, best)
    equal = cloud[difference <= sd]
    ranges = zip(equal.min(0).tolist(), equal.max(0).tolist(), strict=True)
    return dict(zip(objective.sources, ranges, strict=True))


def limits(
    sources: Sequence[str], lo: Mapping[str, float] | None, hi: Mapping[str, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Floors (default 0) and caps (default 1) as arrays. PlanError where no mixture lies between them."""
    low = np.array([(lo or {}).get(s, 0.0) for s in sources], float)
    high = np.minimum([(hi or {}).get(s, 1.0) for s in sources], 1.0)
    for name in [*(lo or {}), *(hi or {})]:
        if name not in sources:
            raise ConfigError(f"a limit names '{name}', which is not a source of these runs.{nearest(name, sources)}")
    for s, a, b in zip(sources, low, high, strict=True):
        if not 0 <= a <= b:
            raise PlanError(
                f"'{s}' may not go below {a:.4g} nor above {b:.4g}: no weight is left. Change one of the two."
            )
    caps = ", ".join(f"{s} {b:.4g}" for s, b in zip(sources, high, strict=True))
    if high.sum() < 1 - 1e-9:
        raise PlanError(
            f"the caps sum to {high.sum():.4f} ({caps}): {1 - high.sum():.4f} of the training tokens have no source. "
            "Add tokens to a source, add a source, raise train.max_epochs, or lower train.tokens."
        )
    if low.sum() > 1 + 1e-9:
        raise PlanError(f"the floors sum to {low.sum():.4f}; lower them by {low.sum() - 1:.4f} in all.")
    return low, high


def aligned(weights: Mapping[str, float], sources: Sequence[str], name: str) -> np.ndarray:
    """Weights by name as an array (m,) in the order of the sources, summing to one. ConfigError: names or signs."""
    for key in weights:
        if key not in sources:
            raise ConfigError(f"the {name} mixture names '{key}', not a source of these runs.{nearest(key, sources)}")
    values = np.array([weights.get(s, 0.0) for s in sources], float)
    if not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
        raise ConfigError(f"the {name} mixture has weights {dict(weights)}: none may be below 0, and not all 0.")
    return values / values.sum()


def _descend(value, starts: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The best of the starts (k, m), each after SLSQP."""
    bounds = list(zip(low, high, strict=True))
    step = np.where(high - low > 2 * STEP, STEP, 0.0)

    def with_gradient(w: np.ndarray) -> tuple[float, np.ndarray]:
        w = np.clip(w, low, high)
        forward = np.where(w + step <= high, step, -step)
        values = value(np.vstack([w, np.maximum(w + np.diag(forward), 0.0)]))
        return float(values[0]), (values[1:] - values[0]) / np.where(forward == 0, 1.0, forward)

    total = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    ends = [
        minimize(
            with_gradient, w, jac=True, method="SLSQP", bounds=bounds, constraints=[total], options={"maxiter": 60}
        ).x
        for w in starts
    ]
    ends = [project(w, low, high) for w in ends if np.isfinite(w).all()]
    candidates = np.vstack([starts, *ends])
    return candidates[value(candidates).argmin()]


def _kl(weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """KL(w || prior) per row in nats, 0 ln 0 = 0; a source outside the prior counts as 1e-9 of it."""
    ratio = np.where(weights > 0, weights, 1.0) / np.maximum(prior, 1e-9)
    return (np.where(weights > 0, weights, 0.0) * np.log(ratio)).sum(1)


def _merge(predictions: Sequence[LeftOut]) -> LeftOut:
    """The mean of predictions; its sd as if their errors were independent."""
    sd = np.sqrt(np.sum([p.sd**2 for p in predictions], axis=0)) / len(predictions)
    return LeftOut(mean=np.mean([p.mean for p in predictions], axis=0), sd=sd)
