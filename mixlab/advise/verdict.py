"""The verdict on a sweep: which mix to train, what it should gain over the natural mix, and whether that beats noise.

Says "not distinguishable" unless two things hold: left-out mixes are ranked better than chance, and the 95 % interval
of the gain over natural lies above zero. After training, `realised` puts the measured gain beside the predicted one.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import t as student

from mixlab.advise.card import Estimate, MetricVerdict, Opinion, Verdict, realised, sentences
from mixlab.advise.fits import DEFAULT, PREFIX, fit, rows_of_weights, sources_of
from mixlab.advise.gain import around, gain, has_skill, noise_of_repeats
from mixlab.advise.objective import Objective, aligned, objective_of
from mixlab.advise.optimise import AT_LIMIT, Best, best_mix, minimiser
from mixlab.advise.region import Limits, Region, region_of
from mixlab.advise.target import Target
from mixlab.advise.validation import LEVELS, groups_of
from mixlab.errors import ConfigError, PlanError, nearest
from mixlab.types import Mixture

__all__ = ["Verdict", "Wish", "realised", "recommend"]

SECOND_OPINIONS = ("gp", "log-linear")
OPINION_SAMPLES = 2000
REACH = 0.1  # weight above the largest one seen that a recommendation may have; below: half the smallest one seen
ADVISED_RUNS = 4  # distinct mixes per source
OUTSIDE = 0.01  # weight beyond the sampled range that is worth a warning


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a recommendation is asked to do; the defaults ask for the least mean of the metrics."""

    limits: Limits = field(default_factory=Limits)
    importance: Mapping[str, float] = field(default_factory=dict[str, float])
    """Metric -> what it counts, default 1."""
    ceilings: Mapping[str, float] = field(default_factory=dict[str, float])
    """Metric -> value its prediction may not pass."""
    higher_is_better: tuple[str, ...] = ()
    standardise: bool = False
    """Divide each metric by its sd between runs."""
    kappa: float = 0.0
    """Sds added to the predicted loss: caution."""
    lam: float = 0.0
    """Pull towards the natural mix, per nat of KL."""
    target: Target | None = None
    """The run it is for: its epochs are caps, its price is told."""


def recommend(
    table: pd.DataFrame,
    metrics: Sequence[str],
    natural: Mapping[str, float],
    wish: Wish | None = None,
    *,
    seed: int = 0,
    noise_sd: float | None = None,
    widen: float = 1.0,
) -> Verdict:
    """The mix with the lowest predicted mean of `metrics`, and how sure that is.

    Kept near the sampled mixes: from half the smallest share seen of a source to a tenth above its largest.
    `table`: a row a run, columns `w_<source>` and the metrics. `natural`: weights to compare with. `noise_sd`: sd of
    the objective between seeds, unit of the metrics. `widen`: what earlier outcomes say intervals must be multiplied
    by. ConfigError: what is missing from the table; PlanError: limits that leave no mixture.
    """
    asked = wish or Wish()
    home = aligned(natural, sources_of(table), "natural")
    kept, dropped = _complete_rows(table, metrics)
    objective = _fitted(kept, metrics, DEFAULT, asked)
    region, caps = reachable(objective, asked)
    best = best_mix(
        objective, region, prior=natural, kappa=asked.kappa, lam=asked.lam, ceilings=asked.ceilings, seed=seed
    )
    mix = np.array([best.weights[s] for s in objective.sources])
    opinions = tuple(
        _opinion(_fitted(kept, metrics, method, asked), method, mix, home, region, seed) for method in SECOND_OPINIONS
    )
    noise = noise_sd if noise_sd is not None else noise_of_repeats(objective)
    names = [str(name) for name in (kept["run_id"] if "run_id" in kept else range(len(kept)))]
    card = _card(objective, best, mix, home, noise, opinions, asked.target, widen, names)
    warnings = _warnings(objective, mix, caps, card, dropped)
    return dataclasses.replace(card, dropped=dropped, warnings=warnings, sentences=sentences(card))


def _fitted(kept: pd.DataFrame, metrics: Sequence[str], method: str, asked: Wish) -> Objective:
    fits = [fit(kept, m, method, higher_is_better=m in asked.higher_is_better) for m in metrics]
    return objective_of(fits, asked.importance, standardise=asked.standardise)


