"""Spans of words that were there before: runs of at least `min_words` words that an earlier document holds too.

Reads directories of documents, writes spans and documents without them. "Earlier" is an order of its own: source
priority, then a hash of the id, then the place in the text; the first copy stays whole. Hashes of every window of
`min_words` words lie in bucket files by hash, the repeated ones in files by document: memory holds one file of either.
"""

import contextlib
import itertools
import logging
import math
import shutil
import tempfile
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mixlab.data import clusters
from mixlab.data.cuts import document, without_words
from mixlab.data.documents import ids_of, read_docs, read_list, values, write_docs, write_list
from mixlab.data.jit import jit
from mixlab.data.windows import WINDOW, windows
from mixlab.errors import ConfigError
from mixlab.types import Document

VERSION = 1
MIN_WORDS = 50  # Lee et al. 2022 (arXiv 2107.06499) cut repeats of 50 tokens and more
BUCKET_BYTES = 256_000_000  # of windows: sorting one takes about twice as much memory
BUCKETS = 500  # at most: so many files are open at once
REPEAT = np.dtype([("doc", "<u4"), ("word", "<u4")])
SPANS = pa.schema([("source", pa.string()), ("id", pa.string()), ("first_word", pa.int64()), ("end_word", pa.int64())])
FACTS: tuple[str, ...] = ("docs_in", "docs", "cut", "emptied", "words_cut", "spans")
NO_SPANS: tuple[int | None, list[tuple[int, int]]] = (None, [])
Keep = Mapping[str, Container[str]]
logger = logging.getLogger(__name__)


def repeated_spans(
    sources: Mapping[str, Path],
    min_words: int = MIN_WORDS,
    *,
    priority: Sequence[str] = (),
    keep: Keep | None = None,
    seed: int = 1,
    bucket_bytes: int = BUCKET_BYTES,
    scratch: Path | None = None,
) -> pd.DataFrame:
    """Spans to cut: source, id, and the first word and the one after the last, sorted; spans of a text do not touch.

    Each holds at least `min_words` words, every window of which stands in an earlier place. Overlapping repeats within
    one text (a word a thousand times) keep their first `min_words` words. Words are those of `kernels`; compared by
    64-bit hashes. `keep`: source -> ids, the others are as if they were not there. Does not depend on the order of
    documents or files, nor on `bucket_bytes`. The frame holds all spans; `cut_repeats` does not.
    """
    rows: list[tuple[str, str, int, int]] = []
    with _found(sources, min_words, priority, keep, seed, bucket_bytes, scratch) as found:
        for source, batch, spans in _beside(sources, keep, ["id"], found):
            ids = values(batch, "id")
            rows += [(source, ids[n], *span) for n, places in spans.items() for span in places]
    frame = pd.DataFrame(rows, columns=SPANS.names)
    return frame.sort_values(["source", "id", "first_word"], ignore_index=True)


def cut_repeats(
    sources: Mapping[str, Path],
    out: Path,
    min_words: int = MIN_WORDS,
    *,
    dedup: Path | None = None,
    priority: Sequence[str] = (),
    bucket_bytes: int = BUCKET_BYTES,
) -> dict[str, Any]:
    """Manifest facts; writes the documents without their repeated spans to `out`/<source>, and `out`/spans.parquet.

    `dedup`: only the documents that it keeps are read; `out`/keep.parquet then tells who of them is left. A text of
    which nothing but white space is left is not written. Memory does not grow with what is found.
    """
    keep = {source: ids_of(dedup / "keep.parquet", source) for source in sources} if dedup else None
    facts = {source: dict.fromkeys(FACTS, 0) for source in sorted(sources)}
    emptied: set[tuple[str, str]] = set()
    with (
        _found(sources, min_words, priority, keep, 1, bucket_bytes, out) as found,
        pq.ParquetWriter(out / "spans.parquet", SPANS, compression="zstd") as told,
    ):
        for source, batches in itertools.groupby(_beside(sources, keep, None, found), key=lambda batch: batch[0]):
            (out / source).mkdir()
            write_docs(out / source, _without(batches, facts[source], told, emptied))
    for source in sorted(sources):
        if not facts[source]["docs_in"]:
            (out / source).mkdir(exist_ok=True)
            write_docs(out / source, ())
    if dedup:
        _write_lists(dedup, out, emptied)
    cut = sum(fact["words_cut"] for fact in facts.values())
    logger.info("spans: %d words cut from repeats of at least %d words, %s", cut, min_words, out)
    return {"min_words": min_words, "sources": facts}


