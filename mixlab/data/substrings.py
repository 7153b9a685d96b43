"""Spans of words that were there before: runs of at least `min_words` words that an earlier document holds too.

Reads directories of documents, writes spans (and, if asked, documents without them). "Earlier" is an order of its own:
source priority, then a hash of the id, then the place in the text; the first copy stays whole. Hashes of every window
of `min_words` words lie in bucket files by hash; memory holds one bucket and the names of the documents.
"""

import contextlib
import json
import logging
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mixlab.data import clusters, kernels
from mixlab.data.documents import read_docs, write_docs
from mixlab.data.shingle_kernel import jit
from mixlab.errors import ConfigError
from mixlab.seeds import seed_of
from mixlab.types import Document

MIN_WORDS = 50  # Lee et al. 2022 (arXiv 2107.06499) cut repeats of 50 tokens and more
BUCKET_BYTES = 256_000_000  # of windows: sorting one takes about twice as much memory
WINDOW = np.dtype([("hash", "<u8"), ("rank", "<u8"), ("doc", "<u4"), ("word", "<u4")])
"""One window: its hash, the order of its document, the number of the document as read, its first word."""
WORD = re.compile(r"\w+")
logger = logging.getLogger(__name__)


def repeated_spans(
    sources: Mapping[str, Path],
    min_words: int = MIN_WORDS,
    *,
    priority: Sequence[str] = (),
    seed: int = 1,
    bucket_bytes: int = BUCKET_BYTES,
    scratch: Path | None = None,
) -> pd.DataFrame:
    """Spans to cut: source, id, and the first word and the one after the last, sorted; spans of a text do not touch.

    Each holds at least `min_words` words, every window of which stands in an earlier place. Overlapping repeats within
    one text (a word a thousand times) keep their first `min_words` words. Words are those of `kernels`; compared by
    64-bit hashes. Does not depend on the order of documents or files, nor on `bucket_bytes`.
    """
    if min_words < 2 or bucket_bytes < WINDOW.itemsize:
        raise ConfigError(
            f"repeated spans of {min_words} words in buckets of {bucket_bytes} bytes: too small to search."
        )
    place = clusters.source_priority(priority, list(sources))
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".spans-") as folder:
        names, buckets = _spill(sources, min_words, place, seed, bucket_bytes, Path(folder))
        found = np.concatenate([np.empty((0, 2), np.int64), *(_repeats(path, min_words) for path in buckets)])
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    spans = np.empty((len(found), 3), np.int64)
    spans = spans[: _merge(found, min_words, spans)]
    rows = [(*names[doc], first, end) for doc, first, end in spans.tolist()]
    frame = pd.DataFrame(rows, columns=["source", "id", "first_word", "end_word"])
    logger.info("substrings: %d spans of at least %d words in %d documents", len(frame), min_words, len(names))
    return frame.sort_values(["source", "id", "first_word"], ignore_index=True)


def cut_spans(sources: Mapping[str, Path], spans: pd.DataFrame, out: Path) -> dict[str, dict[str, int]]:
    """Writes every source without its spans to `out`/<source>; per source docs, cut, emptied, words_cut.

    A text of which nothing but white space is left is not written.
    """
    by_doc: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for source, doc, first, end in spans[["source", "id", "first_word", "end_word"]].itertuples(index=False):
        by_doc.setdefault((source, doc), []).append((first, end))
    facts = {}
    for source in sorted(sources):
        told = {"docs": 0, "cut": 0, "emptied": 0, "words_cut": 0}
        (out / source).mkdir(parents=True)
        write_docs(out / source, _without(sources[source], source, by_doc, told))
        facts[source] = told
    return facts


