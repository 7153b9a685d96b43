"""Where a mix may lie: floors, caps, sums of groups, frozen sub-mixes. Draws from it, and says what is missing from it.

A frozen sub-mix keeps its inner proportions and moves as one block; coordinates are the shares of the blocks (k), and
`spread` turns them into weights of sources (m).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linprog

from mixlab.errors import ConfigError, PlanError, nearest

MOVES_PER_BLOCK = 20  # pair moves that carry a point away from where it starts
TOLERANCE = 1e-7  # by which a weight or a sum may miss its limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A limit on the sum of some weights."""

    sources: tuple[str, ...]
    least: float = 0.0
    most: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a mix must keep to, by source name."""

    floors: Mapping[str, float] = field(default_factory=dict[str, float])
    caps: Mapping[str, float] = field(default_factory=dict[str, float])
    groups: tuple[Group, ...] = ()
    frozen: tuple[Mapping[str, float], ...] = ()
    """Sub-mixes: proportions (they need not sum to one) of sources that move together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Limits as arrays. Made by `region_of`, which proves that it is not empty."""

    sources: tuple[str, ...]
    blocks: np.ndarray
    """(k, m) shares of the sources within each block; rows sum to one."""
    low: np.ndarray
    high: np.ndarray
    """(k,) of the blocks."""
    sums: np.ndarray
    """(g, k): how much each block adds to each group's sum."""
    least: np.ndarray
    most: np.ndarray
    """(g,)"""
    middle: np.ndarray
    """(k,) a point as far from all limits as can be."""

    def spread(self, blocks: np.ndarray) -> np.ndarray:
        """Shares of blocks (…, k) as weights of sources (…, m)."""
        return blocks @ self.blocks

    def gather(self, weights: np.ndarray) -> np.ndarray:
        """Weights of sources (…, m) as shares of blocks (…, k); inner proportions that differ are lost."""
        return weights @ (self.blocks > 0).T

    def holds(self, blocks: np.ndarray) -> np.ndarray:
        """True (n,) for the points (n, k) within every limit."""
        inside = ((blocks >= self.low - TOLERANCE) & (blocks <= self.high + TOLERANCE)).all(1)
        total = blocks @ self.sums.T
        kept = ((total >= self.least - TOLERANCE) & (total <= self.most + TOLERANCE)).all(1)
        return np.asarray(inside & kept)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` points (n, k) spread over the region: Gibbs moves between random pairs of blocks, none rejected."""
        v, k, rows = np.tile(self.middle, (n, 1)), len(self.low), np.arange(n)
        for _ in range(MOVES_PER_BLOCK * k if k > 1 else 0):
            i = rng.integers(k, size=n)
            j = (i + rng.integers(1, k, size=n)) % k
            least = np.maximum(self.low[i] - v[rows, i], v[rows, j] - self.high[j])
            most = np.minimum(self.high[i] - v[rows, i], v[rows, j] - self.low[j])
            for row, floor, cap in zip(self.sums, self.least, self.most, strict=True):
                slope, at = row[i] - row[j], v @ row
                safe = np.where(slope == 0, 1.0, slope)
                ends = np.sort([(floor - at) / safe, (cap - at) / safe], axis=0)
                least = np.where(slope == 0, least, np.maximum(least, ends[0]))
                most = np.where(slope == 0, most, np.minimum(most, ends[1]))
            step = least + np.maximum(most - least, 0.0) * rng.random(n)
            v[rows, i] += step
            v[rows, j] -= step
        return np.clip(v, self.low, self.high)


def region_of(sources: Sequence[str], limits: Limits) -> Region:
    """The region of `limits` over these sources.

    ConfigError: a limit names no source. PlanError: no mixture keeps them all; says which share has no source.
    """
    _check_names(sources, limits)
    blocks = _blocks(sources, limits.frozen)
    floors = np.array([limits.floors.get(s, 0.0) for s in sources], float)
    caps = np.minimum([limits.caps.get(s, 1.0) for s in sources], 1.0)
    for s, a, b in zip(sources, floors, caps, strict=True):
        if not 0 <= a <= b:
            raise PlanError(
                f"'{s}' may not go below {a:.4g} nor above {b:.4g}: no weight is left. Change one of the two."
            )
    inside = blocks > 0
    share = np.where(inside, blocks, 1.0)
    low = np.where(inside, floors / share, 0.0).max(1)
    high = np.minimum(np.where(inside, caps / share, np.inf).min(1), 1.0)
    _check_sums(sources, floors, caps, low, high)
    sums = np.array([blocks[:, [s in g.sources for s in sources]].sum(1) for g in limits.groups]).reshape(-1, len(low))
    least = np.array([g.least for g in limits.groups], float)
    most = np.array([g.most for g in limits.groups], float)
    middle = _middle(low, high, sums, least, most, limits.groups)
    return Region(
        sources=tuple(sources), blocks=blocks, low=low, high=high, sums=sums, least=least, most=most, middle=middle
    )


def _check_names(sources: Sequence[str], limits: Limits) -> None:
    named = [*limits.floors, *limits.caps, *(s for g in limits.groups for s in g.sources)]
    for name in [*named, *(s for f in limits.frozen for s in f)]:
        if name not in sources:
            raise ConfigError(f"a limit names '{name}', which is not a source of these runs.{nearest(name, sources)}")


def _blocks(sources: Sequence[str], frozen: Sequence[Mapping[str, float]]) -> np.ndarray:
    """(k, m): one row per frozen sub-mix, one per source that is in none."""
    taken = [s for f in frozen for s in f]
    for s in taken:
        if taken.count(s) > 1:
            raise ConfigError(f"source '{s}' is in two frozen sub-mixes. Leave it in one of them.")
    rows = list[np.ndarray]()
    for sub in frozen:
        shares = np.array([sub.get(s, 0.0) for s in sources], float)
        if (shares < 0).any() or shares.sum() <= 0:
            raise ConfigError(f"the frozen sub-mix {dict(sub)} has no proportions: none below 0, not all 0.")
        rows.append(shares / shares.sum())
    rows += [np.eye(len(sources))[i] for i, s in enumerate(sources) if s not in taken]
    return np.array(rows)


def _check_sums(
    sources: Sequence[str], floors: np.ndarray, caps: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """PlanError if floors or caps alone leave no mixture."""
    if high.sum() < 1 - 1e-9:
        told = ", ".join(f"{s} {c:.4g}" for s, c in zip(sources, caps, strict=True))
        raise PlanError(
            f"the caps sum to {high.sum():.4f} ({told}): {1 - high.sum():.4f} of the training tokens have no source. "
            "Add tokens to a source, add a source, raise train.max_epochs, or lower train.tokens."
        )
    if low.sum() > 1 + 1e-9 or (low > high + 1e-9).any():
        worst = max(low.sum() - 1, float((low - high).max()))
        told = ", ".join(f"{s} {f:.4g}" for s, f in zip(sources, floors, strict=True) if f)
        raise PlanError(f"the floors ({told}) sum to {low.sum():.4f}; lower them by {worst:.4f} in all.")


def _middle(
    low: np.ndarray,
    high: np.ndarray,
    sums: np.ndarray,
    least: np.ndarray,
    most: np.ndarray,
    groups: Sequence[Group],
) -> np.ndarray:
    """The point with the most room to every limit that has any (a linear programme); PlanError: there is no point."""
    k, room = len(low), (high - low > TOLERANCE).astype(float)
    above = [np.r_[row, 1.0 if b - a > TOLERANCE else 0.0] for row, a, b in zip(sums, least, most, strict=True)]
    below = [np.r_[-row, r[-1]] for row, r in zip(sums, above, strict=True)]
    matrix = [*np.c_[np.eye(k), room], *np.c_[-np.eye(k), room], *above, *below]
    bound = np.r_[high, -low, most, -least]
    found = linprog(
        np.r_[np.zeros(k), -1.0],
        A_ub=np.array(matrix),
        b_ub=bound,
        A_eq=np.r_[np.ones(k), 0.0][None],
        b_eq=[1.0],
        bounds=[*[(0, 1)] * k, (0, 1)],
    )
    if found.x is None or found.status != 0:
        told = "; ".join(f"{' + '.join(g.sources)} from {g.least:.4g} to {g.most:.4g}" for g in groups)
        raise PlanError(
            f"no mixture keeps both the floors and caps of the sources and the sums of the groups ({told}). "
            "Widen a group, or a cap inside it."
        )
    return np.clip(found.x[:k], low, high)
