"""Near-duplicates: bands -> candidate pairs (DuckDB, out of core) -> exact Jaccard -> star clusters -> keeper.

Reads clean directories, writes keep.parquet and removed.parquet: each removed document names the kept one it is like,
with the Jaccard and containment that were counted, not estimated. The result does not depend on the order of documents
or files, nor on threads, processes or back end. MinHash does not see semantic duplicates: two
translations of one play.
"""

import functools
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mixlab.data import clusters, evidence, kernels, pool, signatures
from mixlab.data.report import DedupReport, lay_out
from mixlab.data.shardmap import map_shards
from mixlab.errors import ConfigError
from mixlab.types import Dedup, Document
from mixlab.workspace import lands_at

VERSION = 2
BUCKET_ANCHORS = 32  # in a bucket over the cap each document is compared with this many, the best keepers

DEFAULT = Dedup()
Progress = Callable[[int, int], None]
Corpora = Mapping[str, Path | str | Iterable[str | Document | Mapping[str, Any]]]
logger = logging.getLogger(__name__)


def dedup(corpora: Corpora, spec: Dedup = DEFAULT, *, out: Path | None = None) -> DedupReport:
    """Which documents of `corpora` stay, which go and why, how far to trust it. Nothing is deleted.

    `corpora`: name -> a directory of `docs-*.parquet` (raw or clean), or documents, or texts (whose ids are then their
    positions). `out`: where keep.parquet and removed.parquet stay, with the signatures, so that a killed call continues
    and a later one with more sources signs only those; None: a temporary folder. To compare a new source with old ones
    that lose nothing, name those in `spec.against`. Raises ConfigError and SourceError as `dedup_pool` does.

    >>> report = dedup({"a": ["one two three four five six"], "b": ["One, two, three, four, five, six!", "other"]})
    >>> report.removed[["source", "id", "kept_source", "jaccard"]].values.tolist()
    [['b', '0', 'a', 1.0]]
    """
    with tempfile.TemporaryDirectory(prefix="mixlab-dedup-") as scratch:
        where = out or Path(scratch) / "out"
        where.mkdir(parents=True, exist_ok=True)
        facts = dedup_pool(lay_out(corpora, Path(scratch)), spec, where, shards=where / "signatures")
        return DedupReport.read(where, facts)


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
    bucket_cap: int = 1000,
    memory: str = "2GB",
) -> pd.DataFrame:
    """Pairs of texts whose shingle sets have a Jaccard of at least `threshold`: positions i < j, and jaccard.

    Sorted by (i, j). The Jaccard is counted on sets of 64-bit shingle hashes (two different books of
    100,000 words would share two 32-bit ones by chance), so precision is 1; recall at similarity s is
    1 - (1 - s^rows)^bands.
    `attrs` of the result hold `candidates`, `overflow` (buckets too large to compare every pair) and `detection`, the
    curve behind the threshold.

    >>> near_duplicates(["a b c d e f", "A, b, c, d, e f!", "x"])[["i", "j"]].values.tolist()
    [[0, 1]]
    """
    told: dict[str, Any] = {
        "bands": bands,
        "rows": rows,
        "threshold": threshold,
        "seed": seed,
        "bucket_cap": bucket_cap,
    }
    spec = Dedup(ngram=ngram, num_perm=num_perm, memory=memory, **told)
    _check(spec)
    hashes, offsets = kernels.wide_hashes(texts, ngram, unit)
    row = np.flatnonzero(np.diff(offsets) > 0)
    with tempfile.TemporaryDirectory(prefix="mixlab-dedup-") as scratch:
        signed = kernels.minhash(kernels.narrow(hashes), offsets, num_perm, seed)
        _write_bands([(row, np.zeros_like(row), signed[row])], Path(scratch), spec)
        candidates, overflow = _candidates(Path(scratch), spec)
    spans, sets = np.zeros((len(offsets) - 1, 2), np.int64), [np.empty(0, np.uint64)]
    for i in np.unique(candidates):
        sets.append(np.unique(hashes[offsets[i] : offsets[i + 1]]))
        spans[i, 1] = len(sets[-1])
    spans += (np.cumsum(spans[:, 1]) - spans[:, 1])[:, None]
    found = clusters.verified(candidates, np.concatenate(sets), spans, threshold)
    frame = pd.DataFrame({"i": found.ranks[:, 0], "j": found.ranks[:, 1], "jaccard": found.jaccard})
    curve = {similarity: round(spec.detection(similarity), 4) for similarity in evidence.CURVE}
    frame.attrs = {"candidates": found.candidates, "overflow": overflow, "detection": curve}
    return frame