@contextlib.contextmanager
def _found(
    sources: Mapping[str, Path],
    min_words: int,
    priority: Sequence[str],
    keep: Keep | None,
    seed: int,
    bucket_bytes: int,
    scratch: Path | None,
) -> Generator[Iterator[np.ndarray]]:
    """The spans of all documents, int64 (spans, 3): document, first word, end word; by document, a file at a time."""
    if min_words < 2 or bucket_bytes < WINDOW.itemsize:
        raise ConfigError(
            f"repeated spans of {min_words} words in buckets of {bucket_bytes} bytes: too small to search."
        )
    place = clusters.source_priority(priority, list(sources))
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".spans-") as folder:
        begins, buckets = _spill(sources, min_words, place, keep, seed, bucket_bytes, Path(folder))
        ranges = [Path(folder) / f"found-{n}.bin" for n in range(len(begins))]
        for path in ranges:
            path.touch()
        for path in buckets:
            for repeats in _repeats(path, min_words, bucket_bytes):
                _append(repeats, begins, ranges)
        yield (_spans(path, min_words) for path in ranges)


def _spans(path: Path, min_words: int) -> np.ndarray:
    rows = np.fromfile(path, REPEAT)
    path.unlink()
    rows = rows[np.lexsort((rows["word"], rows["doc"]))]
    out = np.empty((len(rows), 3), np.int64)
    return out[: _merge(rows["doc"].astype(np.int64), rows["word"].astype(np.int64), min_words, out)]


def _append(found: np.ndarray, begins: Sequence[int], ranges: Sequence[Path]) -> None:
    """Adds repeated windows to the file of their document's range."""
    found = found[np.argsort(found["doc"], kind="stable")]
    ends = np.append(np.searchsorted(found["doc"], begins), len(found))
    for n in np.flatnonzero(np.diff(ends)).tolist():
        with open(ranges[n], "ab") as file:
            found[ends[n] : ends[n + 1]].tofile(file)


def _batches(
    sources: Mapping[str, Path], keep: Keep | None, columns: Sequence[str] | None
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """(source, documents) of those to keep, in the order in which documents are numbered."""
    for source in sorted(sources):
        for batch in read_docs(sources[source], columns):
            if keep is not None:
                batch = batch.filter(pa.array([i in keep[source] for i in values(batch, "id")], pa.bool_()))
            yield source, batch


def _beside(
    sources: Mapping[str, Path], keep: Keep | None, columns: Sequence[str] | None, found: Iterator[np.ndarray]
) -> Iterator[tuple[str, pa.RecordBatch, dict[int, list[tuple[int, int]]]]]:
    """(source, documents, spans by their position in the batch)."""
    by_doc = _by_document(found)
    begin, (doc, spans) = 0, next(by_doc, NO_SPANS)
    for source, batch in _batches(sources, keep, columns):
        here = {}
        while doc is not None and doc < begin + len(batch):
            here[doc - begin] = spans
            doc, spans = next(by_doc, NO_SPANS)
        begin += len(batch)
        yield source, batch, here


def _by_document(found: Iterable[np.ndarray]) -> Iterator[tuple[int | None, list[tuple[int, int]]]]:
    for spans in found:
        for doc, rows in itertools.groupby(spans.tolist(), key=lambda row: row[0]):
            yield doc, [(first, end) for _, first, end in rows]


def _spill(
    sources: Mapping[str, Path],
    min_words: int,
    place: Mapping[str, int],
    keep: Keep | None,
    seed: int,
    bucket_bytes: int,
    folder: Path,
) -> tuple[list[int], list[Path]]:
    """First document of each range whose repeats fit into `bucket_bytes`, and the bucket files of all windows."""
    total = sum(p.stat().st_size for d in sources.values() for p in d.glob("docs-*.parquet"))
    # a compressed byte is about 3 of text, half a word at most, so two windows at the worst
    count = max(1, math.ceil(2 * total * WINDOW.itemsize / bucket_bytes))
    paths = [folder / f"{n}.bin" for n in range(min(count, BUCKETS))]
    begins, docs, in_range = [0], 0, 0
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "wb")) for path in paths]
        for source, batch in _batches(sources, keep, ["id", "text"]):
            rows = windows(batch, source, docs, min_words, place[source], seed)
            for doc, size in enumerate(np.bincount(rows["doc"] - docs, minlength=len(batch)).tolist(), start=docs):
                if in_range and (in_range + size) * REPEAT.itemsize > bucket_bytes:
                    begins.append(doc)
                    in_range = 0
                in_range += size
            docs += len(batch)
            bucket = (rows["hash"] >> np.uint64(32)) % np.uint64(len(files))
            order = np.argsort(bucket, kind="stable")
            ends = np.searchsorted(bucket[order], np.arange(len(files) + 1))
            for n, file in enumerate(files):
                rows[order[ends[n] : ends[n + 1]]].tofile(file)
    return begins, paths


