"""Which source a text looks like: a unigram model of tokens per source, and how often it is right on held-out text.

Reads and writes nothing. With 64 tokens a text, unigrams tell sources apart that differ in subject or manner; the share
told right on held-out pieces of the same length says how far to trust it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEARNED_TOKENS = 2_000_000
"""Training tokens of a source that are counted: enough for every token that matters in a text of 64."""

TOLD_PIECES = 1_000
"""Held-out pieces of a source that are put to it: the rate is then known to 1.5 points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Log-probabilities of tokens by source."""

    sources: tuple[str, ...]
    logprobs: np.ndarray
    """(sources, vocabulary) float64, in nats; smoothed by half a count."""

    def of(self, ids: Sequence[int] | np.ndarray) -> str:
        """The source that gives the tokens the highest probability; the first of equals."""
        return self.sources[int(self.logprobs[:, np.asarray(ids, np.int64)].sum(1).argmax())]


def learn(tokens: Mapping[str, np.ndarray], vocab_size: int) -> Origin:
    """Unigram models of the sources, from evenly spread stretches of at most two million tokens of each.

    >>> learn({"a": np.array([1, 1, 2]), "b": np.array([3, 3, 2])}, 4).of([3, 2])
    'b'
    """
    names = tuple(sorted(tokens))
    counts = np.stack([np.bincount(_some(tokens[name]), minlength=vocab_size) for name in names]) + 0.5
    return Origin(sources=names, logprobs=np.log(counts / counts.sum(1, keepdims=True)))


def told_right(origin: Origin, heldout: Mapping[str, Sequence[np.ndarray]], length: int) -> dict[str, float | None]:
    """Source -> share of evenly spread pieces of `length` held-out tokens that are put to it; None without a piece."""
    found: dict[str, float | None] = {}
    for at, source in enumerate(origin.sources):
        docs = (np.asarray(doc) for doc in heldout.get(source, ()))
        pieces = [doc[: len(doc) // length * length].reshape(-1, length) for doc in docs if len(doc) >= length]
        if not pieces:
            found[source] = None
            continue
        whole = np.concatenate(pieces)
        some = whole[:: -(-len(whole) // TOLD_PIECES)].astype(np.int64)
        found[source] = float((origin.logprobs[:, some].sum(2).argmax(0) == at).mean())
    return found


def _some(tokens: np.ndarray) -> np.ndarray:
    step = max(1, -(-len(tokens) // LEARNED_TOKENS))
    return np.asarray(tokens[::step], np.int64)
