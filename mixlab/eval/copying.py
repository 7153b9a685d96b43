"""Where in the training tokens a text may have been copied from: stretches around runs of tokens that it shares.

Decoding a corpus takes a second for a million tokens, scanning it a hundredth of that. A copy whose spelling differs
from the training text throughout, so that no eight tokens in a row agree, is not found. Reads and writes nothing.
"""

from collections.abc import Iterator, Sequence

import numpy as np

RUN = 8
"""Tokens in a row that a copy of 13 words shares with what it was copied from."""
CHUNK = 1 << 20
"""Tokens scanned at once: 8 MB of hashes."""
_BITS = 20
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: 2^64 over the golden ratio, as in Fibonacci hashing


def stretches(
    texts: Sequence[Sequence[int]], tokens: np.ndarray, ends: np.ndarray, margin: int
) -> Iterator[tuple[int, int]]:
    """(start, end) in `tokens` around every run of RUN tokens that one of `texts` has, `margin` tokens on either side.

    Stretches do not overlap and stay within their document; `ends` holds where each document ends.

    >>> tokens, ends = np.arange(100), np.array([50, 100])
    >>> list(stretches([[20, 21, 22, 23, 24, 25, 26, 27]], tokens, ends, margin=3))
    [(17, 31)]
    """
    known = [_hashes(np.asarray(ids, np.uint64)) for ids in texts]
    wanted = np.unique(np.concatenate([*known, np.zeros(0, np.uint64)]))
    if not len(wanted):
        return
    is_wanted = np.zeros(1 << _BITS, np.bool_)
    is_wanted[_slot(wanted)] = True
    start = end = 0
    for at in _found(tokens, wanted, is_wanted):
        document = int(np.searchsorted(ends, at, side="right"))
        begin = int(ends[document - 1]) if document else 0
        first, last = max(begin, at - margin), min(int(ends[document]), at + RUN + margin)
        if start < end and (first > end or begin >= end):
            yield start, end
            start = first
        start, end = (start, last) if start < end else (first, last)
    if start < end:
        yield start, end


def _found(tokens: np.ndarray, wanted: np.ndarray, is_wanted: np.ndarray) -> Iterator[int]:
    """Where a run begins whose hash is wanted, in order."""
    for start in range(0, len(tokens) - RUN + 1, CHUNK):
        hashes = _hashes(np.asarray(tokens[start : start + CHUNK + RUN - 1]).astype(np.uint64))
        likely = np.flatnonzero(is_wanted[_slot(hashes)])
        yield from (start + likely[np.isin(hashes[likely], wanted)]).tolist()


def _hashes(ids: np.ndarray) -> np.ndarray:
    """One number for each run of RUN ids, the same for equal runs; uint64 arithmetic wraps around, as is meant."""
    n = max(0, len(ids) - RUN + 1)
    told = np.zeros(n, np.uint64)
    for offset in range(RUN):
        told *= _FACTOR
        told += ids[offset : offset + n] + np.uint64(1)
    return told


def _slot(hashes: np.ndarray) -> np.ndarray:
    """The upper bits, mixed once more: those of a sum of products are the well-mixed ones."""
    return (hashes * _FACTOR) >> np.uint64(64 - _BITS)
