"""Why each document went, and how far to trust that: witnesses, shared spans, alarms, and what was planted.

Reads pairs and shingles that were counted elsewhere; writes keep.parquet and removed.parquet.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixlab.data import clusters
from mixlab.data.documents import values, write_list
from mixlab.data.jit import jit
from mixlab.seeds import generator
from mixlab.types import Dedup

NAME = [("source", pa.string()), ("id", pa.string())]
KEPT = [("kept_source", pa.string()), ("kept_id", pa.string())]
LIKENESS = [("jaccard", pa.float64()), ("containment", pa.float64())]
SPAN = [("shared_words", pa.int64()), ("shared_start", pa.int64()), ("kept_start", pa.int64())]
SIZE = ("cluster_size", pa.int64())
KEEP = pa.schema([*NAME, ("cluster", pa.int64()), ("component", pa.int64())])
REMOVED = pa.schema(
    [*NAME, *KEPT, *LIKENESS, ("cluster", pa.int64()), ("exact", pa.bool_()), ("reason", pa.string()), *SPAN, SIZE]
)
"""One row per removed document. `shared_words`: length of a run of words that both texts hold, from word
`shared_start` (counted from 0) of the removed text and `kept_start` of the kept one."""
CURVE = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # similarities at which the detection curve is told
UNLIKE = 0.5  # Jaccard of two members below which a cluster is named in the alarms
MEMBERS = 64  # of a cluster that are compared with its least similar member
PLANTED = (0.01, 0.03, 0.10)  # shares of words that are edited


@dataclass(frozen=True, kw_only=True, slots=True)
class Shingles:
    """Hashes of those documents that were compared, on disk or in memory."""

    sets: np.ndarray
    """uint64: sorted distinct shingles; those of rank r are sets[spans[r, 0]:spans[r, 1]]."""
    spans: np.ndarray
    runs: np.ndarray
    """uint64: all shingles in the order of the text; those of rank r are runs[places[r, 0]:places[r, 1]]."""
    places: np.ndarray


def write_lists(
    out: Path, docs: pa.Table, spec: Dedup, first: np.ndarray, short: np.ndarray, found: clusters.Pairs, said: Shingles
) -> dict[str, Any]:
    """Facts for the manifest; writes keep.parquet and removed.parquet to `out`, sorted by (source, id).

    A row of `docs` (source, id) is a rank; `first` is the best rank with the same text; `short` (bool) those that go
    for their length alone.
    """
    count = len(docs)
    component = clusters.components(found.ranks, count)
    anchor = clusters.stars(found, count)[0] if spec.clusters == "star" else component
    cluster = anchor[first]
    is_lost = (cluster != np.arange(count)) | short if spec.remove else np.zeros(count, np.bool_)
    lost = np.flatnonzero(is_lost)
    size = np.bincount(cluster, minlength=count)
    removed = _removed(docs, spec, lost, cluster, size, first, short, said)
    columns: list[Any] = [docs["source"], docs["id"], cluster, component[first]]
    keep = pa.table(columns, schema=KEEP).filter(pa.array(~is_lost))
    told = {"ngram": str(spec.ngram), "threshold": repr(spec.threshold)}  # the hold-out looks for pairs of this kind
    _write(keep.replace_schema_metadata(told), out / "keep.parquet")
    _write(removed, out / "removed.parquet")
    least, unlike = _least_alike(docs, anchor, said)
    shape = {"of_two_or_more": int((size > 1).sum()), "largest": int(size.max(initial=0)), "least_alike": least}
    facts = _facts(docs, removed, spec, found)
    return facts | {"clusters": shape, "alarms": facts["alarms"] + unlike}


def planted(texts: Sequence[str], seed: int) -> list[list[str]]:
    """Copies of `texts` with 1, 3 and 10 % of their words replaced (at least one), a list for each share."""
    out = list[list[str]]()
    for share in PLANTED:
        draw = generator(seed, "planted", str(share))
        edited = list[str]()
        for text in texts:
            words = text.split()
            size = max(round(share * len(words)), 1)
            for place in draw.choice(len(words), min(size, len(words)), replace=False):
                words[place] = f"planted{draw.integers(10**9)}"
            edited.append(" ".join(words))
        out.append(edited)
    return out


def _removed(
    docs: pa.Table,
    spec: Dedup,
    lost: np.ndarray,
    cluster: np.ndarray,
    size: np.ndarray,
    first: np.ndarray,
    short: np.ndarray,
    said: Shingles,
) -> pa.Table:
    kept, is_short = cluster[lost], short[lost]
    near = first[lost] != kept  # the others equal their anchor
    pairs = np.column_stack([kept, first[lost]])[near]
    jaccard, containment = np.ones(len(lost)), np.ones(len(lost))
    jaccard[near], containment[near] = clusters.likeness(pairs, said.sets, said.spans)
    span = np.zeros((len(lost), 3), np.int64)
    span[near] = shared_runs(pairs, said)
    span[near, 0] += (spec.ngram - 1) * (span[near, 0] > 0)
    reason = np.where(near, "near" if spec.clusters == "star" else "closure", "exact")
    whole = ~near | is_short  # an equal text is shared as a whole, a short one with none
    rows, to = docs.take(lost), docs.take(kept)
    names: list[Any] = [rows["source"], rows["id"]]
    names += [pa.array(values(to, name), pa.string(), mask=is_short) for name in ("source", "id")]
    columns: list[Any] = [
        *names,
        pa.array(jaccard, mask=is_short),
        pa.array(containment, mask=is_short),
        kept,
        ~near & ~is_short,
        np.where(is_short, "short", reason),
        *(pa.array(span[:, k], mask=whole) for k in range(3)),
        size[kept],
    ]
    return pa.table(columns, schema=REMOVED)


def _write(table: pa.Table, path: Path) -> None:
    """Writes the rows by (source, id)."""
    unsorted: Any = table  # the stub leaves the type of options open
    write_list(unsorted.sort_by([("source", "ascending"), ("id", "ascending")]), path)


def shared_runs(pairs: np.ndarray, said: Shingles) -> np.ndarray:
    """(shingles, start in the second, start in the first) of a run of shingles that both of each pair hold, int64.

    Found by one pass over the second text: the longest of the runs that begin at a shingle's first place in the first.
    """
    order = np.argsort(pairs[:, 0], kind="stable") if len(pairs) else np.empty(0, np.int64)
    out = np.zeros((len(pairs), 3), np.int64)
    _runs(said.runs, said.places, pairs, order, out)
    return out


def _least_alike(docs: pa.Table, anchor: np.ndarray, said: Shingles) -> tuple[float | None, list[str]]:
    """The lowest Jaccard met within a cluster of three or more different texts, and a sentence if some are unlike.

    In each cluster the member least like the anchor is compared with up to 64 others: a lower bound of its diameter.
    """
    member = np.flatnonzero(anchor != np.arange(len(anchor)))
    if not len(member):
        return None, []
    to = anchor[member]
    jaccard = clusters.likeness(np.column_stack([to, member]), said.sets, said.spans)[0]
    order = np.lexsort((member, jaccard, to))
    member, to, jaccard = member[order], to[order], jaccard[order]
    starts = np.flatnonzero(np.r_[True, to[1:] != to[:-1]])
    place = np.arange(len(to)) - np.repeat(starts, np.diff(np.r_[starts, len(to)]))
    far = member[np.repeat(starts, np.diff(np.r_[starts, len(to)]))]
    others = (place > 0) & (place <= MEMBERS)
    across = clusters.likeness(np.column_stack([far, member])[others], said.sets, said.spans)[0]
    lowest = jaccard.copy()
    lowest[others] = np.minimum(lowest[others], across)
    least = np.minimum.reduceat(lowest, starts)
    unlike = np.flatnonzero(least < UNLIKE)
    if not len(unlike):
        return float(least.min()), []
    worst = docs.take([int(to[starts[unlike[np.argmin(least[unlike])]]])]).to_pylist()[0]
    sentence = (
        f"{len(unlike)} clusters hold documents that are not alike (Jaccard below {UNLIKE}); the worst, at "
        f"{least.min():.2f}, is that of {worst['source']}/{worst['id']}"
    )
    return float(least.min()), [sentence]


def _facts(docs: pa.Table, removed: pa.Table, spec: Dedup, found: clusters.Pairs) -> dict[str, Any]:
    total, lost = _counts(docs["source"]), _counts(removed["source"])
    per_source = {s: {"docs_in": n, "removed": lost.get(s, 0)} for s, n in sorted(total.items())}
    return {
        "docs_in": len(docs),
        "docs": len(docs) - len(removed),
        "removed": len(removed),
        "removed_exact": int(removed["exact"].to_numpy().sum()),
        "reasons": dict(sorted(_counts(removed["reason"]).items())),
        "per_source": per_source,
        "candidates": found.candidates,
        "pairs_verified": len(found.ranks),
        "detection": {str(s): round(spec.detection(s), 4) for s in CURVE},
        "alarms": [
            f"source '{s}' lost {n['removed']} of {n['docs_in']} documents to near-duplicates"
            for s, n in per_source.items()
            if n["removed"] > spec.alarm_share * n["docs_in"]
        ],
        "spec": asdict(spec),
    }


def _counts(names: "pa.ChunkedArray[Any]") -> dict[str, int]:
    counts: Any = names.value_counts()
    return {row["values"]: row["counts"] for row in counts.to_pylist()}


@jit
def _runs(runs: np.ndarray, places: np.ndarray, pairs: np.ndarray, order: np.ndarray, out: np.ndarray) -> None:
    last, by_hash, sorted_ = -1, np.empty(0, np.int64), np.empty(0, np.uint64)
    for p in order:
        one, other = pairs[p, 0], pairs[p, 1]
        a, b = runs[places[one, 0] : places[one, 1]], runs[places[other, 0] : places[other, 1]]
        if one != last:
            by_hash = np.argsort(a, kind="mergesort")  # stable: equal shingles stay in the order of the text
            sorted_ = a[by_hash]
            last = one
        at, length = -1, 0
        for i in range(len(b)):
            if length > 0 and at + 1 < len(a) and a[at + 1] == b[i]:
                at += 1
                length += 1
            else:
                h: np.uint64 = b[i]
                place = np.searchsorted(sorted_, h)
                length = 1 if place < len(a) and sorted_[place] == b[i] else 0
                at = by_hash[place] if length else -1
            if length > out[p, 0]:
                out[p, 0], out[p, 1], out[p, 2] = length, i - length + 1, at - length + 1