def _repeats(path: Path, min_words: int, bucket_bytes: int) -> Iterator[np.ndarray]:
    """Every window (REPEAT) of a bucket that stands in an earlier place, `bucket_bytes` of the bucket at a time.

    Equal windows share a bucket however many they are: only the first of each is held.
    """
    owners = np.empty(0, WINDOW)
    for rows in _chunks(path, bucket_bytes):
        rows = np.concatenate([owners, rows])
        rows = rows[np.lexsort((rows["word"], rows["doc"], rows["rank"], rows["hash"]))]
        is_first = np.ones(len(rows), np.bool_)
        is_first[1:] = rows["hash"][1:] != rows["hash"][:-1]
        owners = rows[is_first]
    for rows in _chunks(path, bucket_bytes):
        owner = owners[np.searchsorted(owners["hash"], rows["hash"])]
        # windows of one text that overlap its own first copy stay: that includes the first copy itself
        stays = (rows["doc"] == owner["doc"]) & (rows["word"] < owner["word"] + min_words)
        gone = np.empty(int((~stays).sum()), REPEAT)
        gone["doc"], gone["word"] = rows["doc"][~stays], rows["word"][~stays]
        yield gone
    path.unlink()


def _chunks(path: Path, size: int) -> Iterator[np.ndarray]:
    count = max(size // WINDOW.itemsize, 1)
    with open(path, "rb") as file:
        while len(rows := np.fromfile(file, WINDOW, count)):
            yield rows


def _without(
    batches: Iterable[tuple[str, pa.RecordBatch, dict[int, list[tuple[int, int]]]]],
    told: dict[str, int],
    spans_file: pq.ParquetWriter,
    emptied: set[tuple[str, str]],
) -> Iterator[Document]:
    for source, batch, spans in batches:
        ids = values(batch, "id")
        rows = [(source, ids[n], *span) for n, places in spans.items() for span in places]
        if rows:
            spans_file.write_table(pa.table([pa.array(c) for c in zip(*rows, strict=True)], schema=SPANS))
        for n, row in enumerate(batch.to_pylist()):
            here = spans.get(n, [])
            text = without_words(row["text"], here) if here else row["text"]
            is_emptied = bool(here) and not text.strip()
            one = (1, not is_emptied, bool(here) and not is_emptied, is_emptied, sum(b - a for a, b in here), len(here))
            for fact, count in zip(FACTS, one, strict=True):
                told[fact] += count
            if is_emptied:
                emptied.add((source, row["id"]))
            else:
                yield document(row, text)


def _write_lists(dedup: Path, out: Path, emptied: set[tuple[str, str]]) -> None:
    """keep.parquet without those of whom nothing is left, and removed.parquet as it was: what dedup wrote, renewed."""
    keep = read_list(dedup / "keep.parquet")
    names = zip(values(keep, "source"), values(keep, "id"), strict=True)
    is_left = pa.array([name not in emptied for name in names], pa.bool_())
    write_list(keep.filter(is_left), out / "keep.parquet")
    shutil.copyfile(dedup / "removed.parquet", out / "removed.parquet")


@jit
def _merge(docs: np.ndarray, words: np.ndarray, size: int, out: np.ndarray) -> int:
    """Joins windows (document, first word), sorted, that overlap or touch; returns the number of spans."""
    total = 0
    for n in range(len(docs)):
        if total and out[total - 1, 0] == docs[n] and words[n] <= out[total - 1, 2]:
            out[total - 1, 2] = words[n] + size
        else:
            out[total, 0], out[total, 1], out[total, 2] = docs[n], words[n], words[n] + size
            total += 1
    return total
