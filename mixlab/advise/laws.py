"""Scaling laws: loss of a model size and token count (Chinchilla), and what repeating tokens is worth.

Reads tables, writes nothing. Laws: Hoffmann et al., arXiv 2203.15556; Muennighoff et al., arXiv 2305.16264 (constants
from its public fit). Sizes in parameters, data in tokens, losses in nats per token, compute C = 6 N D.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from mixlab.errors import ConfigError
from mixlab.seeds import generator

HUBER = 1e-3  # of residuals of ln loss, as both papers
FEWEST = 8  # runs below which five constants are not worth fitting
FLAT = 0.05  # a profile within this share of its minimum cannot tell the values apart
GRID = (2, 3, 4, 5, 6, 8, 10, 12, 15.387756, 20, 30, 50, 100, 300, 1000)  # of R_D* in the profile
SIDES = (0.05, 0.95)  # of the bootstrap interval
UNBOUNDED = 1e3  # repetitions worth more than this are not told from repetitions worth fresh tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Chinchilla:
    """L = E + A / N^a + B / D^b."""

    A: float
    B: float
    E: float
    a: float
    b: float

    def loss(self, params: ArrayLike, tokens: ArrayLike) -> np.ndarray:
        """Loss of models of `params` trained on `tokens` fresh tokens.

        >>> round(float(REPLICATION.loss(70e9, 1.4e12)), 5)
        1.97388
        """
        return self.E + self.A / np.asarray(params, float) ** self.a + self.B / np.asarray(tokens, float) ** self.b

    def optimum(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens with the least loss for 6 N D = `flops`.

        >>> n, d = REPLICATION.optimum(5.88e23)
        >>> round(d / n, 1)
        18.4
        """
        g = (self.a * self.A / (self.b * self.B)) ** (1 / (self.a + self.b))
        half = flops / 6
        return g * half ** (self.b / (self.a + self.b)), half ** (self.a / (self.a + self.b)) / g