def dedup_pool(
    clean: Mapping[str, Path],
    spec: Dedup,
    out: Path,
    progress: Progress | None = None,
    *,
    shards: Path | None = None,
) -> dict[str, Any]:
    """Manifest facts of a deduplicated pool of clean directories; writes keep.parquet and removed.parquet to `out`.

    First equal texts (same words in the same order), then near-duplicates of those left. A text without words is kept
    unless short documents are dropped. With `spec.remove` off all documents are kept and only cluster and component are
    told. `shards`: the folder where signatures stay, one file per file of documents; None: below `out`, for this call.
    Raises ConfigError for impossible settings or an unknown source, SourceError for an id that a source has twice,
    EnvironmentFault for signatures that are damaged or were made otherwise.
    """
    began = time.monotonic()
    _check(spec)
    place = clusters.source_priority([*spec.against, *spec.priority], list(clean))
    scratch = out / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed call left
    scratch.mkdir(parents=True)
    try:
        signed = signatures.shards(clean, spec, shards or scratch / "signatures")
        unique = list({s.signatures: (s.docs, s.signatures) for s in signed}.values())
        first_half = None if progress is None else functools.partial(_doubled, progress)
        map_shards(signatures.writer(spec), unique, executor=spec.executor, workers=spec.workers, progress=first_half)
        docs, names = pool.scan(signed, spec)
        rank = clusters.ranks(docs, place)
        best_first = np.argsort(rank)
        docs, names = docs.take(best_first), names[best_first]  # from here on a row is a rank
        first, short, near, scope = pool.roles(docs, names, spec, place)
        _write_bands(pool.members(signed, rank, scope, near), scratch, spec)
        old = int(np.isin(docs["source"].to_numpy(zero_copy_only=False), list(spec.against)).sum())
        candidates, overflow = _candidates(scratch, spec, old)
        plants = pool.plantable(docs, near)
        said, texts = pool.reread(signed, spec, rank, candidates, plants, scratch, progress)
        found = clusters.verified(candidates, said.sets, said.spans, spec.threshold)
        facts = evidence.write_lists(out, docs, spec, first, short, found, said)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if overflow["buckets"]:
        facts["alarms"].append(_overflowed(overflow))
    logger.info(
        "dedup: %d of %d removed, %.1f s, %s", facts["removed"], len(docs), time.monotonic() - began, lands_at(out)
    )
    return facts | {"overflow": overflow, "planted": planted_recall(texts, spec)}


def _doubled(progress: Progress, done: int, total: int) -> None:
    """Tells of the first of two passes."""
    progress(done, 2 * total)


def planted_recall(texts: Sequence[str], spec: Dedup) -> list[dict[str, Any]]:
    """How many planted near-duplicates the search finds: 1, 3 and 10 % of the words of `texts` edited, a row for each.

    `alike` of the pairs have a Jaccard of at least the threshold; `recall` is the share of those that is found,
    `expected` what the detection curve says of them. The planted pass through the same search as any text.
    """
    out, count = list[dict[str, Any]](), len(texts)
    for share, copies in zip(evidence.PLANTED, evidence.planted(texts, spec.seed), strict=True):
        row: dict[str, Any] = {"edited": share, "pairs": count, "alike": 0, "found": 0, "recall": None}
        if count:
            sets, ends = clusters.distinct(*kernels.wide_hashes([*texts, *copies], spec.ngram))
            pairs = np.column_stack([np.arange(count), np.arange(count, 2 * count)])
            jaccard, _ = clusters.likeness(pairs, sets, np.column_stack([ends[:-1], ends[1:]]))
            alike = jaccard >= spec.threshold
            told = {name: getattr(spec, name) for name in ("ngram", "num_perm", "bands", "rows", "seed")}
            found = near_duplicates([*texts, *copies], spec.threshold, **told)
            hits = {(i, j) for i, j in zip(found["i"], found["j"], strict=True)}
            caught = sum((i, j) in hits for i, j in pairs[alike].tolist())
            row |= {"alike": int(alike.sum()), "found": caught, "jaccard": round(float(jaccard.mean()), 4)}
            if alike.any():
                expected = float(np.mean([spec.detection(s) for s in jaccard[alike]]))
                row |= {"recall": caught / int(alike.sum()), "expected": round(expected, 4)}
        out.append(row)
    return out


