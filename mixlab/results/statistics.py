"""Statistics of comparisons item by item and mix by mix: what is left when chance has had its say.

Reads and writes nothing: takes arrays, gives numbers. `results/compare.py` has the difference of two mixes with both
its noises; here are exact McNemar, the paired bootstrap, clustered errors, Holm over many pairs, P(best) and rank
intervals, decision accuracy and signal-to-noise. Definitions: reference/evaluation.md 9; vectors: golden stats.json.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, norm

from mixlab.errors import ConfigError, MissingError
from mixlab.results.compare import LEVEL, Difference, NoiseFloor, combine, noise_floor, seeds_difference
from mixlab.seeds import generator

DRAWS = 10_000
"""Bootstrap and simulation draws; the error of a share near 0.05 is then 0.002."""


def wilson(k: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The Wilson interval of a share k/n: right for small n, where the normal one is not.

    >>> [round(x, 4) for x in wilson(0, 32)]
    [0.0, 0.1072]
    """
    if not 0 <= k <= n or n < 1:
        raise ConfigError(f"{k} of {n} is no share: 0 <= k <= n and n >= 1.")
    z = float(norm.ppf((1 + level) / 2))
    middle, spread = (k + z * z / 2) / (n + z * z), z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, middle - spread), min(1.0, middle + spread)


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p of McNemar: b items only A had right, c items only B; binomial with 1/2.

    >>> mcnemar(5, 1)
    0.21875
    """
    return 1.0 if b + c == 0 else float(binomtest(b, b + c, 0.5).pvalue)


def mcnemar_of(a: ArrayLike, b: ArrayLike) -> float:
    """Exact McNemar of two runs' accuracies item by item; items with shared credit on either side are left out."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return mcnemar(int(((x == 1) & (y == 0)).sum()), int(((x == 0) & (y == 1)).sum()))


