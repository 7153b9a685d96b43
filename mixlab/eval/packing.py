"""Requests packed into batches: equal ones once, shared contexts once, equal beginnings judged once, little padding.

Arrays only, no model: a packed suite serves every checkpoint that reads as many ids. Reads and writes nothing.
"""

# B rows, T ids of a row, U states to judge, M scored positions, G contexts, C ids of a context, R requests

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mixlab.eval.requests import Piece, Requests, is_cut, pieces

LEAST_SHARED = 4
"""Ids of a context from which scoring it once pays for a second pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One pass: contexts, if any, then rows that follow them; which states to judge; whose the verdicts are."""

    contexts: np.ndarray
    """(G, C) int64, padded on the left; (0, 0) where rows stand alone."""
    seen: np.ndarray | None
    """(G, C) int64, 0 where a context is padding; None: nowhere."""
    ids: np.ndarray
    """(B, T) int64, padded on the right."""
    of: np.ndarray
    """(B,) context of each row; empty where rows stand alone."""
    rows: np.ndarray
    cols: np.ndarray
    """(U,) where the states to judge stand in `ids`; the last states of the contexts come before them."""
    at: np.ndarray
    """(M,) state that judges each position, in 0..G+U, its target and its request."""
    targets: np.ndarray
    requests: np.ndarray

    @property
    def size(self) -> int:
        """Ids fed, padding included."""
        return self.contexts.size + self.ids.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """All requests of a task, ready for any model that reads `max_len` ids."""

    batches: tuple[Batch, ...]
    first: np.ndarray
    """(R,) for each request the first one with the same ids, which alone is scored."""
    truncated: np.ndarray
    """(R,) longer than the model reads; the end is scored."""

    @property
    def size(self) -> int:
        """Ids fed, padding included."""
        return sum(batch.size for batch in self.batches)


def pack(requests: Requests, max_len: int, budget: int) -> Packed:
    """Batches of at most `budget` ids, or of one row or context: longest first, so that alike lengths meet."""
    cut = [is_cut(c, t, max_len) for c, t in zip(requests.contexts, requests.continuations, strict=True)]
    first = _first_alike(requests)
    groups: dict[bytes, list[int]] = {}
    singles: list[Piece] = []
    for r in sorted(set(first)):
        if cut[r] or len(requests.contexts[r]) < LEAST_SHARED:
            singles += pieces(requests.contexts[r], requests.continuations[r], max_len, r)
        else:
            groups.setdefault(requests.contexts[r].tobytes(), []).append(r)
    for rs in groups.values():
        if len(rs) == 1:
            singles += pieces(requests.contexts[rs[0]], requests.continuations[rs[0]], max_len, rs[0])
    shared = [rs for rs in groups.values() if len(rs) > 1]
    batches = [_rows(batch) for batch in _batches(singles, budget)]
    batches += [_after_contexts(batch, requests) for batch in _group_batches(shared, requests, budget)]
    return Packed(
        batches=tuple(batches), first=np.array(first, np.int64), truncated=np.array(cut, np.bool_).reshape(-1)
    )


def _first_alike(requests: Requests) -> list[int]:
    """For each request the first one with the same ids."""
    seen: dict[tuple[bytes, bytes], int] = {}
    return [
        seen.setdefault((c.tobytes(), t.tobytes()), r)
        for r, (c, t) in enumerate(zip(requests.contexts, requests.continuations, strict=True))
    ]