def _check(spec: Dedup) -> None:
    if min(spec.bands, spec.rows, spec.ngram) < 1 or spec.bands * spec.rows > spec.num_perm:
        raise ConfigError(
            f"dedup: {spec.bands} bands x {spec.rows} rows of {spec.ngram}-grams need {spec.bands * spec.rows} "
            f"permutations of {spec.num_perm}. Raise num_perm or lower bands or rows; each must be at least 1."
        )
    if not 0 < spec.threshold <= 1:
        raise ConfigError(f"dedup: threshold = {spec.threshold} is not a Jaccard; it must be above 0 and at most 1.")
    if spec.short_words is not None and spec.short_words < spec.ngram:
        raise ConfigError(
            f"dedup: short_words = {spec.short_words} is below ngram = {spec.ngram}; a text of up to {spec.ngram} "
            "words is one shingle, the shortest that can be told apart. Raise short_words or leave it out."
        )


def _write_bands(members: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], scratch: Path, spec: Dedup) -> None:
    """One column of bucket hashes per band, so that the join reads one band at a time."""
    fields = [("rank", pa.int64()), ("scope", pa.int64()), *((f"b{k}", pa.uint64()) for k in range(spec.bands))]
    schema = pa.schema(fields)
    with pq.ParquetWriter(scratch / "bands.parquet", schema, compression="none", use_dictionary=False) as writer:
        for rank, scope, signature in members:
            band = kernels.band_hashes(np.ascontiguousarray(signature), spec.bands, spec.rows)
            columns: list[Any] = [rank, scope, *np.ascontiguousarray(band.T)]
            writer.write_table(pa.table(columns, schema=schema))


def _candidates(scratch: Path, spec: Dedup, old: int = 0) -> tuple[np.ndarray, dict[str, int]]:
    """Pairs of ranks that share a bucket, int64 (pairs, 2), better first; and what was not compared.

    A bucket is a band, a hash and a scope. In one of more than `bucket_cap` documents each is compared with the
    BUCKET_ANCHORS best ranks only: linear, not quadratic. Ranks below `old` are not compared with each other.
    """
    limit = {"cap": spec.bucket_cap, "anchors": BUCKET_ANCHORS}
    told = np.zeros((spec.bands, 3), np.int64)
    settings = {"memory_limit": spec.memory, "threads": spec.workers or 2, "temp_directory": str(scratch / "spill")}
    with duckdb.connect(config={**settings, "preserve_insertion_order": False}) as con:
        con.execute("create temp table candidate (i bigint, j bigint)")
        con.execute("create temp table crowded (rank bigint)")
        for band in range(spec.bands):
            con.execute(SHARED.format(band=f"b{band}"), {"file": str(scratch / "bands.parquet")})
            told[band] = con.execute(OVERFLOW, limit).fetchall()[0]
            con.execute("insert into crowded select rank from shared where size > $cap", {"cap": spec.bucket_cap})
            con.execute(CANDIDATES, {**limit, "old": old})
        crowded = con.execute("select count(distinct rank) from crowded").fetchall()[0][0]
        pairs = con.sql("select distinct i, j from candidate").to_arrow_table()
    found = np.column_stack([pairs["i"].to_numpy(), pairs["j"].to_numpy()]).astype(np.int64).reshape(-1, 2)
    overflow = {"buckets": int(told[:, 0].sum()), "documents": int(crowded), "largest": int(told[:, 1].max(initial=0))}
    overflow = {**limit, **overflow, "comparisons_skipped": int(told[:, 2].sum())}
    if overflow["buckets"]:
        logger.warning("dedup: %s", _overflowed(overflow))
    return found[np.lexsort((found[:, 1], found[:, 0]))], overflow


def _overflowed(overflow: Mapping[str, int]) -> str:
    return (
        f"{overflow['buckets']} buckets hold more than {overflow['cap']} documents each, up to {overflow['largest']}; "
        f"there each document was compared with the {overflow['anchors']} best keepers only"
    )


SHARED = """
create or replace temp table shared as
with member as (select {band} as hash, scope, rank from read_parquet($file)),
     bucket as (select hash, scope, count(*) as size from member group by all having count(*) > 1)
select hash, scope, rank, size, row_number() over (partition by hash, scope order by rank) as place
from member join bucket using (hash, scope)"""

OVERFLOW = """
select count(*) filter (place = 1), coalesce(max(size), 0), coalesce(sum(size - place) filter (place > $anchors), 0)
from shared where size > $cap"""

CANDIDATES = """
insert into candidate
select a.rank, b.rank from shared a join shared b using (hash, scope)
where a.rank < b.rank and b.rank >= $old and (a.size <= $cap or a.place <= $anchors)"""