def without_words(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text without words first..end-1 of each span, and without what stands between them.

    >>> without_words("One, two; three four.", [(1, 3)])
    'One, four.'
    """
    bounds = word_bounds(text)
    kept, at = [], 0
    for first, end in sorted(spans):
        kept.append(text[at : bounds[first][0]])
        at = bounds[end][0] if end < len(bounds) else bounds[end - 1][1]
    return "".join([*kept, text[at:]])


def word_bounds(text: str) -> list[tuple[int, int]]:
    """First character and the one after the last of each word, as the kernels count words."""
    low = text.lower()
    if len(low) == len(text):
        return [m.span() for m in WORD.finditer(low)]
    origin = [n for n, c in enumerate(text) for _ in c.lower()]  # a character may lower-case to two
    return [(origin[m.start()], origin[m.end() - 1] + 1) for m in WORD.finditer(low)]


def _spill(
    sources: Mapping[str, Path], min_words: int, place: Mapping[str, int], seed: int, bucket_bytes: int, folder: Path
) -> tuple[list[tuple[str, str]], list[Path]]:
    """Names of the documents as read, and the bucket files of their windows."""
    total = sum(p.stat().st_size for d in sources.values() for p in d.glob("docs-*.parquet"))
    # a compressed byte is about 3 of text, half a word at most, so two windows at the worst
    count = max(1, math.ceil(2 * total * WINDOW.itemsize / bucket_bytes))
    names: list[tuple[str, str]] = []
    paths = [folder / f"{n}.bin" for n in range(min(count, 500))]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "wb")) for path in paths]
        for source in sorted(sources):
            for batch in read_docs(sources[source], ["id", "text"]):
                rows = _windows(batch, source, len(names), min_words, place[source], seed)
                names += [(source, doc) for doc in batch["id"].to_pylist()]
                bucket = (rows["hash"] >> np.uint64(32)) % np.uint64(len(files))
                order = np.argsort(bucket, kind="stable")
                ends = np.searchsorted(bucket[order], np.arange(len(files) + 1))
                for n, file in enumerate(files):
                    rows[order[ends[n] : ends[n + 1]]].tofile(file)
    return names, paths


def _windows(batch: pa.RecordBatch, source: str, begin: int, size: int, place: int, seed: int) -> np.ndarray:
    hashes, offsets = kernels.wide_hashes(batch["text"], size)
    counts = np.diff(offsets)
    # a text of one shingle may be shorter than a window: as it were a window of its own, equal only to its equals
    rank = [place << 48 | seed_of(seed, "substring", source, doc) >> 15 for doc in batch["id"].to_pylist()]
    out = np.empty(len(hashes), WINDOW)
    out["hash"] = hashes
    out["rank"] = np.repeat(np.array(rank, np.uint64), counts)
    out["doc"] = np.repeat(np.arange(begin, begin + len(batch)), counts)
    out["word"] = np.arange(len(hashes)) - np.repeat(offsets[:-1], counts)
    long_enough = np.repeat(_words(batch["text"], counts) >= size, counts)
    return out[long_enough]


def _words(texts: pa.Array, counts: np.ndarray) -> np.ndarray:
    """Words of each text, exact where one shingle leaves it open."""
    single = np.flatnonzero(counts == 1)
    out = np.where(counts > 1, np.iinfo(np.int64).max, 0)
    if len(single):
        out[single] = np.diff(kernels.wide_hashes(texts.take(pa.array(single)), 1)[1])
    return out


def _repeats(path: Path, min_words: int) -> np.ndarray:
    """(document, word) of every window of a bucket that stands in an earlier place, int64 (windows, 2)."""
    rows = np.fromfile(path, WINDOW)
    path.unlink()
    rows = rows[np.lexsort((rows["word"], rows["doc"], rows["rank"], rows["hash"]))]
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = rows["hash"][1:] != rows["hash"][:-1]
    owner = np.flatnonzero(is_first)[np.cumsum(is_first) - 1] if len(rows) else np.empty(0, np.int64)
    overlaps = (rows["doc"] == rows["doc"][owner]) & (rows["word"] < rows["word"][owner] + min_words)
    gone = rows[~is_first & ~overlaps]
    return np.column_stack([gone["doc"], gone["word"]]).astype(np.int64)


def _without(
    directory: Path, source: str, by_doc: Mapping[tuple[str, str], list[tuple[int, int]]], told: dict[str, int]
) -> Iterator[Document]:
    for batch in read_docs(directory):
        for row in batch.to_pylist():
            spans = by_doc.get((source, row["id"]), [])
            text = without_words(row["text"], spans) if spans else row["text"]
            told["cut"] += bool(spans)
            told["words_cut"] += sum(end - first for first, end in spans)
            if spans and not text.strip():
                told["emptied"] += 1
                continue
            told["docs"] += 1
            yield document(row, text)


def document(row: Mapping[str, Any], text: str) -> Document:
    """A row of docs-*.parquet as a Document with another text."""
    return Document(id=row["id"], text=text, url=row["url"], licence=row["licence"], meta=json.loads(row["meta"]))


@jit
def _merge(windows, size, out):
    """Joins windows (document, first word), sorted, that overlap or touch; returns the number of spans."""
    total = 0
    for n in range(len(windows)):
        doc, word = windows[n, 0], windows[n, 1]
        if total and out[total - 1, 0] == doc and word <= out[total - 1, 2]:
            out[total - 1, 2] = word + size
        else:
            out[total, 0], out[total, 1], out[total, 2] = doc, word, word + size
            total += 1
    return total
