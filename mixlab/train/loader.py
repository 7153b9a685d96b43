"""Batches as a pure function of (plan, seed, step), over memory-mapped token shards. Reads tokens.bin and ends.npy.

Documents are concatenated and cut into sequences of their phase's length; a shorter tail is never drawn. Each source
walks through its sequences in an order that depends on (seed, source, epoch) and on nothing else: two mixtures serve
the same sequences of a source in the same order (common random numbers), and none comes twice within an epoch. Phases
of one length go on where the last one stopped; another length is another cut, and walks through the source afresh.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixlab.data.shards import document_ends, token_array
from mixlab.errors import EnvironmentFault
from mixlab.mix.plan import order
from mixlab.seeds import seed_of
from mixlab.types import Corpus, Draw, Plan

# B batch (of one rank), T sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """What a run has seen of one source."""

    tokens: int
    unique_tokens: int
    epochs: float


class Loader:
    """Serves a plan. Needs one integer to resume: the step. A batch holds as many tokens in every phase."""

    def __init__(self, plan: Plan, corpora: Mapping[str, Corpus], seed: int, batch_sequences: int):
        assert batch_sequences > 0
        self.plan, self.seed, self.batch_sequences = plan, seed, batch_sequences
        self.steps = plan.tokens // (batch_sequences * plan.seq_len)
        self._parts = _parts(plan, batch_sequences * plan.seq_len)
        self._chunks_T: dict[tuple[int, int], np.ndarray] = {}  # (source, T)
        self._ends: dict[int, np.ndarray] = {}
        for phase in plan.phases:
            for s, draw in enumerate(phase.draws):
                if draw.weight and (s, phase.seq_len) not in self._chunks_T:
                    self._open(s, draw, corpora[draw.source], phase.seq_len)
        self._shuffled: dict[tuple[int, int, int], np.ndarray] = {}  # (source, T, epoch)

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Token ids int64 (B, T) and the index of each row's source in `plan.draws`, int64 (B,).

        The ranks' slices, put together in order, are the batch of one rank alone.
        """
        source, chunk, seq_len = self._rows(step, rank, ranks)
        ids_BT = np.empty((len(source), seq_len), np.int64)
        for s in np.unique(source).tolist():
            here = np.flatnonzero(source == s)
            ids_BT[here] = self._chunks_T[s, seq_len][chunk[here]]
        return ids_BT, source

    def doc_ids(self, step: int, rank: int = 0, ranks: int = 1) -> np.ndarray:
        """Which document each token of `batch(step)` belongs to, from 0 within each row; int64 (B, T).

        The end-of-text token belongs to the document it ends.
        """
        source, chunk, seq_len = self._rows(step, rank, ranks)
        docs_BT = np.empty((len(source), seq_len), np.int64)
        for s in np.unique(source):
            start = chunk[source == s][:, None] * seq_len
            docs_BT[source == s] = np.searchsorted(self._ends[s], start + np.arange(seq_len), side="right")
        return docs_BT - docs_BT[:, :1]

    def ledger(self, step: int) -> dict[str, Ledger]:
        """What was seen of each source after `step` steps: tokens, those of them that differ, passes."""
        seen: dict[tuple[int, int], int] = {}  # (source, T) -> sequences
        for part in self._parts:
            done = min(max(step - part.first, 0), part.steps) * part.rows
            for s, n in enumerate(np.bincount(part.source[:done], minlength=len(self.plan.draws)).tolist()):
                seen[s, part.seq_len] = seen.get((s, part.seq_len), 0) + n
        return {d.source: self._account(s, seen) for s, d in enumerate(self.plan.draws)}

    def _account(self, s: int, seen: Mapping[tuple[int, int], int]) -> Ledger:
        """One source's line of the ledger, from the sequences seen of it at each length."""
        drawn = {seq_len: n for (source, seq_len), n in seen.items() if source == s and n}
        whole = {seq_len: len(self._chunks_T[s, seq_len]) for seq_len in drawn}
        if len(drawn) == 1:
            unique = sum(min(n, whole[t]) * t for t, n in drawn.items())
        else:
            step = math.gcd(*drawn) if drawn else 1
            was_seen = np.zeros(max((whole[t] * t for t in drawn), default=0) // step, bool)
            for t, n in drawn.items():
                first = self._epoch(s, t, 0)[:n]
                was_seen[(first[:, None] * (t // step) + np.arange(t // step)).ravel()] = True
            unique = int(was_seen.sum()) * step
        epochs = math.fsum(n / whole[t] for t, n in drawn.items())
        return Ledger(tokens=sum(n * t for t, n in drawn.items()), unique_tokens=unique, epochs=epochs)

    def _open(self, s: int, draw: Draw, corpus: Corpus, seq_len: int) -> None:
        """Maps a source's tokens as rows of `seq_len`; refuses a corpus that cannot be the plan's."""
        tokens = np.asarray(token_array(corpus))
        if corpus.key != draw.corpus or len(tokens) < draw.available:
            raise EnvironmentFault(
                f"the plan counts on {draw.available:,} tokens of '{draw.source}' ({draw.corpus}), but {corpus.path} "
                f"({corpus.key}) holds {len(tokens):,}: it is not the corpus the plan was made for. Run the same "
                "command again."
            )
        self._chunks_T[s, seq_len] = tokens[: draw.available].reshape(-1, seq_len)
        self._ends[s] = document_ends(corpus)

    def _rows(self, step: int, rank: int, ranks: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Source and chunk of each row that a rank serves at a step, int64 (B,) each, and the length of the rows."""
        assert 0 <= step < self.steps, (step, self.steps)
        part = next(p for p in reversed(self._parts) if p.first <= step)
        assert 0 <= rank < ranks <= part.rows, (rank, ranks, part.rows)
        begin = (step - part.first) * part.rows
        at = slice(begin + part.rows * rank // ranks, begin + part.rows * (rank + 1) // ranks)
        source, turn = part.source[at].astype(np.int64), part.turn[at]
        chunk = np.empty(len(source), np.int64)
        for s in np.unique(source).tolist():
            here = np.flatnonzero(source == s)
            chunk[here] = self._chunk(s, part.seq_len, turn[here])
        return source, chunk, part.seq_len

    def _chunk(self, s: int, seq_len: int, turn: np.ndarray) -> np.ndarray:
        """Which chunks a source gives at its `turn`-th draws (ascending) of this length; int64, as `turn`."""
        epoch, at = np.divmod(turn, len(self._chunks_T[s, seq_len]))
        if epoch[0] == epoch[-1]:
            return self._epoch(s, seq_len, int(epoch[0]))[at]
        return np.array([self._epoch(s, seq_len, e)[k] for e, k in zip(epoch.tolist(), at.tolist(), strict=True)])

    def _epoch(self, s: int, seq_len: int, epoch: int) -> np.ndarray:
        """The order of one pass over a source, kept while it lasts."""
        key = (s, seq_len, epoch)
        if key not in self._shuffled:
            for old in [k for k in self._shuffled if k[:2] == key[:2] and abs(k[2] - epoch) > 1]:
                del self._shuffled[old]  # the epochs beside it may share a batch with it
            name = self.plan.draws[s].source
            purpose = name if seq_len == self.plan.seq_len else f"{name}/{seq_len}"
            self._shuffled[key] = permutation(len(self._chunks_T[s, seq_len]), self.seed, purpose, epoch)
        return self._shuffled[key]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A phase as the loader walks through it."""

    first: int
    """Step it begins with, and how many `steps` of how many `rows` it has."""
    steps: int
    rows: int
    seq_len: int
    source: np.ndarray
    """Per sequence, with `turn`: how often that source was drawn before at this length."""
    turn: np.ndarray


def _parts(plan: Plan, batch_tokens: int) -> list[_Part]:
    """The phases with their orders; a source goes on where the last phase of this sequence length left it."""
    source, parts, begin, first = order(plan), list[_Part](), 0, 0
    drawn: dict[int, np.ndarray] = {}  # T -> sequences of each source so far
    for phase in plan.phases:
        here = source[begin : begin + phase.sequences]
        before = drawn.setdefault(phase.seq_len, np.zeros(len(plan.draws), np.int64))
        rows = batch_tokens // phase.seq_len
        part = _Part(
            first=first,
            steps=len(here) // rows,
            rows=rows,
            seq_len=phase.seq_len,
            source=here,
            turn=_turns(here, len(plan.draws)) + before[here],
        )
        drawn[phase.seq_len] = before + np.bincount(here, minlength=len(plan.draws))
        parts.append(part)
        begin, first = begin + len(here), first + part.steps
    return parts


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
