"""Mixture + budget + corpora -> exact draws, phase by phase; says what is impossible and what is.

Reads and writes nothing. The order of the sequences is that of mix/order.py: a longer plan of one phase begins with the
shorter one (so does one of several phases if they say `begins_at`), and phases of one sequence length share one
account, so that every prefix of the run is exact.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mixlab.errors import ConfigError, PlanError
from mixlab.mix import order as orders
from mixlab.mix.mixture import resolve
from mixlab.mix.repetition import doubts, meant, refuse_crumbs, refuse_thin, visible
from mixlab.types import Corpus, Draw, Mixture, Phase, Plan, PlanPhase, TrainSpec

FIRST = "main"
"""Name of the phase that comes before those of RunSpec.phases."""


def plan_draws(
    mixture: Mixture,
    corpora: Mapping[str, Corpus],
    train: TrainSpec,
    seq_len: int,
    phases: Sequence[Phase] = (),
) -> Plan:
    """What is drawn from each source, exactly, sources by name.

    The budget is rounded down to whole batches, a corpus to whole sequences, a phase to the nearest batch. Counts are
    those of `order(plan)`; for more than order.EXACT_STEPS they come by largest remainder, within one sequence of the
    weight too. A mixture that is still a rule is resolved on the whole sequences there are. Raises ConfigError for
    wrong weights or phases, PlanError if a source is too small or would be repeated more than `train.max_epochs` times
    (one sequence of grace).
    """
    sizes, sought = visible(corpora, train), meant(corpora, train)
    mixture, phases = _resolve(mixture, phases, {s: n // seq_len * seq_len for s, n in sought.items()}, train.tokens)
    parts = _parts(mixture, phases, train, seq_len)
    planned = tuple(_phase(*part, counts, corpora, sizes) for part, counts in _counted(parts))
    draws = tuple(_sum([p.draws[i] for p in planned], planned) for i in range(len(mixture.weights)))
    for phase in planned:
        for draw in phase.draws:
            refuse_crumbs(draw, corpora[draw.source], train, phase.seq_len)
            _refuse_nothing(phase.mixture, draw, sizes[draw.source], phase.seq_len)
    for draw in draws:
        refuse_thin(draw, corpora[draw.source], train)
    plan = Plan(
        key=_key(planned),
        mixture=mixture,
        tokens=sum(p.tokens for p in planned),
        seq_len=seq_len,
        sequences=sum(p.sequences for p in planned),
        draws=draws,
        phases=planned,
        warnings=doubts(draws, train, seq_len),
    )
    _refuse_repeats(plan, sizes, train.max_epochs)
    return plan


def resolved(
    mixture: Mixture, phases: Sequence[Phase], corpora: Mapping[str, Corpus], train: TrainSpec
) -> tuple[Mixture, tuple[Phase, ...]]:
    """The mixture and the phases as numbers: rules follow from the tokens that the run may see."""
    return _resolve(mixture, phases, meant(corpora, train), train.tokens)


def order(plan: Plan) -> np.ndarray:
    """Which source each sequence comes from, as an index into `plan.draws`; int16 (plan.sequences,)."""
    parts = list[np.ndarray]()
    for group in _joint(plan.phases):
        weights = [[d.weight for d in p.draws] for p in group]
        parts.append(orders.turns(weights, [p.sequences for p in group]))
    return np.concatenate(parts)


def _resolve(
    mixture: Mixture, phases: Sequence[Phase], sizes: Mapping[str, int], tokens: int
) -> tuple[Mixture, tuple[Phase, ...]]:
    """Rules as numbers; each phase's rule for its own part of the budget."""
    begins = [*_begins(phases, tokens), 1.0]
    spans = [round((end - begin) * tokens) for begin, end in itertools.pairwise(begins)]
    first = resolve(mixture, sizes, round(begins[0] * tokens))
    later = [(p, p.mixture and resolve(p.mixture, sizes, n)) for p, n in zip(phases, spans, strict=True)]
    return first, tuple(replace(p, mixture=m) for p, m in later)


