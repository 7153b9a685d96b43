"""How well a fit predicts mixes it has not seen: grouped cross-validation, its figures, and intervals corrected by it.

Rows of one mix (its seeds, its checkpoints) always share a fold. No row reported was seen by the fit that predicted it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, rankdata, t

from mixlab.advise.surrogate import Surrogate
from mixlab.seeds import generator

Train = Callable[[np.ndarray, np.ndarray], Surrogate]

LEAVE_ONE_OUT_BELOW = 30  # distinct mixes
FOLDS = 10
REPEATS = 5
LEVELS = (0.5, 0.8, 0.95)
Z80 = 1.2815515655446004  # a normal variable lies within +- this with probability 0.8
MIN_TOP = 4  # rows in the best quarter, below which a rank within it says nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """One prediction per row, made by a fit that saw neither the row nor its mix."""

    mean: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class CV:
    """Cross-validated figures; unit of the metric unless said."""

    scheme: str
    n: int
    """Rows."""
    spearman: float
    """Rank correlation, -1..1."""
    kendall: float
    mae: float
    rmse: float
    q2: float
    """1 - squared error / variance; 0 is no better than the mean of the runs."""
    top_quarter_spearman: float | None
    """Rank correlation within the best quarter of the runs; None below 16 runs."""
    regret_at_1: float
    """Metric of the run predicted best, minus that of the best run."""
    regret_at_5: float
    """The same for the best of the five runs predicted best."""
    decision_accuracy: float | None
    """Share of pairs of runs ordered rightly, of those further apart than two sds of the noise between seeds (known
    where mixes were repeated, else every pair); None if there is no such pair."""
    coverage: dict[float, float]
    """Nominal level -> share of rows inside the corrected interval, its width learned on the other half."""
    predicted: np.ndarray
    """Per row, mean over the repeats."""
    observed: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Half-widths of intervals in units of the fit's own sd."""

    widths: dict[float, float]
    """Level -> factor."""
    mixes: int

    @property
    def scale(self) -> float:
        """What to multiply the fit's sd by so that a normal 80 % interval covers 80 %."""
        return self.widths[0.8] / Z80


def groups_of(weights: np.ndarray) -> np.ndarray:
    """Mix number of each row: rows with the same weights (to 1e-6) share one."""
    return np.unique(np.round(weights, 6), axis=0, return_inverse=True)[1].ravel()


def left_out(
    train: Train,
    inputs: np.ndarray,
    y: np.ndarray,
    *,
    repeats: int = 1,
    single_below: int = LEAVE_ONE_OUT_BELOW,
    groups: np.ndarray | None = None,
) -> list[LeftOut]:
    """Out-of-fold predictions, one per repeat: each mix alone below `single_below` mixes (then once), else 10 folds.

    `groups`: mix number of each row; None: the rows of `inputs` (n, k) are the mixes.
    """
    groups = groups_of(inputs) if groups is None else groups
    mixes = int(groups.max()) + 1
    result = list[LeftOut]()
    for r in range(1 if mixes < single_below else repeats):
        folds = np.arange(mixes) if mixes < single_below else generator(0, "folds", r).permutation(mixes) % FOLDS
        fold = folds[groups]
        mean, sd = np.empty(len(y)), np.empty(len(y))
        for f in range(fold.max() + 1):
            out = fold == f
            mean[out], sd[out] = train(inputs[~out], y[~out]).predict(inputs[out])
        result.append(LeftOut(mean=mean, sd=sd))
    return result


def figures(observed: np.ndarray, predictions: list[LeftOut], groups: np.ndarray) -> CV:
    """The figures of out-of-fold predictions of a metric where lower is better, averaged over the repeats."""
    noise = _noise(observed, groups)
    per_repeat = np.array([_point_figures(observed, p.mean, noise) for p in predictions])
    spearman, kendall, mae, rmse, q2, top, regret, regret5, decided = per_repeat.mean(0)
    covered = np.array([_coverage(observed, p, groups) for p in predictions]).mean(0)
    mixes = int(groups.max()) + 1
    return CV(
        scheme="leave one mix out" if mixes < LEAVE_ONE_OUT_BELOW else f"{FOLDS} folds x {len(predictions)}",
        n=len(observed),
        spearman=float(spearman),
        kendall=float(kendall),
        mae=float(mae),
        rmse=float(rmse),
        q2=float(q2),
        top_quarter_spearman=None if np.isnan(top) else float(top),
        regret_at_1=float(regret),
        regret_at_5=float(regret5),
        decision_accuracy=None if np.isnan(decided) else float(decided),
        coverage=dict(zip(LEVELS, covered.tolist(), strict=True)),
        predicted=np.mean([p.mean for p in predictions], axis=0),
        observed=observed,
    )


