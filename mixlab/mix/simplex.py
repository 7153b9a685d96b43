"""Points on the simplex: integer rounding, linked sliders, capped sampling, projection. Reads and writes nothing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mixlab.errors import PlanError

MOVES_PER_SOURCE = 20  # pair moves that carry a point away from the centre; enough for the moments (test)


def apportion(weights: ArrayLike, n: int) -> np.ndarray:
    """Whole numbers that sum to exactly `n`, in proportion to `weights`, by largest remainder (Hamilton).

    Each is within one of its exact share. A tie goes to the larger weight, then to the lower index. `weights` (m,) need
    not be normalised; returns int64 (m,).

    >>> apportion([0.5, 0.3, 0.2], 4).tolist()
    [2, 1, 1]
    """
    w = np.asarray(weights, np.float64)
    assert w.ndim == 1 and (w >= 0).all() and w.sum() > 0, w
    exact: np.ndarray = w / w.sum() * n
    counts = np.floor(exact).astype(np.int64)
    rest = np.round(exact - counts, 9)  # remainders that are equal on paper stay equal here
    counts[np.lexsort((-w, -rest))[: n - counts.sum()]] += 1
    return counts


def redistribute(weights: Sequence[int], locked: Sequence[bool], i: int, value: int, units: int) -> list[int]:
    """The sliders after slider `i` was moved to `value`: the unlocked others share the rest in proportion.

    Integers in, integers out; the sum stays `units`. With nothing left to give way, `i` takes what the locks leave. The
    browser does the same arithmetic (mixlab/app/sliders.js).

    >>> redistribute([500, 300, 200], [False, False, True], 0, 700, 1000)
    [700, 100, 200]
    """
    free = [j for j in range(len(weights)) if j != i and not locked[j]]
    room = units - sum(w for j, w in enumerate(weights) if j != i and locked[j])
    out = list(weights)
    out[i] = min(max(value, 0), room) if free else room
    shares = [weights[j] for j in free] if any(weights[j] for j in free) else [1] * len(free)
    pot, whole = room - out[i], sum(shares)
    for j, share in zip(free, shares, strict=True):
        out[j] = share * pot // whole
    by_rest = sorted(range(len(free)), key=lambda k: (-(shares[k] * pot % whole), k))
    for k in by_rest[: units - sum(out)]:
        out[free[k]] += 1
    return out


def capped_sample(lo: ArrayLike, hi: ArrayLike, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` independent points, uniform on {w : lo <= w <= hi, sum w = 1}; float64 (n, m).

    Gibbs moves between random pairs of sources, one chain a point, all chains at once. Nothing is rejected, so tight
    caps cost nothing. Raises PlanError if no point is feasible.
    """
    lo, hi = _limits(lo, hi)
    w = np.tile(centre(lo, hi), (n, 1))
    m, rows = len(lo), np.arange(n)
    for _ in range(MOVES_PER_SOURCE * m if m > 1 else 0):
        i = rng.integers(m, size=n)
        j = (i + rng.integers(1, m, size=n)) % m
        least = np.maximum(lo[i] - w[rows, i], w[rows, j] - hi[j])
        most = np.minimum(hi[i] - w[rows, i], w[rows, j] - lo[j])
        step = least + (most - least) * rng.random(n)
        w[rows, i] += step
        w[rows, j] -= step
    return np.clip(w, lo, hi)


def centre(lo: ArrayLike, hi: ArrayLike) -> np.ndarray:
    """A point inside the limits: every source is lifted by the same share of its room; float64 (m,)."""
    lo, hi = _limits(lo, hi)
    room = hi - lo
    return lo + room * ((1 - lo.sum()) / room.sum() if room.sum() else 0.0)


