"""Any fit on a table of runs that others trained: learn from n of them, predict the rest, keep the score.

The tables are advise/tables.py's; every method sees the same subsets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mixlab.advise.fits import DEFAULT, METHODS, PREFIX, Fit, fit
from mixlab.advise.tables import Tables, read
from mixlab.advise.validation import Z80, decision_accuracy, kendall, spearman, spearmans
from mixlab.errors import ConfigError, nearest
from mixlab.seeds import generator

__all__ = ["Line", "Tables", "judge", "leaderboard", "paired_bootstrap", "read"]

FIRST_SEED = 100  # subset r is the first n of RandomState(100 + r).permutation: the published subsets of RegMix
DRAWS = 1000  # of the paired bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One method with one number of runs, judged on one size of model: means over the subsets.

    In the metric's unit where not a share.
    """

    method: str
    n: int
    judged_on: str | None
    """Size of the models that were foretold, as its file names it; None: that of the runs it learned from."""
    spearman: float
    kendall: float
    top_quarter: float
    regret_at_1: float
    regret_at_5: float
    decision_accuracy: float
    """Of pairs further apart than two sds of the noise."""
    coverage_80: float | None
    """None for models of another size: their losses lie elsewhere, only their ranks are foretold."""
    behind: tuple[float, float] | None
    """95 % interval of the default's Spearman minus this one's (paired bootstrap over mixes); None: the default."""


def leaderboard(
    tables: Tables, metric: str, sizes: Sequence[int], methods: Sequence[str], *, subsets: int = 3, noise: float = 0.0
) -> list[Line]:
    """One line per number of runs (a learning curve), size of model and method, the default first.

    ConfigError: unknown name.
    """
    if metric not in tables.metrics:
        raise ConfigError(f"the table has no metric '{metric}'.{nearest(metric, tables.metrics)}")
    for m in methods:
        if m not in METHODS:
            raise ConfigError(f"there is no fitting method '{m}'.{nearest(m, METHODS)}")
    lines = list[Line]()
    for n in sorted({min(n, len(tables.train)) for n in sizes}):
        picks = [np.random.RandomState(FIRST_SEED + r).permutation(len(tables.train))[:n] for r in range(subsets)]
        named = dict.fromkeys([DEFAULT, *methods])
        fits = {m: [fit(tables.train.iloc[rows], metric, m) for rows in picks] for m in named}
        for size, unseen in {None: tables.test, **tables.larger}.items():
            if metric in unseen.columns:
                lines += _judged(fits, n, size, unseen, metric, noise)
    return lines


def _judged(
    fits: Mapping[str, Sequence[Fit]], n: int, size: str | None, unseen: pd.DataFrame, metric: str, noise: float
) -> list[Line]:
    """One line a method, on the unseen mixes that have a value."""
    told: np.ndarray = unseen[metric].to_numpy(float)
    unseen = unseen.loc[np.isfinite(told)]
    weights = unseen[[PREFIX + s for s in fits[DEFAULT][0].sources]].to_numpy(float)
    truth, lines = unseen[metric].to_numpy(float), list[Line]()
    guessed = {m: [f.predict(weights) for f in told] for m, told in fits.items()}
    best = [mean for mean, _ in guessed[DEFAULT]]
    for m, predictions in guessed.items():
        behind = None if m == DEFAULT else paired_bootstrap(truth, best, [mean for mean, _ in predictions])
        figures = np.mean([judge(truth, mean, sd, noise) for mean, sd in predictions], axis=0)
        lines.append(_line(m, n, size, figures.tolist(), behind))
    return lines


def judge(truth: np.ndarray, mean: np.ndarray, sd: np.ndarray, noise: float = 0.0) -> list[float]:
    """Spearman, the same in the best quarter, regret at 1 and 5, decision accuracy, coverage at 80 %, Kendall."""
    order, top = np.argsort(mean, kind="stable"), truth <= np.quantile(truth, 0.25)
    regret = [float(truth[order[:k]].min() - truth.min()) for k in (1, 5)]
    covered = float(np.mean(np.abs(truth - mean) <= Z80 * sd))
    decided = decision_accuracy(truth, mean, noise)
    return [spearman(truth, mean), spearman(truth[top], mean[top]), *regret, decided, covered, kendall(truth, mean)]


def paired_bootstrap(truth: np.ndarray, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> tuple[float, float]:
    """95 % interval of the mean Spearman of `a` minus that of `b`, the same mixes drawn for both, 1,000 times."""
    rows = generator(0, "bootstrap").integers(len(truth), size=(DRAWS, len(truth)))
    real = truth[rows]
    found = np.mean([spearmans(real, x[rows]) - spearmans(real, y[rows]) for x, y in zip(a, b, strict=True)], axis=0)
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def _line(method: str, n: int, size: str | None, figures: Sequence[float], behind: tuple[float, float] | None) -> Line:
    rho, top, one, five, decided, covered, tau = figures
    return Line(
        method=method,
        n=n,
        judged_on=size,
        spearman=rho,
        kendall=tau,
        top_quarter=top,
        regret_at_1=one,
        regret_at_5=five,
        decision_accuracy=decided,
        coverage_80=covered if size is None else None,
        behind=behind,
    )