def _noise(y: np.ndarray, groups: np.ndarray) -> float:
    """Pooled sd within mixes run more than once; 0 if none was."""
    counts = np.bincount(groups)
    if (counts < 2).all():
        return 0.0
    means = np.bincount(groups, y) / counts
    return float(np.sqrt(((y - means[groups]) ** 2).sum() / (len(y) - len(counts))))


def decision_accuracy(y: np.ndarray, p: np.ndarray, noise: float) -> float:
    """Share of pairs that `p` orders as `y` does, of those more than two `noise` sds apart; nan if there is none.

    >>> decision_accuracy(np.array([1.0, 1.1, 3.0]), np.array([2.0, 1.0, 4.0]), 0.5)
    1.0
    """
    i, j = np.triu_indices(len(y), 1)
    gap = y[i] - y[j]
    clear = np.abs(gap) > 2 * noise
    return float(np.mean(gap[clear] * (p[i] - p[j])[clear] > 0)) if clear.any() else float("nan")


def _point_figures(y: np.ndarray, p: np.ndarray, noise: float) -> list[float]:
    error = p - y
    best = np.argsort(y, kind="stable")[: len(y) // 4]
    top = spearman(y[best], p[best]) if len(best) >= MIN_TOP else float("nan")
    q2 = 1 - np.mean(error**2) / y.var()
    mae, rmse = np.abs(error).mean(), np.sqrt(np.mean(error**2))
    five = y[np.argsort(p, kind="stable")[:5]].min() - y.min()
    return [
        spearman(y, p),
        kendall(y, p),
        mae,
        rmse,
        q2,
        top,
        y[p.argmin()] - y.min(),
        five,
        decision_accuracy(y, p, noise),
    ]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; 0 where one side is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 15.0]))
    0.5
    """
    return float(spearmans(a[None], b[None])[0])


def spearmans(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlation (k,) of each row of `a` (k, n) with the same row of `b`; 0 where one side is constant."""
    ra, rb = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (a, b))
    size = np.sqrt((ra * ra).sum(1) * (rb * rb).sum(1))
    return np.where(size > 0, (ra * rb).sum(1) / np.where(size > 0, size, 1.0), 0.0)


def kendall(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b: pairs ordered alike minus pairs ordered apart, as a share; 0 where one side is constant.

    >>> round(kendall(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 15.0])), 3)
    0.333
    """
    tau = float(np.asarray(kendalltau(a, b), float)[0])
    return tau if np.isfinite(tau) else 0.0


def _coverage(y: np.ndarray, p: LeftOut, groups: np.ndarray) -> list[float]:
    """Share of rows inside intervals whose width was learned on the other half of the mixes."""
    score = np.abs(y - p.mean) / p.sd
    half = (generator(0, "halves").permutation(int(groups.max()) + 1) % 2)[groups]
    inside = np.zeros((len(y), len(LEVELS)))
    for mine in (half == 0, half == 1):
        widths = _widths(score[~mine], int(groups.max() + 1) // 2)
        inside[mine] = score[mine, None] <= [widths[level] for level in LEVELS]
    return inside.mean(0).tolist()


def calibrate(observed: np.ndarray, prediction: LeftOut, groups: np.ndarray) -> Calibration:
    """Widths at which the out-of-fold intervals cover what they promise."""
    mixes = int(groups.max()) + 1
    return Calibration(widths=_widths(np.abs(observed - prediction.mean) / prediction.sd, mixes), mixes=mixes)


def _widths(scores: np.ndarray, mixes: int) -> dict[float, float]:
    """Conformal quantiles of |error|/sd: the (n + 1) level-th smallest of n (Vovk et al.; Lei et al. 2018).

    Between two scores in proportion: rounding up would cover 82 % of the next ones where 32 runs should cover 80 %.
    Where n is too small for a level, the 80 % width stretched by Student's t, and never less than the largest score.
    """
    ordered, n = np.sort(scores), len(scores)
    widths: dict[float, float] = {}
    for level in LEVELS:
        rank = (n + 1) * level
        if rank <= n:
            widths[level] = float(np.interp(rank, np.arange(1, n + 1), ordered))
        else:
            stretch = float(t.ppf((1 + level) / 2, max(mixes - 1, 1))) / Z80
            widths[level] = max(float(ordered[-1]), widths.get(0.8, float(ordered[-1])) * stretch)
    return widths
