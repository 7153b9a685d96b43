"""Fits of one metric as a function of the weights, behind one signature: `fit(table, metric, method) -> Fit`.

Reads a table with one column `w_<source>` per source and one per metric, a row a run. Metrics are fitted one by one,
never as an average: an average of unlike metrics has no simple shape (`optimise.Objective` averages predictions).
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from mixlab.advise.gp import train_ard, train_gp, train_warped
from mixlab.advise.joint import SOME_STARTS, at_size, train_additive, train_joint
from mixlab.advise.parametric import room_of, train_discounted, train_log_linear, train_power_sum
from mixlab.advise.regressors import train_lightgbm, train_ridge
from mixlab.advise.surrogate import Surrogate
from mixlab.advise.validation import (
    CV,
    LEAVE_ONE_OUT_BELOW,
    REPEATS,
    Calibration,
    LeftOut,
    Train,
    calibrate,
    figures,
    groups_of,
    left_out,
)
from mixlab.errors import ConfigError, nearest

PREFIX = "w_"
MIN_MIXES = 5  # distinct mixes below which nothing can be left out and still be learned from
SINGLE_BELOW = 50  # mixes below which intervals are corrected leaving one out: tenths would miss too much of the rest
CLOSED_FORM_FROM = 200  # rows from which intervals are corrected by closed-form leave-one-out instead of refits
CONSTANT = 1e-9  # relative spread below which a metric is the same in every run
POINT = 0.01  # share moved by one point


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One metric as a function of the weights, in its own unit. (No slots: out-of-fold predictions are kept.)"""

    metric: str
    method: str
    """The method that was used; `default` is replaced by what it stands for."""
    sources: tuple[str, ...]
    """Order of the columns of every weight array."""
    weights: np.ndarray
    """(n, m), rows sum to one."""
    losses: np.ndarray
    """(n,) the metric, negated where higher is better."""
    higher_is_better: bool
    dropped: int
    """Rows left out because the metric or a weight was missing."""
    learn: Train
    """The method: inputs, losses (n,) -> surrogate of such inputs."""
    learned: Surrogate
    """What it made of `inputs`."""
    inputs: np.ndarray
    """What it learned from: the weights, and for a law of size parameters and tokens beside them, (n, m + 2)."""
    size: tuple[float, float] | None = None
    """Parameters and tokens of the model that a law of size predicts; None: the method knows no size."""

    def predict(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) and sd (n,) of one run's metric at weights (n, m), or (m,) for one mix; rows are renormalised.

        The sd is corrected by cross-validation: mean +- 1.28 sd covers 80 % of unseen runs. ConfigError: wrong number
        of columns, a negative weight, a row of zeros.
        """
        mean, sd = self.surrogate.predict(rows_of_weights(weights, self.sources))
        return self._signed(mean), sd * self.calibration.scale

    def interval(self, weights: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound (n,) of one run's metric at `level` 0.5, 0.8 or 0.95, with its own conformal width."""
        mean, sd = self.surrogate.predict(rows_of_weights(weights, self.sources))
        half = self.calibration.widths[level] * sd
        return self._signed(mean) - half, self._signed(mean) + half

    def at(self, n_params: float, tokens: float) -> "Fit":
        """The same fit, predicting a model of that size. ConfigError: its method is no law of size."""
        if self.size is None:
            raise ConfigError(
                f"a {self.method} fit knows nothing of model size; fit '{self.metric}' by one of "
                f"{', '.join(m for m, needs in NEEDS.items() if needs == SIZE)}, to runs of three sizes."
            )
        return replace(self, size=(n_params, tokens))

    @cached_property
    def surrogate(self) -> Surrogate:
        """The surface over weights (n, m); of a law of size: at `size`."""
        return self.learned if self.size is None else at_size(self.learned, *self.size)

    def cv(self) -> CV:
        """Repeated grouped cross-validation: leave one mix out below 30 mixes, else 10 folds 5 times (see `CV`).

        Regret and top quarter follow the metric's own direction; `predicted` and `observed` are in its own unit.
        """
        told = figures(self.losses, self.rounds, groups_of(self.weights))
        return replace(told, predicted=self._signed(told.predicted), observed=self._signed(told.observed))

    def explain(self) -> dict[str, Any]:
        """What the fit learned, and per source the effect on the metric of one point more of it at the mean mix.

        Effects are (change, sd): the others shrink in proportion; sd None where the method has no joint posterior.
        """
        centre = self.weights.mean(0)
        effects = {}
        for i, source in enumerate(self.sources):
            moved = centre * (1 - POINT)
            moved[i] += POINT
            change = self.surrogate.predict(moved[None])[0] - self.surrogate.predict(centre[None])[0]
            sd = None
            if self.surrogate.contrast is not None:
                sd = float(self.surrogate.contrast(moved[None], centre)[0]) * self.calibration.scale
            effects[source] = (float(self._signed(change)[0]), sd)
        facts = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in self.surrogate.facts.items()}
        return {
            "metric": self.metric,
            "method": self.method,
            "n": len(self.losses),
            "dropped": self.dropped,
            "learned": facts,
            "one_point_more": effects,
        }

    @cached_property
    def rounds(self) -> list[LeftOut]:
        """Out-of-fold predictions of `losses`, one per repeat of the cross-validation that `cv` reports."""
        return left_out(self.learn, self.inputs, self.losses, repeats=REPEATS, groups=groups_of(self.weights))

    @cached_property
    def unseen(self) -> LeftOut:
        """Predictions of `losses` by fits that saw neither the row nor its mix; sd not corrected.

        Where mixes are left out one by one, a lone row's sd is that of the fit to all runs: a fit that has not seen
        the hardest run believes in less noise than the one that will be used.
        """
        groups, known = groups_of(self.weights), self.surrogate.left_out
        if len(self.losses) >= CLOSED_FORM_FROM and known is not None:
            return LeftOut(mean=known[0], sd=known[1])
        mixes = np.bincount(groups)
        told = self.rounds[0] if len(mixes) < LEAVE_ONE_OUT_BELOW else None
        told = told or left_out(self.learn, self.inputs, self.losses, single_below=SINGLE_BELOW, groups=groups)[0]
        if known is None or len(mixes) >= SINGLE_BELOW:
            return told
        return replace(told, sd=np.where(mixes[groups] == 1, known[1], told.sd))

    @cached_property
    def calibration(self) -> Calibration:
        """Interval widths that the out-of-fold errors call for."""
        return calibrate(self.losses, self.unseen, groups_of(self.weights))

    def _signed(self, losses: np.ndarray) -> np.ndarray:
        return -losses if self.higher_is_better else losses