def project(v: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> np.ndarray:
    """The point of {w : lo <= w <= hi, sum w = 1} nearest to `v` (Euclidean); float64 (m,).

    It is clip(v - tau, lo, hi) with tau found by bisection on the sum. Raises PlanError if no point is feasible.

    >>> project([0.8, 0.2, 0.0], [0, 0, 0], [0.5, 1, 1]).round(3).tolist()
    [0.5, 0.35, 0.15]
    """
    v = np.asarray(v, np.float64)
    lo, hi = _limits(np.broadcast_to(lo, v.shape), np.broadcast_to(hi, v.shape))
    below, above = (v - hi).min(), (v - lo).max()
    for _ in range(100):  # halves a bracket of about 2 down to the last bit
        tau = (below + above) / 2
        below, above = (tau, above) if np.clip(v - tau, lo, hi).sum() > 1 else (below, tau)
    return np.clip(v - (below + above) / 2, lo, hi)


def rescale(v: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> np.ndarray:
    """The point of {w : lo <= w <= hi, sum w = 1} that keeps the proportions of `v` between the limits; float64 (m,).

    It is clip(c v, lo, hi), the nearest to `v` in relative entropy. Only if no positive one may take more, those of
    `v` 0 share what is left evenly. `v` (m,) sums to 1. Raises PlanError if no point is feasible.

    >>> rescale([0.8, 0.2, 0.0], [0, 0, 0.1], [0.5, 1, 1]).tolist()
    [0.5, 0.4, 0.1]
    """
    v = np.asarray(v, np.float64)
    lo, hi = _limits(np.broadcast_to(lo, v.shape), np.broadcast_to(hi, v.shape))
    some = v > 1e-15  # less is rounding
    if (short := 1 - hi[some].sum() - lo[~some].sum()) <= 1e-12:
        return _clipped(np.where(some, v, 0.0), lo, hi, 1.0)
    out = hi.copy()
    out[~some] = _clipped(np.ones(int((~some).sum())), lo[~some], hi[~some], short + lo[~some].sum())
    return out


def _clipped(v: np.ndarray, lo: np.ndarray, hi: np.ndarray, total: float) -> np.ndarray:
    """clip(c v, lo, hi) with the `c` that makes it sum to `total`: the sum is linear between the turns of c."""
    some = v > 0
    turns = np.unique(np.concatenate([lo[some] / v[some], hi[some] / v[some]]))
    sums = np.array([np.clip(c * v, lo, hi).sum() for c in turns])
    k = int(np.clip(np.searchsorted(sums, total), 1, max(1, len(turns) - 1)))
    if len(turns) < 2 or sums[k] <= sums[k - 1]:
        return np.clip(turns[-1] * v, lo, hi)
    c = turns[k - 1] + (total - sums[k - 1]) / (sums[k] - sums[k - 1]) * (turns[k] - turns[k - 1])
    return np.clip(c * v, lo, hi)


def _limits(lo: ArrayLike, hi: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Floors and caps as arrays, caps at most 1; PlanError if no mixture lies between them."""
    lo, hi = np.asarray(lo, np.float64), np.minimum(np.asarray(hi, np.float64), 1.0)
    assert lo.shape == hi.shape and lo.ndim == 1 and len(lo), (lo.shape, hi.shape)
    if (lo < 0).any() or (lo > hi + 1e-12).any():
        i = int(np.argmax(np.maximum(-lo, lo - hi)))
        raise PlanError(f"floor {lo[i]:.6g} and cap {hi[i]:.6g} of source number {i + 1} leave no weight between them.")
    if lo.sum() > 1 + 1e-9:
        raise PlanError(f"the floors sum to {lo.sum():.6g}, more than 1. Lower them by {lo.sum() - 1:.6g} in all.")
    if hi.sum() < 1 - 1e-9:
        raise PlanError(
            f"the caps sum to {hi.sum():.6g}, less than 1: {1 - hi.sum():.6g} of the tokens have no source. "
            "Raise a cap, add a source or lower the token budget."
        )
    return lo, np.maximum(lo, hi)
