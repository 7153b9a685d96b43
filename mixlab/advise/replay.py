"""Any fit on a table of runs that others trained: learn from n of them, predict the rest, keep the score.

Reads RegMix (`train_mixture*.csv` + `train_*loss*.csv`, the same for `test`, joined on `index`) and Olmix (`ratios.csv`
+ `metrics.csv`, joined on their common id columns) as they are. Every method sees the same subsets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mixlab.advise.fits import DEFAULT, METHODS, PREFIX, fit, sources_of
from mixlab.advise.validation import Z80, decision_accuracy, kendall, spearman
from mixlab.errors import ConfigError, MissingError, nearest
from mixlab.seeds import generator

FIRST_SEED = 100  # subset r is the first n of RandomState(100 + r).permutation: the published subsets of RegMix
IDS = ("run", "name", "index", "run_id")
DRAWS = 1000  # of the paired bootstrap
UNSEEN = 1 / 3  # share of the runs kept for judging where a table has no test part


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """Runs to learn from and runs to be judged on."""

    train: pd.DataFrame
    test: pd.DataFrame
    metrics: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One method with one number of runs: means over the subsets, in the metric's unit where not a share."""

    method: str
    n: int
    spearman: float
    kendall: float
    top_quarter: float
    regret_at_1: float
    regret_at_5: float
    decision_accuracy: float
    """Of pairs further apart than two sds of the noise."""
    coverage_80: float
    behind: tuple[float, float] | None
    """95 % interval of the default's Spearman minus this one's (paired bootstrap over mixes); None: the default."""


def read(folder: Path) -> Tables:
    """The tables in a folder, weights as `w_<source>`. MissingError: neither layout is there."""
    if (folder / "ratios.csv").exists() and (folder / "metrics.csv").exists():
        return _halves(*_joined(folder / "ratios.csv", folder / "metrics.csv"))
    mixes = sorted(folder.glob("train_mixture*.csv"))
    if not mixes:
        raise MissingError(
            f"{folder} holds neither RegMix's train_mixture*.csv nor Olmix's ratios.csv and metrics.csv. "
            "Give the folder of one of the two layouts."
        )
    train, metrics = _joined(mixes[0], _losses(folder, "train", mixes[0]))
    unseen = folder / mixes[0].name.replace("train_", "test_")
    if not unseen.exists():
        return _halves(train, metrics)
    return Tables(train=train, test=_joined(unseen, _losses(folder, "test", unseen))[0], metrics=metrics)


def leaderboard(
    tables: Tables, metric: str, sizes: Sequence[int], methods: Sequence[str], *, subsets: int = 3, noise: float = 0.0
) -> list[Line]:
    """One line per method and number of runs (a learning curve), the default first. ConfigError: unknown name."""
    if metric not in tables.metrics:
        raise ConfigError(f"the table has no metric '{metric}'.{nearest(metric, tables.metrics)}")
    for m in methods:
        if m not in METHODS:
            raise ConfigError(f"there is no fitting method '{m}'.{nearest(m, METHODS)}")
    weights = tables.test[[PREFIX + s for s in sources_of(tables.train)]].to_numpy(float)
    truth = tables.test[metric].to_numpy(float)
    lines = []
    for n in sorted({min(n, len(tables.train)) for n in sizes}):
        picks = [np.random.RandomState(FIRST_SEED + r).permutation(len(tables.train))[:n] for r in range(subsets)]
        guessed = {
            m: [fit(tables.train.iloc[rows], metric, m).predict(weights) for rows in picks]
            for m in dict.fromkeys([DEFAULT, *methods])
        }
        best = [mean for mean, _ in guessed[DEFAULT]]
        for m, predictions in guessed.items():
            behind = None if m == DEFAULT else paired_bootstrap(truth, best, [mean for mean, _ in predictions])
            figures = np.mean([judge(truth, mean, sd, noise) for mean, sd in predictions], axis=0)
            lines.append(_line(m, n, figures.tolist(), behind))
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
    rng, found = generator(0, "bootstrap"), []
    for _ in range(DRAWS):
        rows = rng.integers(len(truth), size=len(truth))
        gaps = [spearman(truth[rows], x[rows]) - spearman(truth[rows], y[rows]) for x, y in zip(a, b, strict=True)]
        found.append(np.mean(gaps))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def _line(method: str, n: int, figures: Sequence[float], behind: tuple[float, float] | None) -> Line:
    rho, top, one, five, decided, covered, tau = figures
    return Line(
        method=method,
        n=n,
        spearman=rho,
        kendall=tau,
        top_quarter=top,
        regret_at_1=one,
        regret_at_5=five,
        decision_accuracy=decided,
        coverage_80=covered,
        behind=behind,
    )


def _losses(folder: Path, part: str, beside: Path) -> Path:
    found = [p for p in sorted(folder.glob(f"{part}_*.csv")) if p != beside and "mixture" not in p.name]
    if not found:
        raise MissingError(f"{folder} has {beside.name} but no losses beside it (such as {part}_pile_loss_1m.csv).")
    return found[0]


def _joined(mixes: Path, scores: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Weights and metrics of the runs that are in both files, rows of weights summing to one."""
    left, right = pd.read_csv(mixes), pd.read_csv(scores)
    shared = [c for c in IDS if c in left.columns and c in right.columns]
    if not shared:
        raise ConfigError(
            f"{mixes.name} and {scores.name} share no id column ({', '.join(IDS)}): they cannot be joined."
        )
    told = [str(c) for c in left.columns if c not in IDS]
    metrics = [str(c) for c in right.columns if c not in IDS and pd.api.types.is_numeric_dtype(right[c])]
    prefix = _common_prefix(told)
    left = left.rename(columns={c: PREFIX + c.removeprefix(prefix) for c in told})
    both = left[[*shared, *(PREFIX + c.removeprefix(prefix) for c in told)]].merge(
        right[[*shared, *metrics]], on=shared
    )
    columns = [PREFIX + c.removeprefix(prefix) for c in told]
    both[columns] = both[columns].div(both[columns].sum(axis=1), axis=0)
    return both.drop(columns=shared), tuple(metrics)


def _common_prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to RegMix's `train_the_pile_`; nothing for other tables."""
    known = "train_the_pile_"
    return known if all(n.startswith(known) for n in names) else ""


def _halves(table: pd.DataFrame, metrics: tuple[str, ...]) -> Tables:
    """A third of the runs kept for judging."""
    order = generator(0, "replay").permutation(len(table))
    cut = int(len(table) * UNSEEN)
    return Tables(train=table.iloc[order[cut:]], test=table.iloc[order[:cut]], metrics=metrics)
