"""How much of each source a run may see, so that a small run repeats its text as a large one would.

Reads and writes nothing. A mix tuned where nothing repeats is wrong where much does (arXiv 2606.07597): the proxy's
sources are cut down by proxy budget / target budget, which makes its epochs those of the target.
"""

import math
from collections.abc import Mapping, Sequence

from mixlab.errors import ConfigError, PlanError, nearest
from mixlab.types import Corpus, Draw, TrainSpec

FEW = 20  # sequences: cutting down to whole ones may move the epochs by 1/FEW, and so little text is no sample


def visible(corpora: Mapping[str, Corpus], train: TrainSpec) -> dict[str, int]:
    """Source -> tokens that the run may see: all, or `train.unique_tokens`, or what matches `train.target_tokens`.

    They are the first ones of a corpus, whose documents lie in the order of a hash of their ids: a fair sample, and a
    larger one contains the smaller. Raises what `meant` raises.
    """
    return {s: min(n, corpora[s].tokens) for s, n in meant(corpora, train).items()}


def meant(corpora: Mapping[str, Corpus], train: TrainSpec) -> dict[str, int]:
    """Source -> tokens that a rule sees: as `visible`, also where a matched proxy would need more than the lab has.

    Raises ConfigError for an unknown source or a target that cannot be meant, PlanError for more unique tokens than
    there are.
    """
    _check_target(corpora, train)
    for source, n in train.unique_tokens.items():
        if source not in corpora:
            raise ConfigError(
                f"train.unique_tokens names '{source}', which is not a source here.{nearest(source, corpora)}"
            )
        if n > corpora[source].tokens or n < 1:
            raise PlanError(
                f"train.unique_tokens wants {n:,} tokens of '{source}', which has {corpora[source].tokens:,}: it would "
                f"repeat more than asked. Give from 1 to {corpora[source].tokens:,}, or add text to the source."
            )
    there = {s: train.target_sizes.get(s, c.tokens) for s, c in corpora.items()}
    found = {s: matched(n, train.tokens, train.target_tokens) for s, n in there.items()}
    return found | dict(train.unique_tokens)


def caps(corpora: Mapping[str, Corpus], train: TrainSpec, seq_len: int) -> dict[str, float]:
    """Source -> the largest weight that can be served; 0 where not even one sequence may be seen.

    `train.max_epochs` decides; with `train.target_tokens` its caps are those of the target, too. A source of which the
    lab has less than its match may not repeat at all.
    """
    wanted = meant(corpora, train)
    most: dict[str, float] = {}
    for source, n in visible(corpora, train).items():
        epochs = 1.0 if n < wanted[source] else train.max_epochs
        most[source] = min(1.0, epochs * (n // seq_len * seq_len) / train.tokens)
    return most


def _check_target(corpora: Mapping[str, Corpus], train: TrainSpec) -> None:
    """ConfigError for a target run that cannot be meant."""
    if train.target_tokens is None and train.target_sizes:
        raise ConfigError(
            "train.target_sizes says what a large run has, and train.target_tokens is missing: how long is that run?"
        )
    if train.target_tokens is not None and train.target_tokens < train.tokens:
        raise ConfigError(
            f"train.target_tokens={train.target_tokens:,} is less than train.tokens={train.tokens:,}: a proxy stands "
            "for a run that is at least as long. Lower train.tokens, or leave train.target_tokens out."
        )
    for source, n in train.target_sizes.items():
        if source not in corpora:
            raise ConfigError(
                f"train.target_sizes names '{source}', which is not a source here.{nearest(source, corpora)}"
            )
        if n < 1:
            raise ConfigError(f"train.target_sizes.{source} is {n:,}. Give the tokens the target has, 1 or more.")
        if source in train.unique_tokens:
            raise ConfigError(
                f"train.target_sizes and train.unique_tokens both say how much of '{source}' may be seen. Keep one."
            )


def matched(tokens: int, proxy_tokens: int, target_tokens: int | None) -> int:
    """Tokens of a source of `tokens` that a proxy may see to repeat it as the target run does.

    >>> matched(tokens=1000, proxy_tokens=50, target_tokens=500)
    100
    """
    return tokens if target_tokens is None else tokens * proxy_tokens // target_tokens


def refuse_crumbs(draw: Draw, corpus: Corpus, train: TrainSpec, seq_len: int) -> None:
    """PlanError if matching left less than one sequence of a source that is drawn: the budget that would do."""
    if train.target_tokens is None or draw.available or corpus.tokens < seq_len or not draw.weight:
        return
    there = train.target_sizes.get(draw.source, corpus.tokens)
    enough = -(-seq_len * train.target_tokens // there)
    raise PlanError(
        f"to repeat '{draw.source}' as {train.target_tokens:,} tokens would, this run of {train.tokens:,} may see "
        f"{matched(there, train.tokens, train.target_tokens):,} of its {there:,} tokens: less than one "
        f"sequence of {seq_len:,}. Raise train.tokens to {enough:_}, set its weight to 0, or lower "
        "train.target_tokens."
    )


def refuse_thin(draw: Draw, corpus: Corpus, train: TrainSpec) -> None:
    """PlanError if a source would repeat here although its match, larger than the lab's text, would not so soon.

    Where the run takes less than the lab has, nothing repeats here or there, and all is well.
    """
    there = train.target_sizes.get(draw.source)
    if train.target_tokens is None or there is None or draw.tokens <= draw.available:
        return
    wanted = matched(there, train.tokens, train.target_tokens)
    if wanted <= corpus.tokens:
        return
    needed = min(wanted, draw.tokens)
    raise PlanError(
        f"to repeat '{draw.source}' as {train.target_tokens:,} tokens from {there:,} would, this run of "
        f"{train.tokens:,} needs {needed:,} different tokens of it, and the lab has {corpus.tokens:,}: it would repeat "
        f"{draw.epochs:.2f} times instead of {draw.tokens / wanted:.2f}. Lower train.tokens to "
        f"{train.tokens * draw.available // needed:_}, add text to the source, or lower its weight to "
        f"{math.floor(draw.weight * draw.available / draw.tokens * 1e6) / 1e6:.6g}."
    )


def doubts(draws: Sequence[Draw], train: TrainSpec, seq_len: int) -> tuple[str, ...]:
    """A sentence for every drawn source of which so little may be seen that it hardly stands for itself."""
    if train.target_tokens is None and not train.unique_tokens:
        return ()
    return tuple(
        f"only {d.available // seq_len} sequences of '{d.source}' may be seen: so little text is a poor sample of it, "
        f"and whole sequences hit the wanted epochs by {seq_len / d.available:.0%} at best"
        for d in draws
        if d.weight and 0 < d.available < FEW * seq_len
    )