def _batches(todo: Sequence[Piece], budget: int) -> Iterator[list[Piece]]:
    """Pieces, longest first, in batches whose padded size stays within the budget (or is one piece)."""
    batch: list[Piece] = []
    for piece in sorted(todo, key=lambda p: -len(p.ids)):
        if batch and (len(batch) + 1) * (len(batch[0].ids) - 1) > budget:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _group_batches(groups: Sequence[list[int]], requests: Requests, budget: int) -> Iterator[list[list[int]]]:
    """Groups of requests with one context each, longest context first, in batches that stay within the budget.

    Counted are the ids of the contexts, and those of the continuations with a quarter of the keys they look back at.
    """
    longest = {id(g): max(len(requests.continuations[r]) for r in g) for g in groups}
    batch: list[list[int]] = []
    width = wide = rows = 0
    for group in sorted(groups, key=lambda g: (-len(requests.contexts[g[0]]), -longest[id(g)])):
        context = len(requests.contexts[group[0]])
        wider, more = max(wide, longest[id(group)]), rows + len(group)
        if batch and max((len(batch) + 1) * width, more * (wider + width // 4)) > budget:
            yield batch
            batch, wider, more = [], longest[id(group)], len(group)
        if not batch:
            width = context
        batch.append(group)
        wide, rows = wider, more
    if batch:
        yield batch


def _rows(batch: Sequence[Piece]) -> Batch:
    """Whole rows, the last `scored` ids of which are scored."""
    batch = sorted(batch, key=lambda p: -len(p.ids))
    none = np.zeros((0, 0), np.int64)
    ids_BT, lengths = _padded([p.ids for p in batch])
    rows = np.repeat(np.arange(len(batch)), [p.scored for p in batch])
    targets = np.concatenate([np.arange(len(p.ids) - p.scored, len(p.ids)) for p in batch])
    nodes_BT = _nodes(ids_BT, np.zeros(len(batch), np.int64))
    whose = np.array([p.request for p in batch], np.int64)
    fed_BT = ids_BT[:, :-1]
    states = _states(nodes_BT, rows, targets - 1, lengths - 1)
    return Batch(
        contexts=none,
        seen=None,
        ids=fed_BT[states.kept],
        of=np.zeros(0, np.int64),
        rows=states.rows,
        cols=states.cols,
        at=states.at,
        targets=ids_BT[rows, targets],
        requests=whose[rows],
    )


def _after_contexts(batch: Sequence[list[int]], requests: Requests) -> Batch:
    """Contexts once; then each continuation after the keys of its context, without its last id."""
    contexts = [requests.contexts[g[0]] for g in batch]
    width = max(map(len, contexts))
    contexts_GC, seen_GC = np.zeros((len(batch), width), np.int64), np.zeros((len(batch), width), np.int64)
    for g, ids in enumerate(contexts):
        contexts_GC[g, width - len(ids) :] = ids
        seen_GC[g, width - len(ids) :] = 1
    of = [(g, r) for g, group in enumerate(batch) for r in group]
    of.sort(key=lambda pair: -len(requests.continuations[pair[1]]))
    of_B, rs_B = np.array([g for g, _ in of]), np.array([r for _, r in of])
    ids_BT, lengths = _padded([requests.continuations[r] for r in rs_B])
    nodes_BT = _nodes(ids_BT, of_B)
    later = lengths - 1  # positions beyond the first, which the context judges
    rows = np.repeat(np.arange(len(rs_B)), later)
    cols = np.concatenate([np.arange(n) for n in later])
    states = _states(nodes_BT, rows, cols, later)
    ids_of_kept = ids_BT[:, : max(later.max(), 0)][states.kept]
    return Batch(
        contexts=contexts_GC,
        seen=None if seen_GC.all() else seen_GC,
        ids=ids_of_kept,
        of=of_B[states.kept],
        rows=states.rows,
        cols=states.cols,
        at=np.concatenate([of_B, len(batch) + states.at]),
        targets=np.concatenate([ids_BT[:, 0], ids_BT[rows, cols + 1]]),
        requests=np.concatenate([rs_B, rs_B[rows]]),
    )


@dataclass(frozen=True, slots=True)
class _States:
    """Rows to feed, where the distinct states stand in them, and which state judges each position."""

    kept: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    at: np.ndarray


def _states(nodes_BT: np.ndarray, rows: np.ndarray, cols: np.ndarray, lengths: np.ndarray) -> _States:
    """One state for all positions with the same ids before them; rows that no state needs are left out.

    Rows are sorted by falling length, so a row that begins another is found in the longer one.
    """
    assert (np.diff(lengths) <= 0).all()
    _, where, at = np.unique(nodes_BT[rows, cols], return_index=True, return_inverse=True)
    kept, of = np.unique(rows[where], return_inverse=True)
    return _States(kept, of, cols[where], at)


def _padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(ids padded on the right with 0, lengths)."""
    lengths = np.array([len(ids) for ids in rows], np.int64)
    ids_BT = np.zeros((len(rows), lengths.max()), np.int64)
    ids_BT[np.arange(ids_BT.shape[1])[None] < lengths[:, None]] = np.concatenate(rows)
    return ids_BT, lengths


def _nodes(ids_BT: np.ndarray, roots_B: np.ndarray) -> np.ndarray:
    """A number per position that is the same where root and all ids up to it are, and only there."""
    nodes_BT = np.empty_like(ids_BT)
    before_B, span, used = roots_B, int(ids_BT.max()) + 1, 0
    for t in range(ids_BT.shape[1]):
        distinct, before_B = np.unique(before_B * span + ids_BT[:, t], return_inverse=True)
        nodes_BT[:, t] = used + before_B
        used += len(distinct)
    return nodes_BT
