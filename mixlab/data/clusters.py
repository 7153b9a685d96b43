"""From candidate pairs to clusters: which are alike, whom each document is like, and who is kept.

Documents are numbered by rank, 0 the best keeper. A star cluster holds an anchor and documents like *it*; a component
also holds documents that are alike only through others. Both depend on the pairs alone, not on any order of reading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mixlab.data.documents import values
from mixlab.data.jit import jit
from mixlab.errors import ConfigError, SourceError, nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Verified pairs of ranks, better rank first, and how many candidates were compared for them."""

    ranks: np.ndarray
    """int64 (pairs, 2), sorted."""
    jaccard: np.ndarray
    """float64, counted on the two sets of shingles."""
    containment: np.ndarray
    """float64, share of the worse one's distinct shingles that the better one has too."""
    candidates: int


def source_priority(priority: Sequence[str], sources: Sequence[str]) -> dict[str, int]:
    """Place of each source: those named in `priority` first, the others by name. An unknown name is a ConfigError."""
    for name in priority:
        if name not in sources:
            raise ConfigError(f"dedup names '{name}', which is not a source.{nearest(name, sources)}")
    first = list(dict.fromkeys(priority))
    order = [*first, *sorted(set(sources) - set(first))]
    return {name: place for place, name in enumerate(order)}


def ranks(docs: pa.Table, priority: Mapping[str, int]) -> np.ndarray:
    """Rank of each row (source, id, bytes) as keeper, int64: source priority, then the longer text, then the id.

    Raises SourceError if a source has two documents of one id: which to keep would depend on the order of reading.
    """
    _refuse_twins(docs)
    place = pa.array([priority[name] for name in values(docs, "source")], pa.int64())
    keys: dict[str, Any] = {"place": place, "bytes": docs["bytes"], "id": docs["id"], "row": np.arange(len(docs))}
    table: Any = pa.table(keys)  # the stub leaves the type of options open
    best_first = table.sort_by([("place", "ascending"), ("bytes", "descending"), ("id", "ascending")])
    order: np.ndarray = best_first["row"].to_numpy()
    out = np.empty(len(order), np.int64)
    out[order] = np.arange(len(order))
    return out


def verified(candidates: np.ndarray, sets: np.ndarray, spans: np.ndarray, threshold: float) -> Pairs:
    """The candidates (int64 (pairs, 2)) whose exact Jaccard is at least `threshold`.

    `sets` holds sorted distinct shingle hashes (uint64); those of rank r are sets[spans[r, 0]:spans[r, 1]].
    """
    jaccard, containment = likeness(candidates, sets, spans, threshold)
    alike = jaccard >= threshold
    order = np.lexsort((candidates[alike, 1], candidates[alike, 0]))
    return Pairs(
        ranks=candidates[alike][order],
        jaccard=jaccard[alike][order],
        containment=containment[alike][order],
        candidates=len(candidates),
    )


def likeness(
    pairs: np.ndarray, sets: np.ndarray, spans: np.ndarray, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Jaccard, and share of the second one's shingles that the first has, of pairs of ranks; both float64.

    A pair whose sizes alone rule out a Jaccard of `least` gets 0 without being counted.
    """
    shared = np.zeros(len(pairs), np.int64)
    _shared(sets, spans[:, 0].copy(), spans[:, 1].copy(), pairs, least, shared)
    sizes = (spans[:, 1] - spans[:, 0])[pairs]
    return shared / np.maximum(sizes.sum(axis=1) - shared, 1), shared / np.maximum(sizes[:, 1], 1)


def distinct(hashes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted distinct hashes of each text, and offsets into them: what a Jaccard is counted on."""
    out, ends = np.empty(len(hashes), hashes.dtype), np.zeros(len(offsets), np.int64)
    return out[: _distinct(hashes, offsets, out, ends)], ends


def exact_classes(names: np.ndarray, scope: np.ndarray) -> np.ndarray:
    """For each rank the best rank with the same name (uint64 (ranks, 2)) in the same scope, int64 (ranks,)."""
    order = np.lexsort((np.arange(len(names)), names[:, 1], names[:, 0], scope))
    by_name, by_scope = names[order], scope[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (by_name[1:] != by_name[:-1]).any(axis=1) | (by_scope[1:] != by_scope[:-1])
    out = np.empty(len(order), np.int64)
    out[order] = order[is_first][np.cumsum(is_first) - 1] if len(order) else order
    return out


def stars(found: Pairs, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Anchor of each of `count` ranks (int64), and which of the pairs says so (int64; -1 for an anchor itself).

    From the best rank down, a document joins the most similar anchor that it has a pair with (ties: the better rank);
    without one it is an anchor. So no anchor is like another, and every member is like its anchor.
    """
    anchor, witness = np.arange(count, dtype=np.int64), np.full(count, -1, np.int64)
    order = np.lexsort((found.ranks[:, 0], -found.jaccard, found.ranks[:, 1]))
    _join(found.ranks, order, anchor, witness)
    return anchor, witness


def components(pairs: np.ndarray, count: int) -> np.ndarray:
    """Smallest rank in the connected component of each rank, int64 (count,)."""
    ones = np.ones(len(pairs), np.bool_)
    links = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, label = connected_components(links, directed=False)  # pyright: ignore[reportArgumentType]  # bool too, whatever the stub says
    smallest = np.full(count, count, np.int64)
    np.minimum.at(smallest, label, np.arange(count))
    return smallest[label]


def _refuse_twins(docs: pa.Table) -> None:
    counts = docs.group_by(["source", "id"]).aggregate([([], "count_all")])
    is_twin = counts["count_all"].to_numpy() > 1
    twins = counts.filter(pa.array(is_twin)).slice(0, 1).to_pylist()
    for twin in twins:
        raise SourceError(
            f"source '{twin['source']}' has {twin['count_all']} documents with the id '{twin['id']}'. An id must be "
            "unique within its source: set `id_field` to one that is, or remove the files that repeat."
        )


@jit
def _join(pairs: np.ndarray, order: np.ndarray, anchor: np.ndarray, witness: np.ndarray) -> None:
    for p in order:  # by the worse rank, then most similar first
        better, worse = pairs[p, 0], pairs[p, 1]
        if anchor[better] == better and anchor[worse] == worse:
            anchor[worse], witness[worse] = better, p


@jit
def _shared(
    sets: np.ndarray, begins: np.ndarray, ends: np.ndarray, pairs: np.ndarray, least: float, out: np.ndarray
) -> None:
    for p in range(len(pairs)):
        i, i_end = begins[pairs[p, 0]], ends[pairs[p, 0]]
        j, j_end = begins[pairs[p, 1]], ends[pairs[p, 1]]
        small, large = min(i_end - i, j_end - j), max(i_end - i, j_end - j)
        if large == 0 or small / large < least:
            continue
        count = 0
        while i < i_end and j < j_end:
            x, y = sets[i], sets[j]
            count += x == y
            i += x <= y
            j += y <= x
        out[p] = count


@jit
def _distinct(hashes: np.ndarray, offsets: np.ndarray, out: np.ndarray, ends: np.ndarray) -> int:
    total = 0
    for d in range(len(offsets) - 1):
        begin = total
        for h in np.sort(hashes[offsets[d] : offsets[d + 1]]):
            if total == begin or out[total - 1] != h:
                out[total] = h
                total += 1
        ends[d + 1] = total
    return total
