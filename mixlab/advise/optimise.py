"""The mix that minimises an objective within a region, the mixes that are as good, and what each limit costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from mixlab.advise.objective import Objective, aligned
from mixlab.advise.region import Limits, Region, region_of
from mixlab.errors import ConfigError, nearest
from mixlab.mix.simplex import project
from mixlab.seeds import generator

SAMPLES = 20_000  # points of the region
STARTS = 4  # best of them that are improved by SLSQP
STEP = 1e-5  # of the difference quotient, in weight
NEAR = (0.5, 0.25, 0.1)  # a quarter of the sample is also shrunk towards the best mix, so that a small plateau is seen
AT_LIMIT = 1e-4  # weight closer than this to a cap counts as capped
STRICT = 1e3  # loss per unit by which a metric misses its ceiling


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
    shadow_prices: dict[str, float]
    """Source at its cap -> loss saved by one point (0.01) more room there; from the gradient at the best mix."""


def best_mix(
    objective: Objective,
    limits: Limits | Region | None = None,
    *,
    prior: Mapping[str, float] | None = None,
    kappa: float = 0.0,
    lam: float = 0.0,
    ceilings: Mapping[str, float] | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Best:
    """The mix with the least `loss + kappa sd + lam KL(w || prior)` within `limits`.

    Sampled over the region, the best improved by SLSQP. KL is in nats against `prior` (needed if lam > 0). `ceilings`:
    metric -> value in its own unit that its prediction may not pass (a floor where higher is better). PlanError where
    no mixture keeps the limits: it says how much is missing. ConfigError: unknown source or metric.
    """
    region = limits if isinstance(limits, Region) else region_of(objective.sources, limits or Limits())
    best, points = minimiser(
        objective, region, prior=prior, kappa=kappa, lam=lam, ceilings=ceilings, seed=seed, samples=samples
    )
    loss, sd = objective.predict(best[None])
    v = region.gather(best)
    at_cap = (v > region.high - AT_LIMIT) & (region.high < 1 - AT_LIMIT)
    at_floor = (v < region.low + AT_LIMIT) & (region.low > AT_LIMIT)
    return Best(
        weights=dict(zip(objective.sources, best.tolist(), strict=True)),
        loss=float(loss[0]),
        sd=float(sd[0]),
        indifference=indifference(objective, best, points),
        capped=_members(region, at_cap),
        floored=_members(region, at_floor),
        shadow_prices=_shadow_prices(objective, region, v, at_cap, at_floor),
    )


def minimiser(
    objective: Objective,
    region: Region,
    *,
    prior: Mapping[str, float] | None = None,
    kappa: float = 0.0,
    lam: float = 0.0,
    ceilings: Mapping[str, float] | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
) -> tuple[np.ndarray, np.ndarray]:
    """The weights (m,) that `best_mix` describes, and the points (n, m) of the region that were tried."""
    reference = None if prior is None else aligned(prior, objective.sources, "prior")
    if lam > 0 and reference is None:
        raise ConfigError("lam > 0 pulls towards a prior mixture, but no prior was given. Pass one, or lam=0.")
    named = {f.metric: f for f in objective.fits}
    for name in ceilings or {}:
        if name not in named:
            raise ConfigError(f"a ceiling names '{name}', which is not optimised.{nearest(name, named)}")

    def value(blocks: np.ndarray) -> np.ndarray:
        weights = region.spread(blocks)
        mean, sd = objective.predict(weights) if kappa else (objective.raw(weights)[0], 0.0)
        total = mean + kappa * sd + (lam * _kl(weights, reference) if lam and reference is not None else 0.0)
        for name, limit in (ceilings or {}).items():
            sign = -1.0 if named[name].higher_is_better else 1.0
            total = total + STRICT * np.maximum(named[name].surrogate.predict(weights)[0] - sign * limit, 0.0)
        return total

    seen = [project(region.gather(w), region.low, region.high) for w in objective.fits[0].weights]
    points = np.vstack([region.sample(samples, generator(seed, "optimise")), *seen, region.middle])
    points = points[region.holds(points)]
    best = _descend(value, points[np.argsort(value(points), kind="stable")[:STARTS]], region)
    return region.spread(best), region.spread(points)


def indifference(objective: Objective, best: np.ndarray, points: np.ndarray) -> dict[str, tuple[float, float]]:
    """Range of each weight over the points (n, m) whose loss is within one sd of the difference to `best` (m,)."""
    cloud = np.vstack([best[None], points, *(best + r * (points[::4] - best) for r in NEAR)])
    difference, sd = objective.contrast(cloud, best)
    equal = cloud[difference <= sd]
    ranges = zip(equal.min(0).tolist(), equal.max(0).tolist(), strict=True)
    return dict(zip(objective.sources, ranges, strict=True))


def _descend(value: Callable[[np.ndarray], np.ndarray], starts: np.ndarray, region: Region) -> np.ndarray:
    """The best of the starts (n, k), each after SLSQP."""
    low, high = region.low, region.high
    step = np.where(high - low > 2 * STEP, STEP, 0.0)

    def with_gradient(v: np.ndarray) -> tuple[float, np.ndarray]:
        v = np.clip(v, low, high)
        forward = np.where(v + step <= high, step, -step)
        values = value(np.vstack([v, np.maximum(v + np.diag(forward), 0.0)]))
        return float(values[0]), (values[1:] - values[0]) / np.where(forward == 0, 1.0, forward)

    ends = [
        minimize(
            with_gradient,
            v,
            jac=True,
            method="SLSQP",
            bounds=list(zip(low, high, strict=True)),
            constraints=_rules(region),
            options={"maxiter": 60},
        ).x
        for v in starts
    ]
    ends = [project(v, low, high) for v in ends if np.isfinite(v).all()]
    candidates = np.vstack([starts, *ends])
    candidates = candidates[region.holds(candidates)]
    return candidates[value(candidates).argmin()]


def _rules(region: Region) -> Any:
    """What SLSQP keeps to, in its words: shares sum to one, groups stay within their limits."""
    rules: list[dict[str, str | Callable[[np.ndarray], Any]]]
    rules = [{"type": "eq", "fun": lambda v: v.sum() - 1, "jac": np.ones_like}]
    if len(region.sums):
        both, ends = np.vstack([region.sums, -region.sums]), np.r_[region.least, -region.most]
        rules.append({"type": "ineq", "fun": lambda v: both @ v - ends, "jac": lambda _: both})
    return rules


def _shadow_prices(
    objective: Objective, region: Region, v: np.ndarray, at_cap: np.ndarray, at_floor: np.ndarray
) -> dict[str, float]:
    """Multipliers of binding caps, per point of weight: the slope of the free blocks minus that of the capped one."""
    free = ~at_cap & ~at_floor & (v > region.low + AT_LIMIT)
    if not at_cap.any() or not free.any():
        return {}
    moved = v + STEP * np.eye(len(v))
    slope = (objective.raw(region.spread(moved))[0] - objective.raw(region.spread(v[None]))[0]) / STEP
    prices = dict[str, float]()
    for i in np.flatnonzero(at_cap):
        for s in _members(region, np.arange(len(v)) == i):
            prices[s] = max(float(slope[free].mean() - slope[i]) / 100, 0.0)
    return prices


def _members(region: Region, chosen: np.ndarray) -> tuple[str, ...]:
    """Sources of the chosen blocks."""
    inside = region.blocks[chosen].sum(0)
    return tuple(s for s, share in zip(region.sources, inside.tolist(), strict=True) if share > 0)


def _kl(weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """KL(w || prior) per row in nats, 0 ln 0 = 0; a source outside the prior counts as 1e-9 of it."""
    ratio = np.where(weights > 0, weights, 1.0) / np.maximum(prior, 1e-9)
    return (np.where(weights > 0, weights, 0.0) * np.log(ratio)).sum(1)
