"""From candidate pairs to clusters: which are alike, whom each document is like, and who is kept.

Documents are numbered by rank, 0 the best keeper. A star cluster holds an anchor and documents like *it*; a component
also holds documents that are alike only through others. Both depend on the pairs alone, not on any order of reading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mixlab.data.kernels import jit
from mixlab.errors import ConfigError, SourceError, nearest
from mixlab.types import Dedup

NAME = [("source", pa.string()), ("id", pa.string())]
KEPT = [("kept_source", pa.string()), ("kept_id", pa.string())]
LIKENESS = [("jaccard", pa.float64()), ("containment", pa.float64())]
KEEP = pa.schema([*NAME, ("cluster", pa.int64()), ("component", pa.int64())])
REMOVED = pa.schema([*NAME, *KEPT, *LIKENESS, ("cluster", pa.int64()), ("exact", pa.bool_())])
ALARM_SHARE = 0.5  # of a source's documents; a source that loses more is named in the manifest
CURVE = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # similarities at which the detection curve is told


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
            raise ConfigError(f"dedup.priority names '{name}', which is not a source.{nearest(name, sources)}")
    order = [*priority, *sorted(set(sources) - set(priority))]
    return {name: place for place, name in enumerate(order)}


def ranks(docs: pa.Table, priority: Mapping[str, int]) -> np.ndarray:
    """Rank of each row (source, id, bytes) as keeper, int64: source priority, then the longer text, then the id.

    Raises SourceError if a source has two documents of one id: which to keep would depend on the order of reading.
    """
    _refuse_twins(docs)
    place = [priority[name] for name in docs["source"].to_pylist()]
    keys = pa.table(
        {"place": pa.array(place, pa.int64()), "bytes": docs["bytes"], "id": docs["id"], "row": np.arange(len(docs))}
    )
    order = keys.sort_by([("place", "ascending"), ("bytes", "descending"), ("id", "ascending")])["row"].to_numpy()
    out = np.empty(len(order), np.int64)
    out[order] = np.arange(len(order))
    return out


def verified(candidates: np.ndarray, sets: np.ndarray, spans: np.ndarray, threshold: float) -> Pairs:
    """The candidates (int64 (pairs, 2)) whose exact Jaccard is at least `threshold`.

    `sets` holds sorted distinct shingle hashes (uint64); those of rank r are sets[spans[r, 0]:spans[r, 1]].
    """
    shared = _shared_counts(sets, spans[:, 0].copy(), spans[:, 1].copy(), candidates, threshold)
    sizes = (spans[:, 1] - spans[:, 0])[candidates]
    jaccard = shared / np.maximum(sizes.sum(axis=1) - shared, 1)
    alike = jaccard >= threshold
    order = np.lexsort((candidates[alike, 1], candidates[alike, 0]))
    containment = shared[alike] / sizes[alike, 1]
    return Pairs(
        ranks=candidates[alike][order],
        jaccard=jaccard[alike][order],
        containment=containment[order],
        candidates=len(candidates),
    )


def exact_classes(names: np.ndarray, scope: np.ndarray) -> np.ndarray:
    """For each rank the best rank with the same name (uint64 (ranks, 2)) in the same scope, int64 (ranks,)."""
    order = np.lexsort((np.arange(len(names)), names[:, 1], names[:, 0], scope))
    by_name, by_scope = names[order], scope[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (by_name[1:] != by_name[:-1]).any(axis=1) | (by_scope[1:] != by_scope[:-1])
    out = np.empty(len(order), np.int64)
    out[order] = order[is_first][np.cumsum(is_first) - 1] if len(order) else order
    return out


def write_lists(out: Path, docs: pa.Table, spec: Dedup, first: np.ndarray, found: Pairs) -> dict[str, Any]:
    """Facts for the manifest; writes keep.parquet and removed.parquet to `out`, sorted by (source, id).

    A row of `docs` (source, id) is a rank; `first` is the best rank with the same text.
    """
    anchor, witness = stars(found, len(docs))
    component = components(found.ranks, len(docs))[first]
    cluster, seen = anchor[first], witness[first]
    lost = np.flatnonzero(cluster != np.arange(len(docs))) if spec.remove else np.empty(0, np.int64)
    has_witness = seen[lost] >= 0  # the others equal their anchor
    jaccard, containment = np.ones(len(lost)), np.ones(len(lost))
    jaccard[has_witness] = found.jaccard[seen[lost][has_witness]]
    containment[has_witness] = found.containment[seen[lost][has_witness]]
    rows, kept = docs.take(pa.array(lost)), docs.take(pa.array(cluster[lost]))
    names = [rows["source"], rows["id"], kept["source"], kept["id"]]
    removed = pa.table([*names, jaccard, containment, cluster[lost], ~has_witness], schema=REMOVED)
    stays = np.ones(len(docs), np.bool_)
    stays[lost] = False
    keep = pa.table([docs["source"], docs["id"], cluster, component], schema=KEEP).filter(pa.array(stays))
    by_name = [("source", "ascending"), ("id", "ascending")]
    told = {"ngram": str(spec.ngram), "threshold": repr(spec.threshold)}  # the hold-out looks for pairs of this kind
    pq.write_table(keep.sort_by(by_name).replace_schema_metadata(told), out / "keep.parquet", compression="zstd")
    pq.write_table(removed.sort_by(by_name), out / "removed.parquet", compression="zstd")
    return _facts(docs, removed, spec, found)


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
    _, label = connected_components(coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count)), directed=False)
    smallest = np.full(count, count, np.int64)
    np.minimum.at(smallest, label, np.arange(count))
    return smallest[label]


def _facts(docs: pa.Table, removed: pa.Table, spec: Dedup, found: Pairs) -> dict[str, Any]:
    total = _counts(docs["source"])
    lost = _counts(removed["source"])
    per_source = {s: {"docs_in": n, "removed": lost.get(s, 0)} for s, n in sorted(total.items())}
    return {
        "docs_in": len(docs),
        "docs": len(docs) - len(removed),
        "removed": len(removed),
        "removed_exact": int(removed["exact"].to_numpy().sum()),
        "per_source": per_source,
        "candidates": found.candidates,
        "pairs_verified": len(found.ranks),
        "detection": {str(s): round(spec.detection(s), 4) for s in CURVE},
        "alarms": [
            f"source '{s}' lost {n['removed']} of {n['docs_in']} documents to near-duplicates"
            for s, n in per_source.items()
            if n["removed"] > ALARM_SHARE * n["docs_in"]
        ],
        "spec": asdict(spec),
    }


def _counts(names: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in names.value_counts().to_pylist()}


def _refuse_twins(docs: pa.Table) -> None:
    counts = docs.group_by(["source", "id"]).aggregate([([], "count_all")])
    is_twin = counts["count_all"].to_numpy() > 1
    twins = counts.filter(pa.array(is_twin)).slice(0, 1).to_pylist()
    for twin in twins:
        raise SourceError(
            f"source '{twin['source']}' has {twin['count_all']} documents with the id '{twin['id']}'. An id must be "
            "unique within its source: set `id_field` to one that is, or remove the files that repeat."
        )


def _shared_counts(
    sets: np.ndarray, begins: np.ndarray, ends: np.ndarray, pairs: np.ndarray, least: float
) -> np.ndarray:
    """Elements common to both sets of each pair, int64 (pairs,).

    `sets` holds sorted distinct uint64; set s is sets[begins[s]:ends[s]]. A pair whose sizes alone rule out a Jaccard
    of `least` gets 0 without being counted.
    """
    out = np.zeros(len(pairs), np.int64)
    _shared(sets, begins, ends, pairs, least, out)
    return out


@jit
def _join(pairs, order, anchor, witness):
    for p in order:  # by the worse rank, then most similar first
        better, worse = pairs[p, 0], pairs[p, 1]
        if anchor[better] == better and anchor[worse] == worse:
            anchor[worse], witness[worse] = better, p


@jit
def _shared(sets, begins, ends, pairs, least, out):
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