def reachable(objective: Objective, asked: Wish) -> tuple[Region, np.ndarray]:
    """Where a recommended mix may lie, near the runs, and the caps (m,) that were asked for.

    If those leave no room near the runs, they alone count.
    """
    sources, limits = objective.sources, asked.limits
    epochs = asked.target.caps() if asked.target else {}
    caps = {s: min(limits.caps.get(s, 1.0), epochs.get(s, 1.0)) for s in sources}
    limits = dataclasses.replace(limits, caps={**limits.caps, **caps})
    wide = region_of(sources, limits)
    high_allowed = np.array([caps[s] for s in sources])
    low, high = _reach(objective.fits[0].weights, high_allowed)
    floors = {s: max(limits.floors.get(s, 0.0), x) for s, x in zip(sources, low.tolist(), strict=True)}
    near = {s: max(x, floors[s]) for s, x in zip(sources, high.tolist(), strict=True)}
    try:
        return region_of(sources, dataclasses.replace(limits, floors=floors, caps=near)), high_allowed
    except PlanError:
        return wide, high_allowed


def _card(
    objective: Objective,
    best: Best,
    mix: np.ndarray,
    home: np.ndarray,
    noise: float | None,
    opinions: tuple[Opinion, ...],
    target: Target | None,
    widen: float,
    names: Sequence[str],
) -> Verdict:
    """The card of a mix, its warnings and sentences still to be written."""
    sources, runs = objective.sources, objective.fits[0].weights
    mixes = int(groups_of(runs).max()) + 1
    over_natural = gain(objective, mix, home, widen)
    best_run = runs[objective.observed.argmin()]
    cv = objective.cv()
    rival = None if target is None else aligned(target.unimax(), sources, "UniMax")
    hours, dollars = (None, None) if target is None else target.price()
    return Verdict(
        mixture=Mixture(name="recommended", rule="weights", weights=best.weights),
        metrics=tuple(f.metric for f in objective.fits),
        factors=objective.factors,
        method=DEFAULT,
        predicted=_one_run(objective, mix, noise),
        natural=_one_run(objective, home, noise),
        gain=over_natural.estimate,
        p_beats_natural=over_natural.probability,
        p_beats_uniform=gain(objective, mix, np.full(len(sources), 1 / len(sources)), widen).probability,
        p_beats_unimax=None if rival is None else gain(objective, mix, rival, widen).probability,
        p_beats_best_run=gain(objective, mix, best_run, widen).probability,
        best_run=dict(zip(sources, best_run.tolist(), strict=True)),
        cv_spearman=cv.spearman,
        cv_mae=cv.mae,
        cv_r2=cv.q2,
        cv_scheme=cv.scheme,
        cv_predicted=dict(zip(names, cv.predicted.tolist(), strict=True)),
        per_metric=_per_metric(objective, mix, home),
        indifference=best.indifference,
        shadow_prices=best.shadow_prices,
        epochs=None if target is None else target.epochs(best.weights),
        hours=hours,
        dollars=dollars,
        distinguishable=has_skill(cv.spearman, mixes) and over_natural.estimate.lo95 > 0,
        opinions=opinions,
        noise_sd=noise,
        widened=widen,
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
    is_whole: np.ndarray = np.all(np.isfinite(table[columns].to_numpy(float)), axis=1)
    kept = table.loc[is_whole]
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
    result = list[MetricVerdict]()
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


def _opinion(other: Objective, method: str, mix: np.ndarray, home: np.ndarray, region: Region, seed: int) -> Opinion:
    chosen, _ = minimiser(other, region, seed=seed, samples=OPINION_SAMPLES)
    losses = other.raw(rows_of_weights(np.vstack([mix, home]), other.sources))[0]
    weights = dict(zip(other.sources, chosen.tolist(), strict=True))
    return Opinion(
        method=method, gain=float(losses[1] - losses[0]), weights=weights, distance=float(np.abs(chosen - mix).sum())
    )


def _warnings(objective: Objective, mix: np.ndarray, caps: np.ndarray, card: Verdict, dropped: int) -> tuple[str, ...]:
    """What weakens the advice, worst first."""
    sources, seen, mixes = objective.sources, objective.fits[0].weights, card.n_mixes
    found = list[str]()
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
            worth = card.shadow_prices.get(s)
            more = f"one point more would save about {worth:.4f}" if worth else "more of it might help"
            found.append(f"{s} is at its cap of {caps[i]:.1%}: {more}.")
    found += [
        f"The {o.method} fit disagrees: it expects a gain of {o.gain:+.4f} from this mix, that is a loss."
        for o in card.opinions
        if o.gain < 0
    ]
    if dropped:
        found.append(f"{dropped} run{'s' if dropped > 1 else ''} without a value for every metric left out.")
    return tuple(found)
