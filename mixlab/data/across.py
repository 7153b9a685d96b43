"""Rules that compare documents: which page keeps a URL, and which page keeps a line.

Both go by the smallest md5, so the result does not depend on the order of documents. Lines wait in bucket files
below a temporary folder: memory holds one bucket, and 8 bytes for each line that goes.
"""

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mixlab.data.badwords import normalised_url

BUCKETS = 32
FLUSH_LINES = 200_000
LINE = np.dtype([("hash", "<u8", 2), ("page", "<u8", 3), ("doc", "<u4"), ("line", "<u4")])
"""One line of one page: md5 of the line; rank of the page; number of the document and of the line in it."""


class Losers:
    """(document, line) pairs that go, in order of document."""

    def __init__(self, pairs: np.ndarray) -> None:
        self._pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def of(self, doc: int) -> frozenset[int]:
        """Numbers of the lines of a document that go."""
        lo, hi = np.searchsorted(self._pairs[:, 0], [doc, doc + 1])
        return frozenset(self._pairs[lo:hi, 1].tolist())

    def between(self, start: int, end: int) -> "Losers":
        """What goes of the documents from `start` up to but without `end`."""
        lo, hi = np.searchsorted(self._pairs[:, 0], [start, end])
        return Losers(self._pairs[lo:hi])


def url_losers(pages: Iterable[tuple[int, str | None, str]]) -> Losers:
    """The documents whose normalised URL another page keeps, from (number, url, id); a page without a URL stays.

    Of several the one with the smallest md5(id) stays.
    """
    best: dict[bytes, tuple[bytes, int]] = {}
    losers: list[int] = []
    for doc, url, doc_id in pages:
        if url is None:
            continue
        key, rank = _md5(normalised_url(url)), (_md5(doc_id), doc)
        if key in best:
            losers.append(max(best[key], rank)[1])
            rank = min(best[key], rank)
        best[key] = rank
    return Losers(np.array([(doc, 0) for doc in losers], np.uint32).reshape(-1, 2))


def random_losers(docs: Iterable[tuple[int, str, int]], target: int) -> Losers:
    """The documents that go so that `target` bytes stay, from (number, id, bytes): drawn in the order of md5(id).

    The last document drawn stays if that comes closer to the target.
    """
    ranked = sorted(docs, key=lambda doc: _md5("random-drop\x1f" + doc[1]))
    total, cut = 0, len(ranked)
    for i, (_, _, size) in enumerate(ranked):
        if total + size / 2 > target:
            cut = i
            break
        total += size
    return Losers(np.array([(doc, 0) for doc, _, _ in ranked[cut:]], np.uint32).reshape(-1, 2))


def line_losers(pages: Iterable[tuple[int, str, str, str]], scratch: Path) -> Losers:
    """The lines that another page keeps, from (number, key, id, text); key is the URL, or the id.

    A line, stripped and lower-cased, stays at the page with the smallest md5(key), then md5(id): TFDS
    `remove_duplicate_text`. Repeats within a page are not decided here.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".lines-") as folder:
        buckets = [Path(folder) / str(i) for i in range(BUCKETS)]
        waiting: list[tuple[Any, ...]] = []
        for doc, key, doc_id, text in pages:
            page = (*_words(_md5(key)), _words(_md5(doc_id))[0])
            waiting += [(_words(_md5(line.strip().lower())), page, doc, i) for i, line in enumerate(text.split("\n"))]
            if len(waiting) >= FLUSH_LINES:
                _flush(waiting, buckets)
        _flush(waiting, buckets)
        return Losers(np.concatenate([_losers(path) for path in buckets]))


def _flush(waiting: list[tuple[Any, ...]], buckets: list[Path]) -> None:
    """Appends the waiting lines to their buckets and forgets them."""
    rows = np.array(waiting, LINE)
    waiting.clear()
    bucket = rows["hash"][:, 0] % BUCKETS if len(rows) else np.empty(0)
    for i, path in enumerate(buckets):
        with open(path, "ab") as f:
            rows[bucket == i].tofile(f)


def _losers(path: Path) -> np.ndarray:
    """(document, line) of every line in a bucket that is not at its owner."""
    rows = np.fromfile(path, LINE)
    keys = [rows["line"], rows["doc"], *(rows["page"][:, k] for k in (2, 1, 0)), rows["hash"][:, 1], rows["hash"][:, 0]]
    rows = rows[np.lexsort(keys)]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (rows["hash"][1:] != rows["hash"][:-1]).any(axis=1)
    owner = rows["doc"][is_first][np.cumsum(is_first) - 1]
    gone = rows[rows["doc"] != owner]
    return np.stack([gone["doc"], gone["line"]], axis=1)


def _md5(text: str) -> bytes:
    return hashlib.md5(text.encode("utf-8", "surrogatepass")).digest()


def _words(digest: bytes) -> tuple[int, int]:
    """A digest as two integers that compare like its hexadecimal form."""
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