def items_difference(a: ArrayLike, b: ArrayLike, clusters: Sequence[str] | None = None) -> Difference:
    """A minus B on the same items: mean of the paired differences, standard error clustered if clusters are given.

    Without clusters sd (ddof 1) / sqrt(n); with them sqrt(sum over clusters of (sum of residuals)^2) / n, no
    small-sample factor, and one degree of freedom less than clusters.
    """
    d = _finite(a) - _finite(b)
    n = len(d)
    if n == 0:
        raise MissingError("there are no common items to compare on.")
    mean = float(d.mean())
    if clusters is None:
        stderr = float(d.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        return Difference(mean=mean, stderr=stderr, df=max(n - 1, 1), n=n, method=f"paired by {n} items")
    names, of = np.unique(np.array(clusters), return_inverse=True)
    sums = np.bincount(of, d - mean)
    stderr = float(np.sqrt((sums**2).sum()) / n) if len(names) > 1 else None
    told = f"paired by {n} items in {len(names)} clusters"
    return Difference(mean=mean, stderr=stderr, df=max(len(names) - 1, 1), n=n, method=told)


def bootstrap(
    a: ArrayLike, b: ArrayLike, sizes: ArrayLike | None = None, *, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float, float]:
    """(A minus B, lower, upper end of its 95 % percentile interval), items resampled in pairs.

    With `sizes` (bytes) it is a difference of ratios of sums: corpus bpb. The items drawn depend on `seed` alone.
    """
    d = _finite(a) - _finite(b)
    if len(d) == 0:
        raise MissingError("there are no common items to compare on.")
    size = np.ones(len(d)) if sizes is None else np.asarray(sizes, np.float64)
    rng, found = generator(seed, "bootstrap"), np.empty(draws)
    for at in range(draws):
        drawn = rng.integers(0, len(d), len(d))
        found[at] = d[drawn].sum() / size[drawn].sum()
    lo, hi = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(d.sum() / size.sum()), float(lo), float(hi)


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted by Holm for as many comparisons as there are, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, at in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        least = max(least, min(1.0, (len(p) - rank) * p[at]))
        adjusted[at] = least
    return adjusted


def all_pairs(mixes: Mapping[str, Mapping[int, float | None]]) -> list[tuple[str, str, Difference, float | None]]:
    """Every pair of mixes over their seeds: (A, B, B minus A, p adjusted by Holm); noise pooled over the mixes."""
    floor = noise_floor([list(values.values()) for values in mixes.values()])
    found = [(a, b, seeds_difference(mixes[b], mixes[a], floor)) for a, b in combinations(sorted(mixes), 2)]
    known = [d.p for _, _, d in found if d.p is not None]
    adjusted = iter(holm(known))
    return [(a, b, d, next(adjusted) if d.p is not None else None) for a, b, d in found]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """Where a mix may stand."""

    p_best: float
    """Share of draws in which it is the best."""
    lo: int
    """Lower and upper end of the 95 % interval of its rank; 1 is best."""
    hi: int


def ranks(
    mixes: Mapping[str, Mapping[int, float]], *, lower_is_better: bool = True, seed: int = 0, draws: int = DRAWS
) -> dict[str, Rank]:
    """P(best) and the 95 % interval of the rank of each mix, from its runs' scores by seed.

    Means are drawn from a t distribution around each mix's mean. Where all mixes have two seeds or more in common,
    they are compared on those, as in pairs: what a seed does to all of them alike is taken off (two-way layout
    without interaction, (mixes - 1)(seeds - 1) degrees of freedom). Else on all runs, with the noise of one run pooled
    over mixes. MissingError without a repeated mix: then nothing is known about the noise.
    """
    names = sorted(mixes)
    common = sorted(set[int].intersection(*(set(mixes[name]) for name in names)))
    if len(common) >= 2 and len(names) >= 2:
        scores = np.array([[mixes[name][s] for s in common] for name in names])
        means, df = scores.mean(1), (len(names) - 1) * (len(common) - 1)
        left = scores - means[:, None] - scores.mean(0) + scores.mean()
        errors = np.full(len(names), math.sqrt((left**2).sum() / df / len(common)))
    else:
        floor = noise_floor([list(values.values()) for values in mixes.values()])
        if floor is None:
            raise MissingError(
                "no mix was run with two seeds, so the noise is unknown: run one mix again with other seeds."
            )
        means, df = np.array([np.mean(list(mixes[name].values())) for name in names]), floor.df
        errors = np.array([floor.sd / math.sqrt(len(mixes[name])) for name in names])
    rng = generator(seed, "ranks")
    drawn = means + errors * rng.standard_normal((draws, len(names))) / np.sqrt(rng.chisquare(df, (draws, 1)) / df)
    drawn = drawn if lower_is_better else -drawn
    places = drawn.argsort(1).argsort(1) + 1
    lo, hi = np.quantile(places, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf")
    best = (places == 1).mean(0)
    return {name: Rank(p_best=float(best[i]), lo=int(lo[i]), hi=int(hi[i])) for i, name in enumerate(names)}


def decision_accuracy(small: ArrayLike, target: ArrayLike) -> float:
    """Share of pairs of mixes that a small scale orders as the target does; a tie on either side counts half.

    >>> decision_accuracy([1, 2, 3], [1, 3, 2])
    0.6666666666666666
    """
    x, y = np.asarray(small, np.float64), np.asarray(target, np.float64)
    if len(x) != len(y) or len(x) < 2:
        raise ConfigError(f"decision accuracy needs two mixes or more on both sides, not {len(x)} and {len(y)}.")
    i, j = np.triu_indices(len(x), 1)
    agreement = np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
    return float(((agreement + 1) / 2).mean())


def decision_interval(small: ArrayLike, target: ArrayLike, *, seed: int = 0, draws: int = 2000) -> tuple[float, float]:
    """The 95 % interval of decision accuracy: mixes are resampled, as their pairs are not independent."""
    x, y = np.asarray(small, np.float64), np.asarray(target, np.float64)
    rng, found = generator(seed, "decision"), list[float]()
    for _ in range(draws):
        drawn = np.unique(rng.integers(0, len(x), len(x)), return_counts=True)
        i, j = np.triu_indices(len(drawn[0]), 1)
        if len(i):
            weight = drawn[1][i] * drawn[1][j]
            u, v = x[drawn[0]], y[drawn[0]]
            agreement = np.sign(u[i] - u[j]) * np.sign(v[i] - v[j])
            found.append(float((weight * (agreement + 1) / 2).sum() / weight.sum()))
    lo, hi = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lo), float(hi)


def signal_to_noise(checkpoints: ArrayLike) -> float:
    """Signal and Noise (2508.13144): (max - min) / mean of the last checkpoints, over the mean relative sd of a model.

    `checkpoints`: (models, last checkpoints). The noise is that of each model by itself (sd with ddof 1 over its
    mean), averaged: pooling all models would put the signal into the noise. Infinite without noise.
    """
    x = np.asarray(checkpoints, np.float64)
    last = x[:, -1]
    if not last.mean() or not x.mean(1).all():  # an accuracy of 0 throughout: nothing to rank by
        return 0.0
    signal = (last.max() - last.min()) / abs(last.mean())
    noise = float((x.std(1, ddof=1) / np.abs(x.mean(1))).mean())
    return float(signal / noise) if noise else math.inf


def rescaled(acc: float, base: float) -> float:
    """Accuracy above a floor, as the gauntlet has it: (acc - base) / (1 - base); negative below the floor."""
    return (acc - base) / (1 - base)


def verdict(
    a: Mapping[int, float | None], b: Mapping[int, float | None], items: Difference, noise: NoiseFloor | None = None
) -> Difference:
    """A minus B with training noise over seeds and item noise together; only if its interval clears zero has one won.

    Degrees of freedom are the fewer of the two, which is more cautious than Satterthwaite's for a handful of seeds.
    """
    found = combine(seeds_difference(a, b, noise), items)
    return replace(found, df=min(found.df, seeds_difference(a, b, noise).df, items.df))


def last_checkpoints_sd(values: Sequence[float], *, detrend: bool = True) -> NoiseFloor:
    """Noise of one run from its last checkpoints, a free stand-in for seeds; a straight trend is taken out first.

    With a decaying learning rate the last points still fall: without detrending that would count as noise.
    """
    y = np.asarray(values, np.float64)
    used = 2 if detrend else 1
    if len(y) <= used:
        raise MissingError(f"{len(y)} checkpoints tell no noise: {used + 1} or more are needed.")
    fitted = np.polyval(np.polyfit(np.arange(len(y)), y, used - 1), np.arange(len(y)))
    df = len(y) - used
    return NoiseFloor(sd=float(np.sqrt(((y - fitted) ** 2).sum() / df)), df=df)


def same_exam(rows: Sequence[Mapping[str, str]]) -> None:
    """ConfigError unless score rows of a task carry one suite, prompt and tokenizer hash: others do not compare."""
    for task in sorted({row["task"] for row in rows}):
        for name in ("suite_hash", "prompt_hash", "tokenizer_hash"):
            found = sorted({str(row[name]) for row in rows if row["task"] == task})
            if len(found) > 1:
                raise ConfigError(
                    f"task '{task}' was asked in different ways ({name} {', '.join(found)}), so these scores do not "
                    "compare: evaluate the runs again with one suite (`mixlab runs eval RUN --suite …`)"
                    + (" and one tokenizer." if name == "tokenizer_hash" else ".")
                )


def _finite(values: ArrayLike) -> np.ndarray:
    found = np.asarray(values, np.float64)
    if not np.isfinite(found).all():
        raise MissingError("a run diverged on some of these items: there is nothing to compare.")
    return found
