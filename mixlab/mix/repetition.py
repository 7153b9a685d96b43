"""How much of each source a run may see, so that a small run repeats its text as a large one would.

Reads and writes nothing. A mix tuned where nothing repeats is wrong where much does (arXiv 2606.07597): the proxy's
sources are cut down by proxy budget / target budget, which makes its epochs those of the target.
"""

from collections.abc import Mapping, Sequence

from mixlab.errors import ConfigError, PlanError, nearest
from mixlab.types import Corpus, Draw, TrainSpec

FEW = 20  # sequences: cutting down to whole ones may move the epochs by 1/FEW, and so little text is no sample


def visible(corpora: Mapping[str, Corpus], train: TrainSpec) -> dict[str, int]:
    """Source -> tokens that the run may see: all, or `train.unique_tokens`, or what matches `train.target_tokens`.

    They are the first ones of a corpus, whose documents lie in the order of a hash of their ids: a fair sample, and a
    larger one contains the smaller. Raises ConfigError for an unknown source or a target below the budget, PlanError
    for more tokens than there are.
    """
    if train.target_tokens is not None and train.target_tokens < train.tokens:
        raise ConfigError(
            f"train.target_tokens={train.target_tokens:,} is less than train.tokens={train.tokens:,}: a proxy stands "
            "for a run that is at least as long. Lower train.tokens, or leave train.target_tokens out."
        )
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
    found = {s: matched(c.tokens, train.tokens, train.target_tokens) for s, c in corpora.items()}
    return found | dict(train.unique_tokens)


def caps(sizes: Mapping[str, int], train: TrainSpec, seq_len: int) -> dict[str, float]:
    """Source -> the largest weight that `train.max_epochs` allows; 0 where not even one sequence may be seen.

    With `train.target_tokens` these are the caps of the target, too.
    """
    whole = {s: n // seq_len * seq_len for s, n in sizes.items()}
    return {s: min(1.0, train.max_epochs * n / train.tokens) for s, n in whole.items()}


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
    enough = -(-seq_len * train.target_tokens // corpus.tokens)
    raise PlanError(
        f"to repeat '{draw.source}' as {train.target_tokens:,} tokens would, this run of {train.tokens:,} may see "
        f"{matched(corpus.tokens, train.tokens, train.target_tokens):,} of its {corpus.tokens:,} tokens: less than one "
        f"sequence of {seq_len:,}. Raise train.tokens to {enough:,}, set its weight to 0, or lower "
        "train.target_tokens."
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
