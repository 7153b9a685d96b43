"""Batches as a pure function of (plan, seed, step), over memory-mapped token shards. Reads tokens.bin and ends.npy.

Documents are concatenated and cut into sequences of `plan.seq_len` tokens; a shorter tail is never drawn. Each
source walks through its sequences in an order that depends on (seed, source, epoch) and on nothing else: two mixtures
serve the same sequences of a source in the same order (common random numbers), and none comes twice within an epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixlab.data.shards import document_ends, token_array
from mixlab.errors import EnvironmentFault
from mixlab.mix.plan import order
from mixlab.seeds import seed_of
from mixlab.types import Corpus, Plan

# B batch (of one rank), T sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """What a run has seen of one source."""

    tokens: int
    unique_tokens: int
    epochs: float


class Loader:
    """Serves a plan. Needs one integer to resume: the step."""

    def __init__(self, plan: Plan, corpora: Mapping[str, Corpus], seed: int, batch_sequences: int):
        assert batch_sequences > 0
        self.plan, self.seed, self.batch_sequences = plan, seed, batch_sequences
        self.steps = plan.sequences // batch_sequences
        self._source = order(plan)
        self._turn = _turns(self._source, len(plan.draws))
        self._chunks_T: dict[int, np.ndarray] = {}
        self._ends: dict[int, np.ndarray] = {}
        for s, draw in enumerate(plan.draws):
            if not draw.weight:
                continue
            corpus = corpora[draw.source]
            tokens = np.asarray(token_array(corpus))
            if len(tokens) // plan.seq_len * plan.seq_len != draw.available:
                raise EnvironmentFault(
                    f"the plan counts on {draw.available:,} tokens of '{draw.source}', but {corpus.path} holds "
                    f"{len(tokens):,}: it is not the corpus the plan was made for. Run the same command again."
                )
            self._chunks_T[s] = tokens[: draw.available].reshape(-1, plan.seq_len)
            self._ends[s] = document_ends(corpus)
        self._shuffled: dict[tuple[int, int], np.ndarray] = {}

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Token ids int64 (B, T) and the index of each row's source in `plan.draws`, int64 (B,).

        The ranks' slices, put together in order, are the batch of one rank alone.
        """
        source, chunk = self._rows(step, rank, ranks)
        ids_BT = np.empty((len(source), self.plan.seq_len), np.int64)
        for s in np.unique(source):
            ids_BT[source == s] = self._chunks_T[s][chunk[source == s]]
        return ids_BT, source

    def doc_ids(self, step: int, rank: int = 0, ranks: int = 1) -> np.ndarray:
        """Which document each token of `batch(step)` belongs to, from 0 within each row; int64 (B, T).

        The end-of-text token belongs to the document it ends.
        """
        source, chunk = self._rows(step, rank, ranks)
        docs_BT = np.empty((len(source), self.plan.seq_len), np.int64)
        for s in np.unique(source):
            start = chunk[source == s][:, None] * self.plan.seq_len
            docs_BT[source == s] = np.searchsorted(self._ends[s], start + np.arange(self.plan.seq_len), side="right")
        return docs_BT - docs_BT[:, :1]

    def ledger(self, step: int) -> dict[str, Ledger]:
        """What was seen of each source after `step` steps: tokens, those of them that differ, passes."""
        seen = np.bincount(self._source[: step * self.batch_sequences], minlength=len(self.plan.draws)).tolist()
        size = self.plan.seq_len
        return {
            d.source: Ledger(
                tokens=n * size,
                unique_tokens=min(n * size, d.available),
                epochs=n * size / d.available if d.available else 0.0,
            )
            for d, n in zip(self.plan.draws, seen, strict=True)
        }

    def _rows(self, step: int, rank: int, ranks: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and chunk of each row that a rank serves at a step; int64 (B,) each."""
        size = self.batch_sequences
        assert 0 <= step < self.steps and 0 <= rank < ranks <= size, (step, self.steps, rank, ranks)
        at = slice(step * size + size * rank // ranks, step * size + size * (rank + 1) // ranks)
        source = self._source[at].astype(np.int64)
        chunk = np.array([self._chunk(s, k) for s, k in zip(source.tolist(), self._turn[at].tolist(), strict=True)])
        return source, chunk

    def _chunk(self, source: int, turn: int) -> int:
        """Which chunk a source gives at its `turn`-th draw."""
        epoch, at = divmod(turn, len(self._chunks_T[source]))
        if (source, epoch) not in self._shuffled:
            self._shuffled.pop((source, epoch - 2), None)  # the epoch before may share a batch with this one
            name = self.plan.draws[source].source
            self._shuffled[source, epoch] = permutation(len(self._chunks_T[source]), self.seed, name, epoch)
        return int(self._shuffled[source, epoch][at])


def permutation(n: int, seed: int, source: str, epoch: int) -> np.ndarray:
    """0..n-1 in the order of one epoch: sorted by SplitMix64 (Steele et al. 2014), a bijection, so without ties.

    int64 (n,). Written out, not numpy's: its streams may change between versions, and the order of a run must not.

    >>> permutation(5, seed=0, source="wiki", epoch=0).tolist()
    [0, 2, 1, 4, 3]
    """
    x = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(
        seed_of(seed, "order", source, epoch)
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(x ^ (x >> np.uint64(31)))


def _turns(source: np.ndarray, sources: int) -> np.ndarray:
    """For each position, how often its source was drawn before; int64, the shape of `source`."""
    by_source = np.argsort(source, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=sources))[:-1]])
    turns = np.empty(len(source), np.int64)
    turns[by_source] = np.arange(len(source)) - first[source[by_source]]
    return turns
