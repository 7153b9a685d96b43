"""Near-duplicates: bands -> candidate pairs (DuckDB, out of core) -> exact Jaccard -> star clusters -> keeper.

Reads clean directories, writes keep.parquet and removed.parquet: each removed document names the kept one it is like,
with the Jaccard and containment that were counted, not estimated. The result does not depend on the order of documents
or files, nor on threads. MinHash does not see semantic duplicates (two translations of one play).
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mixlab.data import clusters, kernels
from mixlab.data.documents import read_docs
from mixlab.errors import ConfigError
from mixlab.types import Dedup

VERSION = 1
BUCKET_CAP = 128  # documents in a bucket up to which every pair is compared
BUCKET_ANCHORS = 32  # in a larger one each document is compared with this many, the best keepers

BAND = pa.schema([("doc", pa.int64()), ("band", pa.int64()), ("hash", pa.uint64())])
Progress = Callable[[int, int], None]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What finding candidates may take. `memory` and `threads` do not change the result."""

    memory: str = "2GB"
    """DuckDB's share; beyond it the join spills to disk."""
    threads: int = 2
    bucket_cap: int = BUCKET_CAP


def near_duplicates(
    texts: kernels.Texts,
    threshold: float = 0.8,
    *,
    ngram: int = 5,
    num_perm: int = 128,
    bands: int = 21,  # 21 x 6: a pair at 0.8 is found with p = 0.998 (16 x 8: 0.947), for about 1.1-4 x the candidates
    rows: int = 6,
    seed: int = 1,
    unit: kernels.Unit = "word",
    limits: Limits = Limits(bucket_cap=1000),
) -> pd.DataFrame:
    """Pairs of texts whose shingle sets have a Jaccard of at least `threshold`: positions i < j, and jaccard.

    Sorted by (i, j). The Jaccard is counted on sets of 64-bit shingle hashes (two different books of
    100,000 words would share two 32-bit ones by chance), so precision is 1; recall at similarity s is
    1 - (1 - s^rows)^bands.
    `attrs` of the result hold `candidates` and `overflow` (buckets too large to compare every pair).

    >>> near_duplicates(["a b c d e f", "A, b, c, d, e f!", "x"])[["i", "j"]].values.tolist()
    [[0, 1]]
    """
    spec = Dedup(ngram=ngram, num_perm=num_perm, bands=bands, rows=rows, threshold=threshold, seed=seed)
    _check(spec)
    hashes, offsets = kernels.wide_hashes(texts, ngram, unit)
    row = np.arange(len(offsets) - 1)
    member = pa.table({"doc": row, "rank": row, "scope": row * 0}).filter(pa.array(np.diff(offsets) > 0))
    with tempfile.TemporaryDirectory(prefix="mixlab-dedup-") as scratch:
        with pq.ParquetWriter(Path(scratch) / "bands.parquet", BAND, compression="none") as writer:
            writer.write_table(_bands(0, hashes, offsets, spec))
        candidates, overflow = _candidates(member, Path(scratch), limits)
    spans, sets = np.zeros((len(row), 2), np.int64), [np.empty(0, np.uint64)]
    for i in np.unique(candidates):
        sets.append(np.unique(hashes[offsets[i] : offsets[i + 1]]))
        spans[i, 1] = len(sets[-1])
    spans += (np.cumsum(spans[:, 1]) - spans[:, 1])[:, None]
    found = clusters.verified(candidates, np.concatenate(sets), spans, threshold)
    frame = pd.DataFrame({"i": found.ranks[:, 0], "j": found.ranks[:, 1], "jaccard": found.jaccard})
    frame.attrs = {"candidates": found.candidates, "overflow": overflow}
    return frame