def fit(table: pd.DataFrame, metric: str, method: str = "default", *, higher_is_better: bool = False) -> Fit:
    """The metric of `table` as a function of the columns `w_<source>`; methods: see METHODS, and `default`.

    Rows with a missing metric or weight are dropped and counted. ConfigError: unknown metric or method, one source,
    fewer than 5 distinct mixes, a metric that is the same in every run, negative weights, words for numbers.
    """
    name = DEFAULT if method == "default" else method
    if name not in METHODS:
        raise ConfigError(f"there is no fitting method '{method}'.{nearest(method, ['default', *METHODS])}")
    sources = sources_of(table)
    if metric not in table.columns:
        known = [str(c) for c in table.columns if not str(c).startswith(PREFIX)]
        raise ConfigError(f"the table of runs has no metric '{metric}'.{nearest(metric, known)}")
    columns = np.column_stack([_numbers(table, PREFIX + s) for s in sources])
    values = _numbers(table, metric)
    usable = np.isfinite(values) & np.isfinite(columns).all(1)
    _check_enough(columns, values, usable, metric, sources)
    weights = rows_of_weights(columns[usable], sources)
    losses = -values[usable] if higher_is_better else values[usable]
    learn, inputs = METHODS[name], weights
    needs = _needed(table.loc[usable], name, sources)
    if NEEDS.get(name) == EPOCHS:
        learn = partial(train_discounted, room=room_of(weights, needs))
    elif needs.size:
        inputs = np.hstack([weights, needs])
    size = (float(needs[:, 0].max()), float(needs[:, 1].max())) if NEEDS.get(name) == SIZE else None
    return Fit(
        metric=metric,
        method=name,
        sources=sources,
        weights=weights,
        losses=losses,
        higher_is_better=higher_is_better,
        dropped=int((~usable).sum()),
        learn=learn,
        learned=(partial(learn, starts=SOME_STARTS) if size else learn)(inputs, losses),
        inputs=inputs,
        size=size,
    )