def _begins(phases: Sequence[Phase], tokens: int) -> list[float]:
    """Where each phase begins, as a share of the run's `tokens`; ConfigError for borders that cannot be meant."""
    for p in phases:
        if (p.share is None) == (p.begins_at is None):
            said = "both" if p.share is not None else "neither of"
            raise ConfigError(f"phase '{p.name}' has {said} share and begins_at. Give it one of them.")
    shares = [p.share for p in phases if p.share is not None]
    if shares and len(shares) < len(phases):
        raise ConfigError("phases: some say share and some begins_at. Give all of them the same.")
    if not shares:
        at = [0, *(p.begins_at or 0 for p in phases), tokens]
        if any(b <= a for a, b in itertools.pairwise(at)):
            told = ", ".join(f"{p.name} at {p.begins_at:,}" for p in phases)
            raise ConfigError(
                f"phases: each has to begin after the one before and within the run of {tokens:,} tokens, but they "
                f"begin so: {told}. Move begins_at, leave the phase out, or raise train.tokens."
            )
        return [n / tokens for n in at[1:-1]]
    left = 1 - math.fsum(shares)
    if not (left > 1e-9 and min(shares) > 0):
        told = ", ".join(f"{p.name} {p.share:g}" for p in phases)
        raise ConfigError(
            f"phases: their shares ({told}) have to be above 0 and leave some tokens to the run's own mixture, but "
            f"sum to {1 - left:g}. Lower them below 1 in all."
        )
    return list(itertools.accumulate([left, *shares[:-1]]))


