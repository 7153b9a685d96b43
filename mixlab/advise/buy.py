"""Which runs to buy next, and whether any are worth it: expected regret before and after, by simulation.

Reads and writes nothing. Surfaces are drawn near the fitted one (or a planted one), trained on in imagination, and
judged by what the mix picked after more runs loses to the best mix of the surface.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixlab.advise.fits import Fit
from mixlab.advise.gain import noise_of_repeats
from mixlab.advise.gp import train_ard
from mixlab.advise.objective import Objective
from mixlab.advise.optimise import NEAR, minimiser
from mixlab.advise.region import Limits, region_of
from mixlab.advise.target import priced
from mixlab.advise.validation import decision_accuracy
from mixlab.advise.verdict import Wish, reachable
from mixlab.errors import ConfigError
from mixlab.mix import swarm
from mixlab.seeds import generator

POOL = 80  # candidate mixes near the best one; half as many anywhere a recommendation may lie
SAMPLES = 1000  # mixes tried to find a best one
SIMULATIONS = 8  # sweeps that are trained again in imagination
JUDGED = 100  # mixes whose pairs a design of `power` has to order
AGREEMENT = ((1e6, 0.73), (15e6, 0.89))  # parameters, Spearman with 1 B over 52 tasks (Olmix, arXiv 2602.12237)
KEEP = 0.5  # a batch that saves less than this part of one seed's noise is not worth its price


Surface = Callable[[np.ndarray], np.ndarray]
"""Weights (n, m) -> loss (n,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """A batch of mixes to train, and whether to."""

    mixes: tuple[dict[str, float], ...]
    regret_now: float
    """Expected loss of today's pick above the best mix there is, unit of the objective."""
    regret_after: float
    """The same after the batch."""
    noise_sd: float
    is_worth_it: bool
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """A sweep that could be bought."""

    runs: int
    """Mixes."""
    seeds: int = 1
    """Runs of each mix."""
    dollars: float = 0.0
    """Of one run; 0: not known."""
    n_params: float | None = None
    """Size of its models; None: that of the model the mix is for."""
    agreement: float = 1.0
    """Rank correlation of mixes at that size with the model the mix is for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """What one design can be expected to find."""

    design: Design
    dollars: float
    """Of the whole design; 0: not known."""
    regret: float
    """Expected loss of the picked mix above the best: the mean over planted surfaces."""
    decision_accuracy: float
    """Share of pairs of mixes that it orders rightly, of those further apart than two sds of the noise."""


def agreement_at(n_params: float) -> float:
    """Rank correlation of mixes at this size with a model of 1 B, as published (AGREEMENT); flat beyond its ends.

    >>> agreement_at(1e6), agreement_at(60e6)
    (0.73, 0.89)
    """
    sizes, shares = zip(*AGREEMENT, strict=True)
    at: float = np.log(n_params)
    known: np.ndarray = np.log(sizes)
    return float(np.interp(at, known, shares))


def next_runs(
    objective: Objective, batch: int, *, limits: Limits | None = None, dollars: float = 0.0, seed: int = 0
) -> Next:
    """The batch that cuts expected regret most, one by one, each as if those before it had been trained.

    Value of a run: how much the lowest posterior mean over POOL mixes is expected to fall if that mix were observed
    (knowledge gradient, by Monte Carlo over the joint posterior). `dollars`: price of one run. ConfigError: batch < 1.
    """
    if batch < 1:
        raise ConfigError(f"a batch of {batch} runs cannot be proposed; ask for at least one.")
    rng = generator(seed, "next")
    pool = _pool(objective, limits or Limits(), rng)
    mean, cov, noise = _posterior(objective, pool)
    chosen: list[int] = []
    for _ in range(batch):
        gains = cov / np.sqrt(np.diag(cov) + noise**2)  # column j: shift of the means per sd of what run j tells
        z = np.random.default_rng(0).standard_normal(64)
        value = np.array([mean.min() - (mean + np.outer(z, g)).min(1).mean() for g in gains.T])
        value[chosen] = -np.inf
        j = int(value.argmax())
        chosen.append(j)
        cov = cov - np.outer(cov[:, j], cov[j]) / (cov[j, j] + noise**2)
    now, after = _regrets(objective, limits or Limits(), pool[chosen], seed)
    return _told(objective, pool[chosen], now, after, noise, dollars)


def power(
    designs: Sequence[Design],
    surface: Callable[[np.random.Generator], Surface],
    mixes: Callable[[int, int], np.ndarray],
    noise: float,
    *,
    surfaces: int = 20,
) -> list[Power]:
    """Expected regret and decision accuracy of designs, on the same surfaces.

    `surface(rng)` draws a truth: weights (n, m) -> loss (n,). `mixes(n, seed)` gives a design (n, m). Plain fits by one
    Gaussian process per surface: a comparison of designs, not a promise. A design of small models sees the truth
    mixed with another surface, so that the two rank mixes alike as far as its `agreement` says.
    """
    result = list[Power]()
    for design in designs:
        regrets, decided = list[float](), list[float]()
        for s in range(surfaces):
            rng = generator(s, "power")
            truth, seen = surface(rng), mixes(design.runs, s)
            cloud = _cloud(seen.shape[1], rng)
            shown = _proxy(truth, surface(rng), design.agreement, cloud)
            losses = shown(seen) + rng.normal(0, noise / np.sqrt(design.seeds), len(seen))
            real, guess = truth(cloud), train_ard(seen, losses).predict(cloud)[0]
            regrets.append(real[guess.argmin()] - real.min())
            decided.append(decision_accuracy(real[:JUDGED], guess[:JUDGED], noise))
        told = float(np.mean(regrets)), float(np.nanmean(decided))
        dollars = design.runs * design.seeds * design.dollars
        result.append(Power(design=design, dollars=dollars, regret=told[0], decision_accuracy=told[1]))
    return result


def _cloud(sources: int, rng: np.random.Generator) -> np.ndarray:
    """Mixes (n, m) near the even one, all over, and near the corners, shuffled."""
    drawn = [rng.dirichlet(np.full(sources, strength), JUDGED * 2) for strength in swarm.STRENGTHS]
    return rng.permutation(np.vstack(drawn))


def _proxy(truth: Surface, other: Surface, agreement: float, cloud: np.ndarray) -> Surface:
    """A surface of the truth's spread over the cloud whose ranks agree with it that far."""
    if agreement >= 1:
        return truth
    real, foreign = truth(cloud), other(cloud)
    slope, level = np.polyfit(real, foreign, 1)
    left = (foreign - slope * real - level).std()
    share = 2 * np.sin(np.pi * agreement / 6)  # Pearson of two normals with that Spearman
    scale = np.sqrt(1 - share**2) * real.std() / left if left > 0 else 0.0
    return lambda w: share * truth(w) + scale * (other(w) - slope * truth(w) - level)


def surface_of(objective: Objective) -> Callable[[np.random.Generator], Surface]:
    """Surfaces like the fitted one: its predictions with the sources' parts shuffled, so that each has another best."""
    m = len(objective.sources)

    def draw(rng: np.random.Generator) -> Surface:
        order = rng.permutation(m)
        return lambda w: objective.raw(w[:, order])[0]

    return draw


def noise_sd(objective: Objective) -> float:
    """Sd of one run's objective: of repeated mixes, else of the residuals (too small, as the fit has seen them)."""
    known = noise_of_repeats(objective)
    residual = float(np.sqrt(np.mean((objective.observed - objective.raw(objective.fits[0].weights)[0]) ** 2)))
    return max(residual if known is None else known, 1e-9 * float(np.ptp(objective.observed)))


def _pool(objective: Objective, limits: Limits, rng: np.random.Generator) -> np.ndarray:
    """Mixes (n, m) that may be bought: the best so far, others around it at every distance, and the runs' own within
    the limits.

    Where a recommendation may lie, half of them near the best: a plateau is narrow, and far corners were seen.
    """
    region, _ = reachable(objective, Wish(limits=limits))
    best, _ = minimiser(objective, region, samples=SAMPLES)
    drawn = region.spread(region.sample(POOL, rng))
    near = best + rng.choice(NEAR, POOL)[:, None] * (drawn - best)
    own, wide = np.unique(objective.fits[0].weights.round(9), axis=0), region_of(objective.sources, limits)
    blocks = wide.gather(own)
    is_allowed = wide.holds(blocks) & np.isclose(wide.spread(blocks), own, atol=1e-6).all(1)
    return np.vstack([best, near, drawn[: POOL // 2], own[is_allowed]])


def _posterior(objective: Objective, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (n,) and covariance (n, n) of the objective at the pool, and the sd of one run's noise.

    The covariance is that of differences to the pool's best: cov(a, b) = (var a + var b - var(a - b)) / 2. Noise: see
    `noise_sd`.
    """
    mean, _ = objective.raw(pool)
    reference = pool[mean.argmin()]
    own = objective.contrast(pool, reference)[1] ** 2
    apart = np.array([objective.contrast(pool, w)[1] ** 2 for w in pool])
    cov = (own[:, None] + own[None] - apart) / 2
    return mean, cov, noise_sd(objective)


def _regrets(objective: Objective, limits: Limits, more: np.ndarray, seed: int) -> tuple[float, float]:
    """Expected loss of the pick above the best mix, from these runs and from `more` (k, m) beside them.

    By parametric bootstrap: the fitted surface is the truth, the runs are trained again in imagination, fitted and
    searched afresh. What the fit does not know of its own length-scales is in it, which its posterior leaves out.
    """
    region, _ = reachable(objective, Wish(limits=limits))
    best, _ = minimiser(objective, region, samples=SAMPLES)
    least = objective.raw(best[None])[0][0]
    seen = objective.fits[0].weights
    everything = np.vstack([seen, more])
    noise = [_noise_of(f) for f in objective.fits]
    means = [f.surrogate.predict(everything)[0] for f in objective.fits]
    found = np.empty((SIMULATIONS, 2))
    for k in range(SIMULATIONS):
        rng = generator(seed, "imagined", k)
        drawn = [mean + sd * rng.standard_normal(len(mean)) for mean, sd in zip(means, noise, strict=True)]
        for column, n in enumerate((len(seen), len(everything))):
            fits = [
                replace(
                    f,
                    weights=everything[:n],
                    inputs=everything[:n],
                    losses=y[:n],
                    learned=f.learn(everything[:n], y[:n]),
                )
                for f, y in zip(objective.fits, drawn, strict=True)
            ]
            pick, _ = minimiser(replace(objective, fits=tuple(fits)), region, samples=SAMPLES)
            found[k, column] = objective.raw(pick[None])[0][0] - least
    now, after = np.maximum(found, 0.0).mean(0).tolist()
    return now, min(now, after)


def _noise_of(fit: Fit) -> float:
    """Sd of one run of a metric, as the fit itself learned it; else of its residuals."""
    told = fit.surrogate.facts.get("noise_sd")
    residual = float(np.sqrt(np.mean((fit.losses - fit.surrogate.predict(fit.weights)[0]) ** 2)))
    return residual if told is None else float(told)


def _told(objective: Objective, mixes: np.ndarray, now: float, after: float, noise: float, dollars: float) -> Next:
    saved, many = now - after, len(mixes)
    price = f" for {priced(many * dollars)}" if dollars else ""
    words = f"{many} more run{'s' if many > 1 else ''}{price} would cut expected regret from {now:.4f} to {after:.4f}"
    is_worth_it = saved > KEEP * noise
    words += f", {saved:.4f} less" + (f" ({saved / (many * dollars):.2g} a dollar)" if dollars else "")
    words += f"; one seed's noise is {noise:.4f}: " + ("go on." if is_worth_it else "stop.")
    names: Sequence[Mapping[str, float]] = [dict(zip(objective.sources, w, strict=True)) for w in mixes.tolist()]
    return Next(
        mixes=tuple(dict(n) for n in names),
        regret_now=now,
        regret_after=after,
        noise_sd=noise,
        is_worth_it=is_worth_it,
        words=words,
    )
