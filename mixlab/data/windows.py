"""Every run of so many words of a text, hashed: what repeated spans are found by."""

from typing import Any

import numpy as np
import pyarrow as pa

from mixlab.data import kernels
from mixlab.data.documents import column, values
from mixlab.seeds import seed_of

WINDOW = np.dtype([("hash", "<u8"), ("rank", "<u8"), ("doc", "<u4"), ("word", "<u4")])
"""One window: its hash, the order of its document, the number of the document as read, its first word."""


def windows(batch: pa.RecordBatch, source: str, begin: int, size: int, place: int, seed: int) -> np.ndarray:
    """Every window (WINDOW) of `size` words of a batch whose first document is number `begin`."""
    texts = column(batch, "text")
    hashes, offsets = kernels.wide_hashes(texts, size)
    counts = np.diff(offsets)
    # a text of one shingle may be shorter than a window: as it were a window of its own, equal only to its equals
    rank = [place << 48 | seed_of(seed, "substring", source, doc) >> 15 for doc in values(batch, "id")]
    out = np.empty(len(hashes), WINDOW)
    out["hash"] = hashes
    out["rank"] = np.repeat(np.array(rank, np.uint64), counts)
    out["doc"] = np.repeat(np.arange(begin, begin + len(batch)), counts)
    out["word"] = np.arange(len(hashes)) - np.repeat(offsets[:-1], counts)
    long_enough = np.repeat(_words(texts, counts) >= size, counts)
    return out[long_enough]


def _words(texts: "pa.Array[Any]", counts: np.ndarray) -> np.ndarray:
    """Words of each text, exact where one shingle leaves it open."""
    single = np.flatnonzero(counts == 1)
    out = np.where(counts > 1, np.iinfo(np.int64).max, 0)
    if len(single):
        out[single] = np.diff(kernels.wide_hashes(texts.take(single), 1)[1])
    return out
