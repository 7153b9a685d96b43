"""Mixture + budget + corpora -> exact draws and the order of every sequence; says what is impossible and what is.

Reads and writes nothing. Order: Tijdeman's chairman assignment (Discrete Math. 32, 1980): at every prefix of n
sequences each source has been drawn within one sequence of weight x n. It depends on the weights alone, so a longer
plan begins with the shorter one, and neither shards, workers nor the order of the sources can change it.
"""

import math
from collections.abc import Mapping

import numpy as np
from numba import njit

from mixlab.errors import PlanError
from mixlab.mix.mixture import resolve
from mixlab.mix.simplex import apportion
from mixlab.types import Corpus, Draw, Mixture, Plan, TrainSpec

UNITS = 2**40  # weights as integers: exact arithmetic; rounding shifts no prefix by a sequence before 5e11 of them
EXACT_STEPS = 10**8  # sequences x sources counted one by one, up to 0.6 s; 5 M sequences of 20 sources


def plan_draws(mixture: Mixture, corpora: Mapping[str, Corpus], train: TrainSpec, seq_len: int) -> Plan:
    """What is drawn from each source, exactly, sources by name.

    The budget is rounded down to whole batches, a corpus to whole sequences. Counts are those of `order(plan)`; beyond
    EXACT_STEPS they come by largest remainder, within one sequence of the weight too. A mixture that is still a rule is
    resolved on the whole sequences there are. Raises ConfigError for wrong weights,
    PlanError if a source is too small or would be repeated more than `train.max_epochs` times (one sequence of grace).
    """
    mixture = resolve(mixture, {s: c.tokens // seq_len * seq_len for s, c in corpora.items()}, train.tokens)
    batch = max(1, train.batch_tokens // seq_len)
    sequences = train.tokens // (batch * seq_len) * batch
    if not sequences:
        raise PlanError(
            f"train.tokens is {train.tokens:,}, less than one batch of {batch} x {seq_len} = {batch * seq_len:,}. "
            "Raise train.tokens or lower train.batch_tokens."
        )
    counts = _counts(list(mixture.weights.values()), sequences)
    draws = [_draw(mixture, corpora[s], int(n), seq_len) for s, n in zip(mixture.weights, counts.tolist(), strict=True)]
    plan = Plan(mixture=mixture, tokens=sequences * seq_len, seq_len=seq_len, sequences=sequences, draws=tuple(draws))
    _refuse_repeats(plan, corpora, train.max_epochs)
    return plan


def order(plan: Plan) -> np.ndarray:
    """Which source each sequence comes from, as an index into `plan.draws`; int16 (plan.sequences,).

    >>> draws = [Draw(source=s, weight=w, sequences=0, tokens=0, available=0, epochs=0, licence="") for s, w in
    ...          [("code", 0.25), ("wiki", 0.75)]]
    >>> order(Plan(mixture=Mixture(), tokens=0, seq_len=1, sequences=8, draws=tuple(draws))).tolist()
    [1, 0, 1, 1, 1, 0, 1, 1]
    """
    places, units = _units([d.weight for d in plan.draws])
    turns = np.empty(plan.sequences, np.int16)
    _chairmen(units, plan.sequences, turns)
    return places[turns]


def _draw(mixture: Mixture, corpus: Corpus, sequences: int, seq_len: int) -> Draw:
    """One source's line of the plan; PlanError if it is wanted but has not even one sequence."""
    weight, available = mixture.weights[corpus.source], corpus.tokens // seq_len
    if weight > 0 and not available:
        raise PlanError(
            f"mixture '{mixture.name}' wants {weight:.3g} of its tokens from '{corpus.source}', which has "
            f"{corpus.tokens:,} tokens: less than one sequence of {seq_len:,}. Set its weight to 0, loosen "
            f"what drops its documents, or lower model.max_seq_len."
        )
    return Draw(
        source=corpus.source,
        weight=weight,
        sequences=sequences,
        tokens=sequences * seq_len,
        available=available * seq_len,
        epochs=sequences / available if available else 0.0,
        licence=corpus.licence,
    )


def _refuse_repeats(plan: Plan, corpora: Mapping[str, Corpus], limit: float) -> None:
    """PlanError if a source would be seen more than `limit` times: what is possible, who is to blame, both ways out."""
    over = [d for d in plan.draws if d.tokens > limit * corpora[d.source].tokens + plan.seq_len]
    if not over:
        return
    most = math.floor(limit * sum(c.tokens for c in corpora.values()))
    worst = max(over, key=lambda d: d.epochs)
    have = corpora[worst.source].tokens
    others = ", ".join(f"'{d.source}' ({d.epochs:.1f})" for d in over if d is not worst)
    wants = (
        f"mixture '{plan.mixture.name}' wants {worst.tokens:,} tokens of '{worst.source}', which has {have:,} "
        f"({worst.tokens / have:.1f} epochs, limit {limit:g}).{f' Too often, too: {others}.' if others else ''}"
    )
    if most < plan.tokens:
        raise PlanError(
            f"{wants} No weights can help: all sources together give {most:,} of {plan.tokens:,} tokens. "
            f"Lower train.tokens to {most:,} or raise train.max_epochs."
        )
    # both rounded so that the advice works
    best, enough = math.floor(limit * have / plan.tokens * 1e6) / 1e6, math.ceil(worst.epochs * 10) / 10
    raise PlanError(f"{wants} Lower its weight to {best:.6g} or raise train.max_epochs to {enough:.1f}.")


def _counts(weights: list[float], sequences: int) -> np.ndarray:
    """Sequences per source after `sequences` of them; int64, sums to `sequences`."""
    places, units = _units(weights)
    if sequences * len(units) > EXACT_STEPS:
        return apportion(weights, sequences)
    counts = np.zeros(len(weights), np.int64)
    counts[places] = _chairmen(units, sequences, np.empty(0, np.int16))
    return counts


def _units(weights: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Places of the sources that are drawn at all (int16), and their weights as integers that sum to UNITS."""
    assert len(weights) < 2**15, "source indices are 16-bit"
    units = apportion(weights, UNITS)
    places = np.flatnonzero(units)
    return places.astype(np.int16), units[places]


@njit(cache=True, nogil=True)
def _chairmen(units: np.ndarray, n: int, turns: np.ndarray) -> np.ndarray:
    """Counts after `n` turns; fills `turns` if it has room. Tijdeman: of those that lag enough, who must act first.

    `lag` = weight x turns - drawn, in 1/UNITS. Who lags by 1/(2m - 2) may be drawn; drawn is who would first reach the
    bound 1 - 1/(2m - 2). Ties go to the first.
    """
    m = len(units)
    lag, counts = np.zeros(m, np.int64), np.zeros(m, np.int64)
    least = UNITS // max(2, 2 * m - 2)
    for t in range(n):
        chosen, soonest = -1, np.inf
        for i in range(m):
            lag[i] += units[i]
            if lag[i] >= least:
                due = (UNITS - least - lag[i]) / units[i]
                if due < soonest:
                    chosen, soonest = i, due
        lag[chosen] -= UNITS
        counts[chosen] += 1
        if t < len(turns):
            turns[t] = chosen
    return counts
