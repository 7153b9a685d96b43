"""The verdict on a sweep: which mix to train, what it should gain over the natural mix, and whether that beats noise.

Says "not distinguishable" unless two things hold: left-out mixes are ranked better than chance, and the 95 % interval
of the gain over natural lies above zero. After training, `realised` puts the measured gain beside the predicted one.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from mixlab.advise.card import Estimate, MetricVerdict, Opinion, Verdict, realised, sentences
from mixlab.advise.fits import DEFAULT, PREFIX, fit, rows_of_weights, sources_of
from mixlab.advise.gain import around, gain, has_skill, noise_of_repeats
from mixlab.advise.optimise import AT_LIMIT, Best, Objective, aligned, best_mix, limits, minimiser, objective_of
from mixlab.advise.validation import LEVELS, groups_of
from mixlab.errors import ConfigError, nearest
from mixlab.types import Mixture

__all__ = ["Verdict", "realised", "recommend"]

SECOND_OPINIONS = ("gp", "log-linear")
OPINION_SAMPLES = 2000
REACH = 0.1  # weight above the largest one seen that a recommendation may have; below: half the smallest one seen
ADVISED_RUNS = 4  # distinct mixes per source
OUTSIDE = 0.01  # weight beyond the sampled range that is worth a warning


def recommend(
    table: pd.DataFrame,
    metrics: Sequence[str],
    natural: Mapping[str, float],
    *,
    max_weight: Mapping[str, float] | None = None,
    seed: int = 0,
    noise_sd: float | None = None,
) -> Verdict:
    """The mix with the lowest predicted mean of `metrics` (all: lower is better), and how sure that is.

    Kept near the sampled mixes: from half the smallest share seen of a source to a tenth above its largest.
    `table`: a row a run, columns `w_<source>` and the metrics. `natural`: weights to compare with. `max_weight`: caps
    by source, for instance from epochs. `noise_sd`: sd of the objective between seeds, unit of the metrics.
    ConfigError: what is missing from the table; PlanError: caps that leave no mixture.
    """
    sources = sources_of(table)
    _, caps = limits(sources, None, max_weight)
    home = aligned(natural, sources, "natural")
    kept, dropped = _complete_rows(table, metrics)
    objective = objective_of([fit(kept, metric) for metric in metrics])
    low, high = _reach(objective.fits[0].weights, caps)
    best = best_mix(
        objective, lo=dict(zip(sources, low, strict=True)), hi=dict(zip(sources, high, strict=True)), seed=seed
    )
    mix = np.array([best.weights[s] for s in sources])
    opinions = tuple(_opinion(kept, metrics, method, mix, home, low, high, seed) for method in SECOND_OPINIONS)
    noise = noise_sd if noise_sd is not None else noise_of_repeats(objective)
    card = _card(objective, best, mix, home, noise, opinions)
    warnings = _warnings(objective, mix, caps, card.n_mixes, opinions, dropped)
    return dataclasses.replace(card, dropped=dropped, warnings=warnings, sentences=sentences(card))


def _card(
    objective: Objective,
    best: Best,
    mix: np.ndarray,
    home: np.ndarray,
    noise: float | None,
    opinions: tuple[Opinion, ...],
) -> Verdict:
    """The card of a mix, its warnings and sentences still to be written."""
    sources, runs = objective.sources, objective.fits[0].weights
    mixes = int(groups_of(runs).max()) + 1
    over_natural = gain(objective, mix, home)
    best_run = runs[objective.observed.argmin()]
    cv = objective.cv()
    return Verdict(
        mixture=Mixture(name="recommended", rule="weights", weights=best.weights),
        metrics=tuple(f.metric for f in objective.fits),
        method=DEFAULT,
        predicted=_one_run(objective, mix, noise),
        natural=_one_run(objective, home, noise),
        gain=over_natural.estimate,
        p_beats_natural=over_natural.probability,
        p_beats_uniform=gain(objective, mix, np.full(len(sources), 1 / len(sources))).probability,
        p_beats_best_run=gain(objective, mix, best_run).probability,
        best_run=dict(zip(sources, best_run.tolist(), strict=True)),
        cv_spearman=cv.spearman,
        cv_mae=cv.mae,
        cv_scheme=cv.scheme,
        per_metric=_per_metric(objective, mix, home),
        indifference=best.indifference,
        distinguishable=has_skill(cv.spearman, mixes) and over_natural.estimate.lo95 > 0,
        opinions=opinions,
        noise_sd=noise,
        n_runs=len(runs),
        n_mixes=mixes,
        dropped=0,
        warnings=(),
        sentences=(),
    )


def _complete_rows(table: pd.DataFrame, metrics: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """The runs that have every metric, and how many do not."""
    if isinstance(metrics, str) or not metrics:
        raise ConfigError(f"metrics must be a list with at least one name, not {metrics!r}.")
    for metric in metrics:
        if metric not in table.columns:
            known = [str(c) for c in table.columns if not str(c).startswith(PREFIX)]
            raise ConfigError(f"the table of runs has no metric '{metric}'.{nearest(metric, known)}")
    columns = [*metrics, *(PREFIX + s for s in sources_of(table))]
    kept = table.loc[np.isfinite(table[columns].to_numpy(float)).all(1)]
    return kept, len(table) - len(kept)


def _reach(seen: np.ndarray, caps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Floors and caps that keep a recommendation near the runs (n, m), where the fit has something to go by.

    A source that no run left out may hide a cliff at zero. If the caps leave no room for this, they alone count.
    """
    low, high = np.minimum(seen.min(0) / 2, caps), np.minimum(seen.max(0) + REACH, caps)
    return (low, high) if high.sum() >= 1 else (np.zeros_like(low), caps)


