"""The verdict card: its fields, its JSON, its plain sentences, and the line that compares a measured gain with it."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from mixlab.advise.target import priced
from mixlab.errors import ConfigError
from mixlab.types import Mixture

SEEDS_BEHIND_NOISE = 3  # a known noise_sd counts as measured on this many seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number with its 80 and 95 % intervals."""

    mean: float
    lo80: float
    hi80: float
    lo95: float
    hi95: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricVerdict:
    """One metric at the recommended and at the natural mix, and how well its own fit predicts left-out mixes."""

    metric: str
    recommended: Estimate
    natural: Estimate
    cv_spearman: float
    cv_mae: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Opinion:
    """What another method thinks of the recommended mix."""

    method: str
    gain: float
    """Predicted gain of the recommended mix over natural."""
    weights: dict[str, float]
    """The mix this method would choose."""
    distance: float
    """Sum of absolute differences between that mix and the recommended one, 0..2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The card. Losses are the weighted sum of `metrics` (lower is better); gains are natural minus mix."""

    mixture: Mixture
    metrics: tuple[str, ...]
    factors: tuple[float, ...]
    """What each metric counts in the loss; all alike for a plain mean."""
    method: str
    predicted: Estimate
    """Of one run of the recommended mix, its noise included."""
    natural: Estimate
    """Of one run of the natural mix, its noise included."""
    gain: Estimate
    """Of the recommended mix over natural, averaged over seeds: the noise of single runs is not in it."""
    p_beats_natural: float
    p_beats_uniform: float
    p_beats_unimax: float | None
    """Against UniMax under the same epochs; None without a target run."""
    p_beats_best_run: float
    """Against the mix of the run with the lowest observed loss."""
    best_run: dict[str, float]
    """Weights of that run."""
    cv_spearman: float
    """Rank correlation of left-out predictions with the observed objective."""
    cv_mae: float
    """Mean absolute error of left-out predictions."""
    cv_r2: float
    """Share of the variance that left-out predictions explain; 0 is no better than the mean of the runs."""
    cv_scheme: str
    cv_predicted: dict[str, float]
    """Run (its number in the table, where that names none) -> objective foretold by fits that saw neither it nor its
    mix."""
    per_metric: tuple[MetricVerdict, ...]
    indifference: dict[str, tuple[float, float]]
    """Source -> weights that are equally good, all within one sd of the difference to the best."""
    shadow_prices: dict[str, float]
    """Source at its cap -> loss that one point (0.01) more room there would save."""
    epochs: dict[str, float] | None
    """Passes over each source in the target run; its hours on one device, and dollars. None without a target."""
    hours: float | None
    dollars: float | None
    distinguishable: bool
    """True if the recommended mix is predicted to beat natural beyond doubt."""
    opinions: tuple[Opinion, ...]
    noise_sd: float | None
    """Of the objective between seeds of one mix: given, or from repeated mixes; None if neither."""
    widened: float
    """What the ledger of earlier outcomes multiplied the sds of gains by; 1 without one."""
    n_runs: int
    n_mixes: int
    dropped: int
    """Runs without a value for every metric."""
    warnings: tuple[str, ...]
    sentences: tuple[str, ...]

    def to_json(self) -> str:
        """The card as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)


def sentences(v: Verdict) -> tuple[str, ...]:
    """The card in plain words, the main thing first."""
    mix = ", ".join(f"{s} {w:.1%}" for s, w in sorted(v.mixture.weights.items(), key=lambda item: -item[1]))
    equal = "; ".join(f"{s} {lo:.0%} to {hi:.0%}" for s, (lo, hi) in sorted(v.indifference.items()))
    said = [
        _headline(v),
        f"Recommended: {mix}.",
        f"Predicted {_measured(v)}: {v.predicted.mean:.4f} "
        f"(80 % of runs between {v.predicted.lo80:.4f} and {v.predicted.hi80:.4f}); natural {v.natural.mean:.4f}.",
        f"P(beats natural) {v.p_beats_natural:.2f}, P(beats uniform) {v.p_beats_uniform:.2f}, "
        + ("" if v.p_beats_unimax is None else f"P(beats UniMax) {v.p_beats_unimax:.2f}, ")
        + f"P(beats the mix of the best run so far) {v.p_beats_best_run:.2f}.",
        f"On mixes the fit had not seen ({v.cv_scheme}): rank correlation {v.cv_spearman:.2f}, "
        f"mean error {v.cv_mae:.4f}.",
        f"Equally good within the error: {equal}.",
        "Other fits of the same runs: "
        + "; ".join(
            f"{o.method} expects {o.gain:+.4f} and would move {o.distance / 2:.0%} of the tokens" for o in v.opinions
        )
        + ".",
    ]
    if v.epochs is not None and v.hours is not None and v.dollars is not None:
        passes = ", ".join(f"{s} {e:.2f}" for s, e in sorted(v.epochs.items(), key=lambda item: -item[1]))
        said.append(
            f"Epochs in the target run: {passes}; it takes about {v.hours:,.2f} device hours, {priced(v.dollars)}."
        )
    if v.widened != 1:
        said.append(f"Intervals of gains are {v.widened:.2f} times as wide as this fit's own: earlier outcomes say so.")
    pairs = _pairs_to_see(v)
    if pairs is not None:
        said.append(pairs)
    return tuple(said)


def _measured(v: Verdict) -> str:
    """What the loss is: which metrics, how they count, and their unit where it is not their own."""
    names = " + ".join(v.metrics) + (", averaged" if len(v.metrics) > 1 else "")
    if abs(sum(v.factors) - 1) > 1e-9:
        return f"{names}, each in sds between the runs"
    is_plain = max(v.factors) - min(v.factors) < 1e-9
    return names if is_plain else f"{names} {':'.join(f'{100 * c:.0f}' for c in v.factors)}"


def _headline(v: Verdict) -> str:
    gain = f"{v.gain.mean:+.4f} (95 %: {v.gain.lo95:+.4f} to {v.gain.hi95:+.4f})"
    if v.distinguishable:
        return f"The recommended mix is predicted to beat natural: gain {gain}, from {v.n_runs} runs."
    if v.gain.lo95 > 0:
        why = f"the fit does not rank unseen mixes better than chance (rank correlation {v.cv_spearman:.2f})"
    else:
        why = "the interval of the gain includes zero"
    return (
        f"The recommended mix and natural are not distinguishable from these {v.n_runs} runs: gain {gain}, but {why}."
    )


def _pairs_to_see(v: Verdict) -> str | None:
    """How many seed pairs would show the predicted gain, where the noise is known and one pair would not."""
    if not v.noise_sd or v.gain.mean <= 0 or not v.distinguishable:
        return None
    pairs = next((n for n in range(1, 100) if v.gain.mean > _half_width(np.full(n, v.gain.mean), v.noise_sd)), None)
    many = "more than 100" if pairs is None else f"{pairs}"
    return f"Seeds differ by {v.noise_sd:.4f} (sd): {many} seed pair{'' if pairs == 1 else 's'} would show such a gain."


def realised(verdict: Verdict, gains: Sequence[float]) -> str:
    """One sentence: do the measured gains (natural minus recommended, one per seed pair) clear the noise?

    95 % interval by Student's t; the spread of the pairs is pooled with the verdict's noise_sd where that is known.
    ConfigError: no finite gain.
    """
    g = np.asarray(gains, float)
    g = g[np.isfinite(g)]
    if not len(g):
        raise ConfigError(
            "no seed pair has both runs finished; train the recommended and the natural mix with one seed."
        )
    foretold = f"predicted {verdict.gain.mean:+.4f} (95 %: {verdict.gain.lo95:+.4f} to {verdict.gain.hi95:+.4f})"
    if len(g) == 1 and verdict.noise_sd is None:
        return (
            f"Measured gain {g[0]:+.4f} on one seed, {foretold}. One pair cannot tell gain from noise and the noise "
            "between seeds is not known: not distinguishable until a second seed is trained."
        )
    half = _half_width(g, verdict.noise_sd)
    pairs = f"{len(g)} seed pair{'s' if len(g) > 1 else ''}"
    measured = f"Measured gain {g.mean():+.4f} +- {half:.4f} (95 %, {pairs}), {foretold}"
    if g.mean() > half:
        return f"{measured}. The gain clears the noise: the recommended mix beats natural."
    if g.mean() < -half:
        return f"{measured}. The advice was wrong: natural beats the recommended mix beyond the noise."
    return f"{measured}. The gain does not clear the noise: the two mixes are not distinguishable."


def _half_width(gains: np.ndarray, noise_sd: float | None) -> float:
    """Half the 95 % interval of the mean of n pairwise gains; infinite for one pair without a known noise."""
    n = len(gains)
    known = SEEDS_BEHIND_NOISE - 1 if noise_sd is not None else 0
    freedom = n - 1 + known
    if not freedom:
        return float("inf")
    squares = ((gains - gains.mean()) ** 2).sum() + known * 2 * (noise_sd or 0.0) ** 2
    return float(student.ppf(0.975, freedom) * np.sqrt(squares / freedom / n))