def _parts(
    mixture: Mixture, phases: Sequence[Phase], train: TrainSpec, seq_len: int
) -> list[tuple[str, Mixture, int, int]]:
    """(name, mixture, sequence length, sequences) of every phase, borders at whole batches."""
    batch = max(1, train.batch_tokens // seq_len)
    step = batch * seq_len
    steps = train.tokens // step
    if not steps:
        raise PlanError(
            f"train.tokens is {train.tokens:,}, less than one batch of {batch} x {seq_len} = {step:,}. "
            "Raise train.tokens or lower train.batch_tokens."
        )
    some = [Phase(name=FIRST, mixture=mixture), *phases]
    begins, at = _begins(phases, train.tokens), [p.begins_at for p in phases]
    ends = [round(steps * b) if n is None else round(n / step) for b, n in zip(begins, at, strict=True)]
    ends.append(steps)
    parts = list[tuple[str, Mixture, int, int]]()
    for phase, begin, end in zip(some, [0, *ends], ends, strict=False):
        long = phase.seq_len or seq_len
        if long < 1 or step % long:
            raise PlanError(
                f"phase '{phase.name}' has sequences of {long:,} tokens, of which a batch of {step:,} holds no whole "
                f"number. Choose a divisor of {step:,}, or another train.batch_tokens."
            )
        if end <= begin:
            raise PlanError(
                f"phase '{phase.name}' gets none of the {steps} batches, from {begin} to {end}. Give it a larger part "
                "of train.tokens, raise those, or lower train.batch_tokens."
            )
        parts.append((phase.name, phase.mixture or mixture, long, (end - begin) * step // long))
    return parts


def _counted(
    parts: Sequence[tuple[str, Mixture, int, int]],
) -> Iterator[tuple[tuple[str, Mixture, int, int], list[int]]]:
    """Every part with its sequences by source."""
    for _, group in itertools.groupby(parts, key=lambda p: p[2]):
        some = list(group)
        found = orders.counts([list(p[1].weights.values()) for p in some], [p[3] for p in some])
        yield from zip(some, found.tolist(), strict=True)


def _joint(phases: Sequence[PlanPhase]) -> list[list[PlanPhase]]:
    """Neighbouring phases of one sequence length: they share one account."""
    return [list(group) for _, group in itertools.groupby(phases, key=lambda p: p.seq_len)]


def _phase(
    name: str,
    mixture: Mixture,
    seq_len: int,
    sequences: int,
    counts: Sequence[int],
    corpora: Mapping[str, Corpus],
    sizes: Mapping[str, int],
) -> PlanPhase:
    """One phase and its line for each source."""
    draws = list[Draw]()
    for (source, weight), n in zip(mixture.weights.items(), counts, strict=True):
        available = sizes[source] // seq_len
        draws.append(
            Draw(
                source=source,
                weight=weight,
                sequences=n,
                tokens=n * seq_len,
                available=available * seq_len,
                epochs=n / available if available else 0.0,
                epochs_max=-(-n // available) if available else 0,
                licence=corpora[source].licence,
                corpus=corpora[source].key,
            )
        )
    return PlanPhase(
        name=name,
        mixture=mixture,
        tokens=sequences * seq_len,
        seq_len=seq_len,
        sequences=sequences,
        draws=tuple(draws),
    )


def _sum(draws: Sequence[Draw], phases: Sequence[PlanPhase]) -> Draw:
    """One source's line over all phases. Each sequence length goes through the source on its own."""
    first, total = draws[0], sum(p.tokens for p in phases)
    by_length: dict[int, int] = {}
    for draw, phase in zip(draws, phases, strict=True):
        by_length[phase.seq_len] = by_length.get(phase.seq_len, 0) + draw.sequences
    rounds = {p.seq_len: d.available // p.seq_len for d, p in zip(draws, phases, strict=True)}
    weight = math.fsum(d.weight * p.tokens for d, p in zip(draws, phases, strict=True)) / total
    return Draw(
        source=first.source,
        weight=first.weight if len(phases) == 1 else weight,
        sequences=sum(d.sequences for d in draws),
        tokens=sum(d.tokens for d in draws),
        available=first.available,
        epochs=math.fsum(n / rounds[t] for t, n in by_length.items() if rounds[t]),
        epochs_max=sum(-(-n // rounds[t]) for t, n in by_length.items() if rounds[t]),
        licence=first.licence,
        corpus=first.corpus,
    )


def _key(phases: Sequence[PlanPhase]) -> str:
    """16 hex digits over all that decides the order: lengths, and whole weights and corpora of what is drawn."""
    told = list[Any]()
    for p in phases:
        units = orders.whole([d.weight for d in p.draws]).tolist()
        drawn = [(d.source, u, d.corpus, d.available) for d, u in zip(p.draws, units, strict=True) if u]
        told.append((p.seq_len, p.sequences, drawn))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _refuse_nothing(mixture: Mixture, draw: Draw, have: int, seq_len: int) -> None:
    """PlanError if a source is wanted but has not even one sequence."""
    if draw.weight > 0 and not draw.available:
        raise PlanError(
            f"mixture '{mixture.name}' wants {draw.weight:.3g} of its tokens from '{draw.source}', which has "
            f"{have:,} tokens: less than one sequence of {seq_len:,}. Set its weight to 0, loosen "
            f"what drops its documents, or lower model.max_seq_len."
        )


def _refuse_repeats(plan: Plan, sizes: Mapping[str, int], limit: float) -> None:
    """PlanError if a source would be seen more than `limit` times: what is possible, who is to blame, the ways out."""
    grace = max(p.seq_len for p in plan.phases)
    over = [d for d in plan.draws if d.tokens > limit * sizes[d.source] + grace]
    if not over:
        return
    most = math.floor(limit * sum(sizes.values()))
    worst = max(over, key=lambda d: d.epochs)
    have = sizes[worst.source]
    others = ", ".join(f"'{d.source}' ({d.epochs:.1f})" for d in over if d is not worst)
    wants = (
        f"mixture '{plan.mixture.name}' wants {worst.tokens:,} tokens of '{worst.source}', which has {have:,} "
        f"({worst.tokens / have:.1f} epochs, limit {limit:g}).{f' Too often, too: {others}.' if others else ''}"
    )
    if most < plan.tokens:
        raise PlanError(
            f"{wants} No weights can help: all sources together give {most:,} of {plan.tokens:,} tokens. "
            f"Lower train.tokens to {most:_} or raise train.max_epochs."
        )
    # all rounded so that the advice works
    best, enough = math.floor(limit * have / plan.tokens * 1e6) / 1e6, math.ceil(worst.epochs * 10) / 10
    less = math.floor(limit * have * plan.tokens / worst.tokens)
    over_all = f" over all {len(plan.phases)} phases" if len(plan.phases) > 1 else ""
    raise PlanError(
        f"{wants} Lower its weight{over_all} to {best:.6g}, or train.tokens to {less:_}, or raise train.max_epochs to "
        f"{enough:.1f}."
    )