def _one_run(objective: Objective, mix: np.ndarray, noise: float | None) -> Estimate:
    """The objective of one run: conformal widths, never narrower than the known noise."""
    mean, sd = objective.raw(mix[None])
    floors = {level: student.ppf((1 + level) / 2, 1e6) * (noise or 0.0) for level in LEVELS}
    half = {level: max(objective.calibration.widths[level] * sd[0], floors[level]) for level in LEVELS}
    return around(float(mean[0]), float(half[0.8]), float(half[0.95]))


def _per_metric(objective: Objective, mix: np.ndarray, home: np.ndarray) -> tuple[MetricVerdict, ...]:
    result = []
    for f in objective.fits:
        both = np.vstack([mix, home])
        mean, _ = f.predict(both)
        half80, half95 = (f.interval(both, level)[1] - mean for level in (0.8, 0.95))
        mine, natural = (around(float(mean[i]), float(half80[i]), float(half95[i])) for i in (0, 1))
        cv = f.cv()
        result.append(
            MetricVerdict(metric=f.metric, recommended=mine, natural=natural, cv_spearman=cv.spearman, cv_mae=cv.mae)
        )
    return tuple(result)


def _opinion(
    kept: pd.DataFrame,
    metrics: Sequence[str],
    method: str,
    mix: np.ndarray,
    home: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    seed: int,
) -> Opinion:
    other = objective_of([fit(kept, metric, method) for metric in metrics])
    chosen, _ = minimiser(other, low, high, seed=seed, samples=OPINION_SAMPLES)
    losses = other.raw(rows_of_weights(np.vstack([mix, home]), other.sources))[0]
    weights = dict(zip(other.sources, chosen.tolist(), strict=True))
    return Opinion(
        method=method, gain=float(losses[1] - losses[0]), weights=weights, distance=float(np.abs(chosen - mix).sum())
    )


def _warnings(
    objective: Objective, mix: np.ndarray, caps: np.ndarray, mixes: int, opinions: Sequence[Opinion], dropped: int
) -> tuple[str, ...]:
    """What weakens the advice, worst first."""
    sources, seen = objective.sources, objective.fits[0].weights
    found = []
    if mixes < ADVISED_RUNS * len(sources):
        found.append(
            f"Few runs: {mixes} mixes for {len(sources)} sources; {ADVISED_RUNS * len(sources)} are advised. "
            "Intervals are wide and may still be too narrow."
        )
    for i, s in enumerate(sources):
        low, high = seen[:, i].min(), seen[:, i].max()
        if not low - OUTSIDE <= mix[i] <= high + OUTSIDE:
            found.append(f"Outside the data: {s} at {mix[i]:.1%}, but the runs cover {low:.1%} to {high:.1%}.")
        if mix[i] > caps[i] - AT_LIMIT and caps[i] < 1:
            found.append(f"{s} is at its cap of {caps[i]:.1%}: more of it might help.")
    found += [
        f"The {o.method} fit disagrees: it expects a gain of {o.gain:+.4f} from this mix, that is a loss."
        for o in opinions
        if o.gain < 0
    ]
    if dropped:
        found.append(f"{dropped} run{'s' if dropped > 1 else ''} without a value for every metric left out.")
    return tuple(found)