PRINTED = Chinchilla(A=406.4, B=410.7, E=1.69, a=0.34, b=0.28)
TEX = Chinchilla(
    A=float(np.exp(6.0073404)), B=float(np.exp(6.0179186)), E=float(np.exp(0.5267228)), a=0.33917084, b=0.2849083
)
REPLICATION = Chinchilla(A=482.01, B=2085.43, E=1.8172, a=0.3478, b=0.3658)
CONSTANTS: Mapping[str, Chinchilla] = {
    "printed in 2203.15556": PRINTED,
    "the same, from its TeX": TEX,
    "replication 2404.10102": REPLICATION,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """Chinchilla's law on effective parameters and tokens: the k-th repetition is worth less than the one before."""

    base: Chinchilla
    data: float
    """R_D*: repetitions after which further ones are worth 1/e of fresh tokens."""
    size: float
    """R_N*: the same for parameters beyond what the unique tokens can feed."""

    def loss(self, params: ArrayLike, tokens: ArrayLike, unique: ArrayLike) -> np.ndarray:
        """Loss after `tokens` of which `unique` are different.

        >>> round(float(PUBLISHED.loss(6.34e9, 242e9, 25e9)), 9)
        2.225644089
        """
        n, d = self.effective(params, tokens, unique)
        return self.base.loss(n, d)

    def effective(self, params: ArrayLike, tokens: ArrayLike, unique: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Parameters and tokens that would do as well without any repetition."""
        c, n = self.base, np.asarray(params, float)
        fresh = np.minimum(np.asarray(unique, float), np.asarray(tokens, float))
        g = (c.a * c.A / (c.b * c.B)) ** (1 / (c.a + c.b))
        fed = np.minimum(n, (fresh * g) ** (c.b / c.a) * g)
        return worth(n, fed, self.size), worth(tokens, fresh, self.data)


def worth(total: ArrayLike, unique: ArrayLike, star: float) -> np.ndarray:
    """Fresh amount that equals `total` of which `unique` is fresh: u + u R* (1 - exp(-r / R*)), r = total / u - 1."""
    u = np.asarray(unique, float)
    repeats = np.asarray(total, float) / u - 1
    return u - u * star * np.expm1(-repeats / star)


PUBLISHED = Repetition(
    base=Chinchilla(
        A=float(np.exp(6.255414)), B=float(np.exp(7.3049974)), E=float(np.exp(0.6254804)), a=0.3526596, b=0.3526596
    ),
    data=15.387756,
    size=5.309743,
)


def effective_shares(weights: ArrayLike, tokens: float, unique: ArrayLike, star: float = PUBLISHED.data) -> np.ndarray:
    """Weights (n, m) of a run of `tokens` with repetitions discounted: what each share is worth in fresh tokens.

    `unique` (m,) tokens per source. Rows sum to one only where nothing is repeated.
    """
    w, u = np.atleast_2d(np.asarray(weights, float)), np.asarray(unique, float)
    drawn = w * tokens
    return np.where(drawn > 0, worth(np.maximum(drawn, u), u, star) - np.maximum(u - drawn, 0.0), 0.0) / tokens


def objective(predicted: np.ndarray, observed: np.ndarray) -> float:
    """Summed Huber loss (1e-3) of ln predicted - ln observed."""
    r = np.abs(np.log(predicted) - np.log(observed))
    return float(np.where(r <= HUBER, r * r / 2, HUBER * (r - HUBER / 2)).sum())


def r_squared(predicted: np.ndarray, observed: np.ndarray) -> float:
    """1 - squared error / variance of the observed losses."""
    return float(1 - np.sum((observed - predicted) ** 2) / np.sum((observed - observed.mean()) ** 2))


def fit_chinchilla(params: ArrayLike, tokens: ArrayLike, loss: ArrayLike) -> Chinchilla:
    """The five constants with the least `objective`; the best of 12 starts. ConfigError below 8 finite runs."""
    n, d, y = _finite(params, tokens, loss)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        by_n, by_d, floor = np.exp(x[0] - x[3] * np.log(n)), np.exp(x[1] - x[4] * np.log(d)), np.exp(x[2])
        total = floor + by_n + by_d
        r = np.log(total) - np.log(y)
        slope = np.clip(r, -HUBER, HUBER) / total
        gradient = [slope @ by_n, slope @ by_d, floor * slope.sum(), -slope @ (by_n * np.log(n))]
        return objective(total, y) * 1e3, 1e3 * np.array([*gradient, -slope @ (by_d * np.log(d))])

    starts = [(a, b, e, p, p) for a in (4, 8) for b in (4, 8) for e in (-0.5, 0.5) for p in (0.3, 0.5)]
    bounds = [(-5, 30), (-5, 30), (-8, 3), (0.02, 2), (0.02, 2)]
    found = min(
        (minimize(value, x, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 3000}) for x in starts),
        key=lambda r: float(r.fun),
    ).x
    a, b, e = np.exp(found[:3]).tolist()
    return Chinchilla(A=a, B=b, E=e, a=float(found[3]), b=float(found[4]))


@dataclass(frozen=True, kw_only=True, slots=True)
class StarInterval:
    """What a table of repeated runs says about R_D*."""

    best: float
    lo: float
    hi: float
    """5 and 95 % of the bootstrap; infinite where repetitions are not told from fresh tokens."""
    flat_from: float
    """Smallest R_D* whose objective lies within 5 % of the least."""
    profile: Mapping[float, float]
    """R_D* -> least objective over R_N*."""


def star_interval(
    params: ArrayLike, tokens: ArrayLike, unique: ArrayLike, loss: ArrayLike, *, draws: int = 200, seed: int = 0
) -> StarInterval:
    """How well R_D* is known: its profile, R_N* refitted at each value, and its interval over resampled runs.

    The constants of the base law stay as published. ConfigError below 8 finite runs.
    """
    n, d, u, y = _finite(params, tokens, unique, loss)
    sizes = np.exp(np.linspace(math.log(0.5), math.log(50), 201))  # R_N*: coarser steps cost the profile a 1e-5
    errors = np.array([[_errors(replace(PUBLISHED, data=r, size=s), n, d, u, y) for s in sizes] for r in GRID])
    rng = generator(seed, "bootstrap")
    drawn = np.array([np.bincount(rng.integers(len(y), size=len(y)), minlength=len(y)) for _ in range(draws)])
    picks = [_least(sums) for sums in np.moveaxis(errors @ drawn.T, 2, 0)]
    lo, hi = np.quantile(picks, SIDES, method="nearest")
    profile = {float(r): float(v) for r, v in zip(GRID, errors.sum(2).min(1), strict=True)}
    least = min(profile.values())
    return StarInterval(
        best=_least(errors.sum(2)),
        lo=float(lo),
        hi=float("inf") if hi >= UNBOUNDED else float(hi),
        flat_from=min(r for r, v in profile.items() if v <= least * (1 + FLAT)),
        profile=profile,
    )


def _errors(law: Repetition, n: np.ndarray, d: np.ndarray, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    r = np.abs(np.log(law.loss(n, d, u)) - np.log(y))
    return np.where(r <= HUBER, r * r / 2, HUBER * (r - HUBER / 2))


def _least(sums: np.ndarray) -> float:
    return float(GRID[int(sums.min(1).argmin())])


def _finite(*columns: ArrayLike) -> list[np.ndarray]:
    """The rows where every column is a positive number. ConfigError below 8."""
    arrays: Sequence[np.ndarray] = [np.asarray(c, float) for c in columns]
    good = np.all([np.isfinite(a) & (a > 0) for a in arrays], axis=0)
    if good.sum() < FEWEST:
        raise ConfigError(
            f"a scaling law has five constants; {int(good.sum())} of {len(good)} runs have parameters, tokens and a "
            f"loss. Train at least {FEWEST}, at three sizes or more."
        )
    return [a[good] for a in arrays]
