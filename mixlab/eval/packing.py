"""Requests packed into batches of trees: equal ones once, what several begin with once, little padding.

A row is a tree in depth-first order: the ids that its requests begin with, then what each goes on with. A token sees
those on its way from the root, so every request reads as if it stood alone. Arrays only, no model: a packed suite
serves every checkpoint that reads as many ids. Reads and writes nothing.
"""

# B rows, T ids of a row, U states to judge, M scored positions, R requests

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mixlab.eval.requests import Requests, is_cut, pieces

LEAST_SHARED = 0.25
"""Of a request's ids: with fewer shared, a row of its own costs less than the longer row's attention."""
LONGEST_ROW = 512
"""Ids beyond the context from which on no further request joins a row: attention grows with the square."""
WIDE = 1024
"""Ids of a row from which on a batch holds fewer ids: its mask has their square."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One pass: rows, how deep each id lies and where what follows from it ends; which states judge what."""

    ids: np.ndarray
    """(B, T) int64, padded on the right."""
    depths: np.ndarray
    ends: np.ndarray
    """(B, T) int64: the ids at t+1 ... ends[t]-1 of a row follow from that at t. Both (1, T) where no row branches."""
    rows: np.ndarray
    cols: np.ndarray
    """(U,) where the states to judge stand in `ids`."""
    at: np.ndarray
    """(M,) state that judges each position, in 0..U, its target and its request."""
    targets: np.ndarray
    requests: np.ndarray

    @property
    def size(self) -> int:
        """Ids fed, padding included."""
        return self.ids.size


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


@dataclass(slots=True)
class _Row:
    """A tree that grows: its ids, and the way to the one added last."""

    ids: list[int]
    depths: list[int]
    ends: list[int]
    """0 where more may follow yet."""
    way: list[int]
    """Columns from the root to the id added last."""
    cols: list[int] = field(default_factory=list[int])
    """Per position: the column of the state that judges it, its target and its request."""
    targets: list[int] = field(default_factory=list[int])
    requests: list[int] = field(default_factory=list[int])


def pack(requests: Requests, max_len: int, budget: int) -> Packed:
    """Batches of at most `budget` ids, or of one row: longest first, so that alike lengths meet."""
    cut = [is_cut(c, t, max_len) for c, t in zip(requests.contexts, requests.continuations, strict=True)]
    first = _first_alike(requests)
    rows: list[_Row] = []
    for those in _families(requests, [r for r in sorted(set(first)) if not cut[r]]):
        rows += _grown(requests, those)
    for r in sorted(r for r in set(first) if cut[r]):
        for piece in pieces(requests.contexts[r], requests.continuations[r], max_len, r):
            ids = piece.ids.tolist()
            rows.append(_path(ids[: len(ids) - piece.scored], ids[len(ids) - piece.scored :], r))
    return Packed(
        batches=tuple(_batch(rows) for rows in _batches(rows, budget)),
        first=np.array(first, np.int64),
        truncated=np.array(cut, np.bool_).reshape(-1),
    )


def _first_alike(requests: Requests) -> list[int]:
    """For each request the first one with the same ids."""
    seen: dict[tuple[bytes, bytes], int] = {}
    return [
        seen.setdefault((c.tobytes(), t.tobytes()), r)
        for r, (c, t) in enumerate(zip(requests.contexts, requests.continuations, strict=True))
    ]


def _families(requests: Requests, chosen: Sequence[int]) -> Iterator[list[int]]:
    """Neighbouring requests with one context: the choices of an item."""
    family: list[int] = []
    for r in chosen:
        if family and not np.array_equal(requests.contexts[family[0]], requests.contexts[r]):
            yield family
            family = []
        family.append(r)
    if family:
        yield family


def _grown(requests: Requests, family: Sequence[int]) -> list[_Row]:
    """The family as trees: who shares too little, or finds the row full, begins another.

    In the order of their ids what two of them share is what neighbours share, and each new id stands at the end.
    """
    context, rows = requests.contexts[family[0]].tolist(), list[_Row]()
    told = {r: requests.continuations[r].tolist() for r in family}
    before: list[int] = []
    for r in sorted(family, key=told.__getitem__) if len(family) > 1 else family:
        ids = told[r]
        shared = _alike(before, ids) if rows else 0
        new = len(ids) - 1 - shared
        is_near = len(context) + shared >= LEAST_SHARED * (len(context) + len(ids))
        if rows and is_near and len(rows[-1].ids) + new <= len(context) + LONGEST_ROW:
            _join(rows[-1], len(context), shared, ids, r)
        else:
            rows.append(_path(context, ids, r))
        before = ids
    return rows


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with; the last of each is a target and is not fed."""
    most = min(len(one), len(other)) - 1
    return next((i for i in range(most) if one[i] != other[i]), max(most, 0))


def _path(context: list[int], ids: list[int], request: int) -> _Row:
    """A row of one request; the last id is a target alone."""
    fed = context + ids[:-1]
    n, cols = len(fed), range(len(context) - 1, len(fed))
    return _Row(fed, list(range(n)), [0] * n, list(range(n)), [*cols], [*ids], [request] * len(ids))


def _join(row: _Row, context: int, shared: int, ids: list[int], request: int) -> None:
    """Adds a request that has the context and `shared` ids more in common with the one before."""
    kept, n = context + shared, len(row.ids)
    for col in row.way[kept:]:
        row.ends[col] = n
    new = ids[shared:-1]
    row.way[kept:] = range(n, n + len(new))
    row.ids += new
    row.depths += range(kept, kept + len(new))
    row.ends += [0] * len(new)
    row.cols += row.way[context - 1 : context - 1 + len(ids)]
    row.targets += ids
    row.requests += [request] * len(ids)


def _batches(rows: Sequence[_Row], budget: int) -> Iterator[list[_Row]]:
    """Rows, longest first, in batches whose padded size stays within the budget (or is one row), wide ones in less."""
    batch: list[_Row] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        width = len(batch[0].ids) if batch else 0
        if batch and (len(batch) + 1) * width * max(1.0, width / WIDE) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _batch(rows: Sequence[_Row]) -> Batch:
    """Padded arrays; a state is judged once, however many positions it judges."""
    width = len(rows[0].ids)
    sizes = np.array([len(row.ids) for row in rows])
    is_there = np.arange(width)[None] < sizes[:, None]
    ids_BT = _padded([row.ids for row in rows], is_there)
    if all(len(row.way) == len(row.ids) for row in rows):  # no row branches: a token sees all before it
        depths_BT, ends_BT = np.arange(width)[None], np.full((1, width), width)
    else:
        depths_BT, ends_BT = (_padded([getattr(row, n) for row in rows], is_there) for n in ("depths", "ends"))
        ends_BT[ends_BT == 0] = width  # also what pads: nothing after it is asked
    whose = np.repeat(np.arange(len(rows)), [len(row.cols) for row in rows])
    cols = np.concatenate([row.cols for row in rows])
    states, at = np.unique(whose * width + cols, return_inverse=True)
    return Batch(
        ids=ids_BT,
        depths=depths_BT,
        ends=ends_BT,
        rows=states // width,
        cols=states % width,
        at=at,
        targets=np.concatenate([row.targets for row in rows]),
        requests=np.concatenate([row.requests for row in rows]),
    )


def _padded(rows: Sequence[Sequence[int]], is_there: np.ndarray) -> np.ndarray:
    """(B, T) int64, 0 where there is nothing."""
    told = np.zeros(is_there.shape, np.int64)
    told[is_there] = np.concatenate(rows)
    return told
