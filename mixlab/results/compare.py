"""Is mix A better than mix B, or is it the noise? Differences with 95 % intervals from both noises there are.

Reads and writes nothing: takes numbers, gives a `Difference`. Two kinds of noise: another seed gives another model
(`seeds_difference`), other held-out documents give another score (`documents_difference`); `combine` adds them up, and
only a combined interval that clears zero names a winner. Definitions: Miller, arXiv 2411.00640; Wang, 2512.21326.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from mixlab.errors import MissingError

LEVEL = 0.95
Values = Mapping[int, float | None]
"""Seed -> a run's score; None where it diverged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A minus B, with its noise. Lower bpb is better, so a negative difference speaks for A."""

    mean: float | None
    """None if a run diverged."""
    stderr: float | None
    """None if nothing is known about the noise."""
    df: float = math.inf
    """Degrees of freedom behind `stderr`."""
    n: int
    """Pairs, or runs where they are not paired, or documents."""
    method: str
    """How it was compared, in words for a report."""
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Standard errors by kind of noise, where several are in `stderr`."""

    @property
    def lo(self) -> float | None:
        """Lower end of the 95 % interval; None without a standard error."""
        return None if self.mean is None or self.stderr is None else self.mean - self._reach()

    @property
    def hi(self) -> float | None:
        """Upper end of the 95 % interval."""
        return None if self.mean is None or self.stderr is None else self.mean + self._reach()

    @property
    def p(self) -> float | None:
        """Two-sided p value of no difference."""
        if self.mean is None or self.stderr is None:
            return None
        if self.stderr == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stdtr(self.df, -abs(self.mean) / self.stderr))

    @property
    def distinguishable(self) -> bool:
        """True only if the 95 % interval clears zero; unknown noise distinguishes nothing."""
        return self.lo is not None and self.hi is not None and (self.lo > 0 or self.hi < 0)

    def _reach(self) -> float:
        """Half the width of the interval."""
        assert self.stderr is not None
        return float(stdtrit(self.df, (1 + LEVEL) / 2)) * self.stderr


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseFloor:
    """How far runs that differ in their seed alone lie apart."""

    sd: float
    """Standard deviation of one run, pooled over mixes."""
    df: int
    """Runs beyond the first, summed over mixes."""
    told: str = field(default="seeds of other mixes", repr=False)
    """Where it comes from, in words."""

    def smallest(self, runs: int = 1) -> float:
        """The smallest difference of two mixes, `runs` runs each, that these seeds would tell from zero."""
        return float(stdtrit(self.df, (1 + LEVEL) / 2)) * self.sd * math.sqrt(2 / runs)


def seeds_difference(a: Values, b: Values, noise: NoiseFloor | None = None) -> Difference:
    """A minus B over seeds: the noise of training. MissingError if one side has no run.

    Two or more common seeds: a t interval on the paired differences (runs that share a seed share their start and
    the order of each source), other seeds are left out. Else Welch's interval on all runs. With fewer than two runs
    on a side, the noise floor of other mixes stands in; without it there is a mean and no interval.
    """
    if not a or not b:
        raise MissingError(f"there are {len(a)} and {len(b)} scored runs to compare: one of each is needed.")
    common = sorted(set(a) & set(b))
    if len(common) >= 2:
        told = f"paired by {len(common)} seeds"
        return paired([a[seed] for seed in common], [b[seed] for seed in common], told)
    gone = sum(not _is_finite(value) for value in [*a.values(), *b.values()])
    if gone:
        return _diverged(gone, len(a) + len(b))
    x, y = (np.array([values[seed] for seed in sorted(values)], np.float64) for values in (a, b))
    mean, n = float(x.mean() - y.mean()), len(x) + len(y)
    if min(len(x), len(y)) >= 2:
        va, vb = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
        told = f"not paired, Welch on {len(x)} and {len(y)} runs"
        stderr, df = _sum_of_variances([(va, len(x) - 1), (vb, len(y) - 1)])
        return Difference(mean=mean, stderr=stderr, df=df, n=n, method=told)
    if noise is not None:
        told = f"{len(x)} and {len(y)} runs, noise from {noise.told} ({noise.df} degrees of freedom)"
        stderr = noise.sd * math.sqrt(1 / len(x) + 1 / len(y))
        return Difference(mean=mean, stderr=stderr, df=noise.df, n=n, method=told)
    return Difference(mean=mean, stderr=None, n=n, method=f"{len(x)} and {len(y)} runs: noise of training unknown")


def paired(a: Sequence[float | None], b: Sequence[float | None], method: str = "paired") -> Difference:
    """A minus B where a[i] and b[i] belong together: mean of the differences, sd (ddof 1) / sqrt(n), n - 1 df."""
    assert len(a) == len(b), (len(a), len(b))
    gone = sum(not (_is_finite(x) and _is_finite(y)) for x, y in zip(a, b, strict=True))
    if gone:
        return _diverged(gone, len(a))
    differences = np.array(a, np.float64) - np.array(b, np.float64)
    stderr = float(differences.std(ddof=1) / math.sqrt(len(a))) if len(a) > 1 else None
    return Difference(mean=float(differences.mean()), stderr=stderr, df=max(len(a) - 1, 1), n=len(a), method=method)


def documents_difference(nats_a: ArrayLike, nats_b: ArrayLike, n_bytes: ArrayLike) -> Difference:
    """bpb of A minus bpb of B on the same documents, (docs,) each and index by index: the noise of the documents.

    Ratio estimator on the paired differences, documents as clusters; with several seeds a side, hand in the mean
    nats of each document.
    """
    nats = np.asarray(nats_a, np.float64) - np.asarray(nats_b, np.float64)
    told = f"paired by {len(nats)} documents"
    if len(nats) == 0:
        raise MissingError("there are no common documents to compare on.")
    if not np.isfinite(nats).all():
        return _diverged(int((~np.isfinite(nats)).sum()), len(nats))
    bits, size = nats / math.log(2), np.asarray(n_bytes, np.float64)
    mean = float(bits.sum() / size.sum())
    stderr = float(np.sqrt(((bits - mean * size) ** 2).sum()) / size.sum()) if len(nats) > 1 else None
    return Difference(mean=mean, stderr=stderr, df=max(len(nats) - 1, 1), n=len(nats), method=told)


def macro(differences: Mapping[str, Difference]) -> Difference:
    """Unweighted mean of the differences on several sources, whose noises are independent: for documents, not seeds."""
    if not differences:
        raise MissingError("there are no sources to compare on.")
    found, k = list(differences.values()), len(differences)
    n = sum(d.n for d in found)
    means = [d.mean for d in found if d.mean is not None]
    if len(means) < k:
        return _diverged(k - len(means), k)
    told, mean = f"mean of {k} sources", math.fsum(means) / k
    errors = [(d.stderr / k, d.df) for d in found if d.stderr is not None]
    if len(errors) < k:
        return Difference(mean=mean, stderr=None, n=n, method=told)
    stderr, df = _sum_of_variances([(e * e, df) for e, df in errors])
    return Difference(mean=mean, stderr=stderr, df=df, n=n, method=told)


def combine(seeds: Difference, documents: Difference) -> Difference:
    """The difference over seeds, its noise that of training and of the documents together.

    Variances add up; degrees of freedom by Welch and Satterthwaite. Without a standard error for either there is
    none for both, so nothing is distinguishable.
    """
    told = f"{seeds.method}; {documents.method}"
    if seeds.mean is None or documents.mean is None:
        return Difference(mean=None, stderr=None, n=seeds.n, method=told)
    if seeds.stderr is None or documents.stderr is None:
        return Difference(mean=seeds.mean, stderr=None, n=seeds.n, method=told)
    stderr, df = _sum_of_variances([(seeds.stderr**2, seeds.df), (documents.stderr**2, documents.df)])
    parts = {"training": seeds.stderr, "documents": documents.stderr}
    return Difference(mean=seeds.mean, stderr=stderr, df=df, n=seeds.n, method=told, parts=parts)


def noise_floor(groups: Iterable[Sequence[float | None]]) -> NoiseFloor | None:
    """Pooled noise over groups of runs alike but for their seed; None if no group has two finite values.

    sd = sqrt(sum of squared distances from each group's mean / sum of (runs - 1)).

    >>> noise_floor([[2.0, 2.2], [3.0], [4.0, 4.2]])
    NoiseFloor(sd=0.14142135623730964, df=2)
    """
    finite = [np.array([v for v in group if _is_finite(v)], np.float64) for group in groups]
    repeated = [group for group in finite if len(group) >= 2]
    df = sum(len(group) - 1 for group in repeated)
    if df == 0:
        return None
    return NoiseFloor(sd=math.sqrt(math.fsum(((g - g.mean()) ** 2).sum() for g in repeated) / df), df=df)


def seeds_needed(found: Difference, seeds: int, *, most: int = 1000) -> int | None:
    """Seeds a side that would tell a difference of this size from zero; None where no number up to `most` would.

    `seeds`: those behind it now. The noise of training shrinks with their root, that of the held-out documents stays.
    None also without a difference or a noise: nothing to reckon with.

    >>> seeds_needed(Difference(mean=0.01, stderr=0.01, df=2, n=3, method=""), 3)
    15
    """
    if found.mean is None or found.stderr is None:
        return None
    documents = found.parts.get("documents", 0.0)
    of_one = found.parts.get("training", found.stderr) * math.sqrt(seeds)
    for n in range(seeds + 1, most + 1):
        reach = float(stdtrit(n - 1, (1 + LEVEL) / 2))
        if abs(found.mean) > reach * math.hypot(of_one / math.sqrt(n), documents):
            return n
    return None


def _sum_of_variances(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(stderr, df) of a sum of independent terms, each (variance, degrees of freedom)."""
    total = math.fsum(v for v, _ in parts)
    spread = math.fsum(v * v / df for v, df in parts)
    return math.sqrt(total), total * total / spread if spread > 0 else min(df for _, df in parts)


def _diverged(gone: int, n: int) -> Difference:
    """No difference: a model without finite scores is neither better nor worse by some amount."""
    return Difference(mean=None, stderr=None, n=n, method=f"diverged ({gone} of {n})")


def _is_finite(value: float | None) -> bool:
    """True for a number that is one."""
    return value is not None and math.isfinite(value)