def dedup_pool(
    clean: Mapping[str, Path],
    spec: Dedup,
    out: Path,
    progress: Progress | None = None,
    *,
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """Manifest facts of a deduplicated pool of clean directories; writes keep.parquet and removed.parquet to `out`.

    First equal texts (same words in the same order), then near-duplicates of those left. A text without words is kept.
    With `spec.remove` off all documents are kept and only cluster and component are told. Raises ConfigError for
    impossible settings or an unknown priority, SourceError for an id that a source has twice.
    """
    began = time.monotonic()
    _check(spec)
    place = clusters.source_priority(spec.priority, list(clean))
    scratch = out / "scratch"
    scratch.mkdir(parents=True)
    try:
        docs, names = _scan(clean, spec, scratch, progress)
        rank = clusters.ranks(docs, place)
        best_first = np.argsort(rank)
        docs, names = docs.take(pa.array(best_first)), names[best_first]  # from here on a row is a rank
        scope = np.array([place[s] * (spec.scope == "within") for s in docs["source"].to_pylist()], np.int64)
        has_words = docs["shingles"].to_numpy() > 0
        row = np.arange(len(docs))
        first = np.where(has_words, clusters.exact_classes(names, scope), row)
        member = pa.table({"doc": best_first, "rank": row, "scope": scope}).filter(pa.array(has_words & (first == row)))
        candidates, overflow = _candidates(member, scratch, limits)
        found = _verify(clean, spec, rank, candidates, scratch, progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    facts = clusters.write_lists(out, docs, spec, first, found) | {"overflow": overflow}
    logger.info("dedup: %d of %d removed, %.1f s, %s", facts["removed"], len(docs), time.monotonic() - began, out)
    return facts


def _check(spec: Dedup) -> None:
    if min(spec.bands, spec.rows, spec.ngram) < 1 or spec.bands * spec.rows > spec.num_perm:
        raise ConfigError(
            f"dedup: {spec.bands} bands x {spec.rows} rows of {spec.ngram}-grams need {spec.bands * spec.rows} "
            f"permutations of {spec.num_perm}. Raise num_perm or lower bands or rows; each must be at least 1."
        )
    if not 0 < spec.threshold <= 1:
        raise ConfigError(f"dedup: threshold = {spec.threshold} is not a Jaccard; it must be above 0 and at most 1.")


def _scan(
    clean: Mapping[str, Path], spec: Dedup, scratch: Path, progress: Progress | None
) -> tuple[pa.Table, np.ndarray]:
    """(source, id, bytes, shingles) of each document as read, and the name of its text; writes the bands."""
    tables: list[pa.Table] = []
    names = [np.empty((0, 2), np.uint64)]
    with pq.ParquetWriter(scratch / "bands.parquet", BAND, compression="none", use_dictionary=False) as writer:
        for source, begin, batch in _batches(clean, progress, 0):
            hashes, offsets = kernels.wide_hashes(batch["text"], spec.ngram)
            writer.write_table(_bands(begin, hashes, offsets, spec))
            names.append(kernels.text_hashes(hashes, offsets))
            columns = {
                "source": pa.array([source] * len(batch), pa.string()),
                "id": batch["id"],
                "bytes": pc.call_function("binary_length", [batch["text"]]).cast(pa.int64()),
                "shingles": np.diff(offsets),
            }
            tables.append(pa.table(columns))
    empty = pa.schema([("source", pa.string()), ("id", pa.string()), ("bytes", pa.int64()), ("shingles", pa.int64())])
    return pa.concat_tables([empty.empty_table(), *tables]).combine_chunks(), np.concatenate(names)


def _batches(
    clean: Mapping[str, Path], progress: Progress | None, half: int
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """(source, number of its first document, batch) over all directories, the same each time; tells the progress."""
    total = sum(pq.read_metadata(path).num_rows for d in clean.values() for path in d.glob("docs-*.parquet"))
    done = 0
    for source in sorted(clean):
        for batch in read_docs(clean[source], ["id", "text"]):
            yield source, done, batch
            done += len(batch)
            if progress:
                progress(half * total + done, 2 * total)


def _bands(begin: int, hashes: np.ndarray, offsets: np.ndarray, spec: Dedup) -> pa.Table:
    signature = kernels.minhash(kernels.narrow(hashes), offsets, spec.num_perm, spec.seed)
    band = kernels.band_hashes(signature, spec.bands, spec.rows)
    doc = np.arange(begin, begin + len(band))
    columns = [np.repeat(doc, spec.bands), np.tile(np.arange(spec.bands), len(doc)), band.ravel()]
    return pa.table(columns, schema=BAND)


def _candidates(member: pa.Table, scratch: Path, limits: Limits) -> tuple[np.ndarray, dict[str, int]]:
    """Pairs of ranks that share a bucket, int64 (pairs, 2), better first; and what was not compared.

    `member` (doc, rank, scope) says who takes part; a bucket is a band, a hash and a scope. In a bucket of more than
    `bucket_cap` documents each is compared with the BUCKET_ANCHORS best ranks only: linear, not quadratic.
    """
    settings = {"memory_limit": limits.memory, "threads": limits.threads, "temp_directory": str(scratch / "spill")}
    with duckdb.connect(config={**settings, "preserve_insertion_order": False}) as con:
        con.register("member", member)
        con.execute(SHARED, [str(scratch / "bands.parquet")])
        limit = {"cap": limits.bucket_cap, "anchors": BUCKET_ANCHORS}
        told = con.execute(OVERFLOW, limit).fetchall()[0]
        pairs = con.sql(CANDIDATES, params=limit).to_arrow_table()
    found = np.column_stack([pairs["i"].to_numpy(), pairs["j"].to_numpy()]).astype(np.int64).reshape(-1, 2)
    names = ("buckets", "documents", "largest", "comparisons_skipped")
    overflow = {**limit, **dict(zip(names, map(int, told), strict=True))}
    if overflow["buckets"]:
        logger.warning("dedup: %d buckets hold more than %d documents each, up to %d; there each document was compared "
                       "with the %d best keepers only", overflow["buckets"], limits.bucket_cap, overflow["largest"],
                       BUCKET_ANCHORS)  # fmt: skip
    return found, overflow


SHARED = """
create temp table shared as
with bucket as (
    select band, hash, scope, rank, count(*) over b as size, row_number() over (b order by rank) as place
    from read_parquet(?) join member using (doc) window b as (partition by band, hash, scope)
)
select * from bucket where size > 1"""

OVERFLOW = """
select count(*) filter (place = 1), count(distinct rank), coalesce(max(size), 0), coalesce(sum(size - place)
    filter (place > $anchors), 0)
from shared where size > $cap"""

CANDIDATES = """
select distinct a.rank as i, b.rank as j
from shared a join shared b using (band, hash, scope)
where a.rank < b.rank and (a.size <= $cap or a.place <= $anchors)"""


def _verify(
    clean: Mapping[str, Path],
    spec: Dedup,
    rank: np.ndarray,
    candidates: np.ndarray,
    scratch: Path,
    progress: Progress | None,
) -> clusters.Pairs:
    """Reads the candidates' texts again and counts; their sets of shingles lie on disk, not in memory."""
    is_wanted = np.zeros(len(rank), np.bool_)
    is_wanted[candidates.ravel()] = True
    spans, at = np.zeros((len(rank), 2), np.int64), 0
    with open(scratch / "sets.u64", "wb") as file:
        file.write(bytes(8))  # an empty file cannot be mapped
        for _, begin, batch in _batches(clean, progress, 1):
            ranks = rank[begin : begin + len(batch)]
            wanted = is_wanted[ranks]
            hashes, offsets = kernels.wide_hashes(batch["text"].filter(pa.array(wanted)), spec.ngram)
            for r, from_, to in zip(ranks[wanted], offsets, offsets[1:], strict=False):
                distinct = np.unique(hashes[from_:to])
                distinct.tofile(file)
                spans[r] = at + 1, at + 1 + len(distinct)
                at += len(distinct)
    sets = np.memmap(scratch / "sets.u64", np.uint64, mode="r+")
    return clusters.verified(candidates, sets, spans, spec.threshold)