def sources_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Names behind the columns `w_<source>`, in their order. ConfigError below two: there is nothing to mix."""
    sources = tuple(str(c)[len(PREFIX) :] for c in table.columns if str(c).startswith(PREFIX))
    if len(sources) < 2:
        have = f"only '{sources[0]}'" if sources else "none"
        raise ConfigError(
            f"a mixture needs at least two sources; the table of runs has {have} (columns named w_<source>). "
            "Sweep over mixes of two or more sources first."
        )
    return sources


def rows_of_weights(weights: np.ndarray | pd.DataFrame, sources: tuple[str, ...]) -> np.ndarray:
    """Weights (a frame's by their names) as an array (n, m) whose rows sum to one. ConfigError: shape, signs, zeros."""
    named = [PREFIX + s for s in sources]
    if isinstance(weights, pd.DataFrame) and set(named) <= set(weights.columns):
        weights = weights[named].to_numpy(float)
    rows = np.atleast_2d(np.asarray(weights, dtype=float))
    if rows.ndim != 2 or rows.shape[1] != len(sources):
        order = ", ".join(sources)
        raise ConfigError(f"weights have shape {rows.shape}; asked for {len(sources)} columns in this order: {order}.")
    totals = rows.sum(1, keepdims=True)
    if not np.isfinite(rows).all() or (rows < 0).any() or (totals <= 0).any():
        bad = int(np.argmax(~np.isfinite(rows).all(1) | (rows < 0).any(1) | (totals <= 0)[:, 0]))
        shown = ", ".join(f"{s}={w:g}" for s, w in zip(sources, rows[bad], strict=True))
        raise ConfigError(
            f"row {bad} holds no mixture: {shown}. Weights are shares of training tokens: none below 0, not all 0."
        )
    return rows / totals


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """The column (n,), NaN where it holds nothing. ConfigError: words in it."""
    told = table[column]
    found = np.asarray(pd.to_numeric(told, errors="coerce"), float)
    words = np.isnan(found) & told.notna().to_numpy()
    if words.any():
        row = int(words.argmax())
        raise ConfigError(
            f"column '{column}' of the table of runs holds '{told.iloc[row]}' in row {row}; "
            "it wants numbers, or nothing where there is none."
        )
    return found


def _check_enough(
    columns: np.ndarray, values: np.ndarray, usable: np.ndarray, metric: str, sources: tuple[str, ...]
) -> None:
    """ConfigError unless something can be learned from the usable rows (n,)."""
    unknown = ~np.isfinite(columns)
    odd, mute = int(unknown.any(1).sum()), int((~np.isfinite(values) & ~unknown.any(1)).sum())
    over = ", ".join(sources[i] for i in np.flatnonzero(unknown.any(0)))
    told = [f"{mute} runs without a value"] * (mute > 0) + [f"{odd} runs without a share of {over}"] * (odd > 0)
    lost = f" ({' and '.join(told)} were left out)" if told else ""
    weights, values = columns[usable], values[usable]
    mixes = len(np.unique(np.round(weights, 6), axis=0)) if len(weights) else 0
    if mixes < MIN_MIXES:
        raise ConfigError(
            f"'{metric}' has {mixes} distinct mixes with a value{lost}; a fit needs at least {MIN_MIXES}, "
            f"and {4 * len(sources)} are advised for {len(sources)} sources. Train {MIN_MIXES - mixes} more mixes."
        )
    if np.ptp(values) <= CONSTANT * max(np.abs(values).max(), 1e-300):
        raise ConfigError(
            f"'{metric}' is {values[0]:g} in all {len(values)} runs{lost}, so it cannot tell mixes apart. "
            "Choose another metric, or check that the evaluation really ran on each run."
        )


def _needed(table: pd.DataFrame, method: str, sources: tuple[str, ...]) -> np.ndarray:
    """The columns (n, k) that a method reads beside the weights; k = 0 for most. ConfigError: one is missing."""
    names = [
        c.replace("<source>", s) for c in NEEDS.get(method, ()) for s in (sources if "<source>" in c else sources[:1])
    ]
    missing = [c for c in names if c not in table.columns or not np.isfinite(table[c].to_numpy(float)).all()]
    if missing:
        raise ConfigError(
            f"the method '{method}' also reads {', '.join(NEEDS[method])}; the table of runs has no number in every "
            f"row of {', '.join(missing)}. Add the column, or choose another method."
        )
    return table[names].to_numpy(float)


METHODS = {
    "gp-warped": train_warped,
    "gp": train_gp,
    "gp-ard": train_ard,
    "log-linear": train_log_linear,
    "power-sum": train_power_sum,
    "power-sum-epochs": train_power_sum,
    "joint": train_joint,
    "joint-additive": train_additive,
    "lightgbm": train_lightgbm,
    "ridge": train_ridge,
}
SIZE, EPOCHS = ("n_params", "tokens"), ("epochs_<source>",)
NEEDS = {"joint": SIZE, "joint-additive": SIZE, "power-sum-epochs": EPOCHS}
"""Columns that a method reads beside `w_<source>`."""
# Spearman on RegMix's unseen Pile-CC mixes at 32, 64, 128, 512 runs: .981 .987 .991 .995; gp-ard .955 .983 .989 .994
DEFAULT = "gp-warped"
