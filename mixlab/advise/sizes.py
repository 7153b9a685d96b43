"""Does the ranking of mixes hold from one model size to the next? Rank agreement, and the ranking told for a target.

Reads a table with `w_<source>`, `n_params`, `tokens` and the metric, a row a run; mixes are known by their weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from mixlab.advise.fits import PREFIX, fit, sources_of
from mixlab.advise.validation import spearman, spearmans
from mixlab.errors import ConfigError, nearest
from mixlab.seeds import generator

DRAWS = 1000  # of the bootstrap over mixes
FEWEST = 4  # mixes that two sizes share, below which a rank says nothing
HOLDS = 0.8  # rank agreement above which a small ranking is worth following (public sweeps: 0.84 to 0.98)
ADVISED = 3  # sizes for a law of size


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Of the rankings of the same mixes at two sizes."""

    small: float
    large: float
    """Parameters."""
    mixes: int
    spearman: float
    lo: float
    hi: float
    """95 % by bootstrap over mixes."""
    same_best: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Mixes at a target size, the best first, and what speaks against believing it."""

    agreements: tuple[Agreement, ...]
    order: tuple[int, ...]
    """Rows of `mixes`, the lowest prediction first."""
    mixes: np.ndarray
    predicted: np.ndarray
    agrees_with_largest: float | None
    """Rank correlation of the told ranking with the one seen at the largest size; None below 4 mixes there."""
    warnings: tuple[str, ...]


def ranking(table: pd.DataFrame, metric: str, n_params: float, tokens: float) -> Ranking:
    """The mixes of the table as they would rank at the target, by the joint law of mix, size and tokens.

    ConfigError: as `fit` by `joint`: columns that are missing, one size alone, too few mixes.
    """
    agreements = rank_agreement(table, metric)
    f = fit(table, metric, "joint").at(n_params, tokens)
    mixes = np.unique(f.weights.round(6), axis=0)
    predicted = f.surrogate.predict(mixes / mixes.sum(1, keepdims=True))[0]
    seen = _by_mix(table, metric).xs(_values(table, "n_params").max(), level="n_params")
    guess = f.surrogate.predict(np.array(seen.index.tolist()))[0]
    with_largest = spearman(guess, seen.to_numpy()) if len(seen) >= FEWEST else None
    return Ranking(
        agreements=agreements,
        order=tuple(np.argsort(predicted, kind="stable").tolist()),
        mixes=mixes,
        predicted=predicted,
        agrees_with_largest=with_largest,
        warnings=_warnings(table, agreements, with_largest, n_params),
    )


def rank_agreement(table: pd.DataFrame, metric: str) -> tuple[Agreement, ...]:
    """Every pair of sizes that share at least four mixes. ConfigError: a column is missing, or no pair shares mixes."""
    for column in ("n_params", "tokens", metric):
        if column not in table.columns:
            raise ConfigError(f"the table of runs has no column '{column}'.{nearest(column, map(str, table.columns))}")
    means = pd.DataFrame(_by_mix(table, metric).unstack("n_params"))
    found = list[Agreement]()
    for small, large in combinations(sorted(float(c) for c in means.columns), 2):
        both = means[[small, large]].dropna().to_numpy(float)
        if len(both) < FEWEST:
            continue
        rng = generator(0, "sizes")
        picks = rng.integers(len(both), size=(DRAWS, len(both)))
        lo, hi = np.quantile(spearmans(both[picks, 0], both[picks, 1]), (0.025, 0.975))
        found.append(
            Agreement(
                small=small,
                large=large,
                mixes=len(both),
                spearman=spearman(both[:, 0], both[:, 1]),
                lo=float(lo),
                hi=float(hi),
                same_best=bool(both[:, 0].argmin() == both[:, 1].argmin()),
            )
        )
    if not found:
        sizes = ", ".join(f"{float(c):,.0f}" for c in means.columns)
        raise ConfigError(
            f"no two sizes ({sizes} parameters) share {FEWEST} mixes with a value for '{metric}'. "
            f"Train the same mixes at {ADVISED} sizes."
        )
    return tuple(found)


def _by_mix(table: pd.DataFrame, metric: str) -> pd.Series:
    """Mean of the metric by mix (its weights) and size, over seeds; the longest budget of each size."""
    columns = [PREFIX + s for s in sources_of(table)]
    sizes, tokens = _values(table, "n_params"), _values(table, "tokens")
    longest = np.array([t == tokens[sizes == n].max() for n, t in zip(sizes, tokens, strict=True)])
    told = table.loc[longest, [*columns, "n_params", metric]].dropna()
    told[columns] = told[columns].round(6)
    return pd.Series(told.groupby([*columns, "n_params"])[metric].mean())


def _values(table: pd.DataFrame, column: str) -> np.ndarray:
    return table[column].to_numpy(float)


def _warnings(
    table: pd.DataFrame, agreements: Sequence[Agreement], with_largest: float | None, n_params: float
) -> tuple[str, ...]:
    last, sizes = agreements[-1], np.unique(_values(table, "n_params"))
    found = list[str]()
    if len(sizes) < ADVISED:
        found.append(f"{len(sizes)} sizes: a law of size asks for {ADVISED}; the exponent is a guess.")
    if last.lo < HOLDS:
        found.append(
            f"Between {last.small:,.0f} and {last.large:,.0f} parameters the ranking of {last.mixes} mixes agrees to "
            f"{last.spearman:.2f} (95 %: {last.lo:.2f} to {last.hi:.2f}): below {HOLDS} a small ranking misleads."
        )
    if not last.same_best:
        found.append(f"The best mix at {last.small:,.0f} parameters is not the best at {last.large:,.0f}.")
    if with_largest is not None and with_largest < HOLDS:
        found.append(f"The told ranking agrees with the one seen at the largest size to {with_largest:.2f} only.")
    if n_params > 10 * sizes[-1]:
        found.append(f"The target is {n_params / sizes[-1]:.0f} times the largest model seen: far outside the data.")
    return tuple(found)
