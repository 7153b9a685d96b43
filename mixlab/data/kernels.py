"""Words, shingles and MinHash, straight from Arrow string buffers to numpy arrays.

A word is a match of `\\w+` in the lower-cased text, as Python's `re` and `str.lower` see it. A shingle is `ngram`
neighbouring words (or characters of the lower-cased text); a text with fewer of them is one shingle, a text with none
has no shingle. Nothing is compiled on import; the first call compiles, the machine code is kept on disk.
"""

import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
from numba import njit

from mixlab.errors import ConfigError

Unit = Literal["word", "char"]
Texts = Sequence[str] | pa.Array | pa.ChunkedArray

SLICE_BYTES = 1 << 20  # text per kernel call: its shingles fit the caches
EMPTY = np.uint32(0xFFFFFFFF)  # signature value of a text without shingles, as in datasketch

_WORD = 1 << 24  # flag beside a code point: part of a word
_SPECIAL = 1 << 25  # flag: lower-casing needs its neighbours or gives two characters
_BASIS = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bit
_STEP = np.uint64(0x9E3779B97F4A7C15)  # odd, 2^64 / golden ratio
_ROLL = np.uint64(0xD1342543DE82EF95)  # odd multiplier of the polynomial over tokens (Steele & Vigna 2021)
_ROLL2 = np.uint64(0xAF251AF3B0F025B5)
_S1, _S29, _S32, _S33 = np.uint64(1), np.uint64(29), np.uint64(32), np.uint64(33)
_M1, _M2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # MurmurHash3 fmix64
_N1, _N2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)  # MurmurHash3 fmix32


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled by numba on first use, without the GIL; cached on disk where a folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder for its cache: a read-only install without a home
        return njit(nogil=True)(function)


def shingle_hashes(texts: Texts, ngram: int = 5, unit: Unit = "word") -> tuple[np.ndarray, np.ndarray]:
    """32-bit hashes (uint32) of every shingle in order, and offsets (int64, one more than texts) into them.

    Repeated shingles are repeated. Equal on every machine.

    >>> hashes, offsets = shingle_hashes(["one two three", "ONE, two - three!", ""], ngram=5)
    >>> bool(hashes[0] == hashes[1]), offsets.tolist()
    (True, [0, 1, 2, 2])
    """
    hashes, offsets = wide_hashes(texts, ngram, unit)
    return narrow(hashes), offsets


def wide_hashes(texts: Texts, ngram: int = 5, unit: Unit = "word") -> tuple[np.ndarray, np.ndarray]:
    """As `shingle_hashes`, with all 64 bits: for sets that must not collide."""
    parts = list(_hash_slices(texts, ngram, unit))
    counts = [np.diff(offsets) for _, offsets in parts]
    offsets = np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
    return np.concatenate([np.zeros(0, np.uint64), *(h for h, _ in parts)]), offsets


def narrow(hashes: np.ndarray) -> np.ndarray:
    """The upper 32 bits of 64-bit shingle hashes, uint32: what MinHash takes."""
    return (hashes >> _S32).astype(np.uint32)


def minhash(hashes: np.ndarray, offsets: np.ndarray, num_perm: int = 128, seed: int = 1) -> np.ndarray:
    """MinHash signatures, uint32 (texts, num_perm), of shingle hashes (uint32) cut by offsets (int64).

    Bit-equal to `datasketch.MinHash(num_perm, seed, scheme="affine32")` fed the same hashes; no shingle: 2^32 - 1.
    """
    if hashes.dtype != np.uint32:
        raise ConfigError(
            f"minhash takes uint32 shingle hashes, got {hashes.dtype}. Use shingle_hashes, or mask to 32 bits."
        )
    a, b = permutations(num_perm, seed)
    out = np.empty((len(offsets) - 1, num_perm), np.uint32)
    _minhash(np.ascontiguousarray(hashes), np.asarray(offsets, np.int64), a, b, out)
    return out


def signatures(texts: Texts, num_perm: int = 128, ngram: int = 5, seed: int = 1, unit: Unit = "word") -> np.ndarray:
    """MinHash signatures of texts, uint32 (texts, num_perm); memory beyond them is one slice of the text."""
    parts = [minhash(narrow(hashes), offsets, num_perm, seed) for hashes, offsets in _hash_slices(texts, ngram, unit)]
    return np.concatenate([np.empty((0, num_perm), np.uint32), *parts])


@functools.lru_cache(maxsize=8)
def permutations(num_perm: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers (odd) and summands, uint32 (num_perm,), of datasketch 2.0's scheme affine32."""
    if num_perm < 1:
        raise ConfigError(f"num_perm = {num_perm}: a signature needs at least one permutation.")
    draw = np.random.RandomState(seed)
    a = draw.randint(0, 2**31, num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, draw.randint(0, 2**32, num_perm, dtype=np.uint32)


def band_hashes(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """One 64-bit hash per band of `rows` signature values, uint64 (texts, bands)."""
    out = np.empty((len(signature), bands), np.uint64)
    _bands(signature, rows, out)
    return out


def text_hashes(hashes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """128 bits, uint64 (texts, 2), that name each text's sequence of shingles (64 bit): equal words, equal name."""
    out = np.empty((len(offsets) - 1, 2), np.uint64)
    _sequences(hashes, offsets, out)
    return out


def _hash_slices(texts: Texts, ngram: int, unit: Unit) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(hashes, offsets) of about a megabyte of texts at a time."""
    if ngram < 1 or unit not in ("word", "char"):
        raise ConfigError(f"shingles of ngram={ngram}, unit='{unit}': ngram must be at least 1, unit 'word' or 'char'.")
    for chunk in _chunks(texts):
        wide = chunk.cast(pa.large_string()).fill_null("")
        _, offsets = _buffers(wide)
        begin = 0
        while begin < len(wide):
            end = int(np.searchsorted(offsets, offsets[begin] + SLICE_BYTES, "right")) - 1
            end = min(max(end, begin + 1), len(wide))
            yield _hash_slice(wide.slice(begin, end - begin), ngram, unit)
            begin = end


def _chunks(texts: Texts) -> list[pa.Array]:
    if isinstance(texts, pa.ChunkedArray):
        return list(cast("pa.ChunkedArray", texts).chunks)
    return [texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())]


def _hash_slice(texts: pa.Array, ngram: int, unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    data, offsets = _buffers(texts)
    bound = (offsets[-1] - offsets[0]) // (2 if unit == "word" else 1) + len(texts)  # words are at least a blank apart
    out = np.empty(bound, np.uint64)
    ends = np.zeros(len(texts) + 1, np.int64)
    is_special = np.zeros(len(texts), np.bool_)
    total = _shingles(data, offsets, _fold_table(), ngram, unit == "char", out, ends, is_special)
    if is_special.any():  # İ and Σ: Python lower-cases these texts, after which neither is left
        told = [t.lower() if odd else t for t, odd in zip(texts.to_pylist(), is_special, strict=True)]
        return _hash_slice(pa.array(told, pa.large_string()), ngram, unit)
    return out[:total].copy(), ends


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Bytes (uint8) and offsets (int64) of a large_string array, without a copy."""
    _, offsets, data = texts.buffers()
    ends = (
        np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        if len(texts)
        else np.zeros(1, np.int64)
    )
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.frombuffer(b"\0", np.uint8), ends


@functools.cache
def _fold_table() -> np.ndarray:
    """uint32 per code point: its lower case, with flags for word characters and for those that Python must lower."""
    # İ becomes two characters, the lower case of Σ depends on its neighbours
    every = "".join(map(chr, range(sys.maxunicode + 1))).replace("İ", "x").replace("Σ", "x")
    lower = every.lower()
    assert len(lower) == len(every), "a new character lower-cases to two: treat it as İ is"
    table = np.frombuffer(lower.encode("utf-32-le", "surrogatepass"), np.uint32).copy()
    for run in re.finditer(r"\w+", lower):
        table[run.start() : run.end()] |= _WORD
    table[[ord("İ"), ord("Σ")]] = _SPECIAL
    return table


@jit
def _mix(h):
    h ^= h >> _S33
    h *= _M1
    h ^= h >> _S33
    h *= _M2
    return h ^ (h >> _S33)


@jit
def _tokens(data, begin, end, fold, chars, out):
    """Writes one hash per word or character of a text and returns their number; -1: Python must lower it first."""
    count, at, h, inside = 0, begin, _BASIS, False
    while at < end:
        c = np.int64(data[at])
        if c < 0x80:
            at += 1
        elif c < 0xE0:
            c = (c & 0x1F) << 6 | (data[at + 1] & 0x3F)
            at += 2
        elif c < 0xF0:
            c = (c & 0x0F) << 12 | np.int64(data[at + 1] & 0x3F) << 6 | (data[at + 2] & 0x3F)
            at += 3
        else:
            c = (c & 0x07) << 18 | np.int64(data[at + 1] & 0x3F) << 12 | np.int64(data[at + 2] & 0x3F) << 6
            c |= np.int64(data[at + 3] & 0x3F)
            at += 4
        folded = fold[c]
        if folded & np.uint32(_SPECIAL):
            return -1
        if chars:
            out[count] = _mix(np.uint64(folded) + _S1)
            count += 1
        elif folded & np.uint32(_WORD):
            h = (h ^ np.uint64(folded)) * _STEP
            inside = True
        elif inside:
            out[count] = _mix(h)
            count += 1
            h, inside = _BASIS, False
    if inside:
        out[count] = _mix(h)
        count += 1
    return count


@jit
def _shingles(data, offsets, fold, ngram, chars, out, ends, is_special):
    """Rolls a polynomial over the tokens of each text; returns the number of shingles written."""
    power = _S1
    for _ in range(ngram):
        power *= _ROLL
    longest = 0
    for d in range(len(offsets) - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    tokens = np.empty(longest + 1, np.uint64)
    total = 0
    for d in range(len(offsets) - 1):
        count = _tokens(data, offsets[d], offsets[d + 1], fold, chars, tokens)
        if count < 0:
            is_special[d] = True
            count = 0
        h = np.uint64(0)
        for i in range(min(count, ngram)):
            h = h * _ROLL + tokens[i]
        if count > 0:
            out[total] = _mix(h)
            total += 1
        for i in range(ngram, count):
            h = h * _ROLL + tokens[i] - tokens[i - ngram] * power
            out[total] = _mix(h)
            total += 1
        ends[d + 1] = total
    return total


@jit
def _minhash(hashes, offsets, a, b, out):
    longest = 0
    for d in range(len(offsets) - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    mixed = np.empty(longest, np.uint32)
    for d in range(len(offsets) - 1):
        begin, size = offsets[d], offsets[d + 1] - offsets[d]
        for i in range(size):  # fmix32; numba widens products to 64 bit, so each is cut back
            h = hashes[begin + i]
            h = np.uint32((h ^ (h >> np.uint32(16))) * _N1)
            h = np.uint32((h ^ (h >> np.uint32(13))) * _N2)
            mixed[i] = h ^ (h >> np.uint32(16))
        for k in range(len(a)):  # the minimum over shingles is the inner loop: it vectorises
            least, ak, bk = EMPTY, a[k], b[k]
            for i in range(size):
                least = min(least, np.uint32(ak * mixed[i] + bk))
            out[d, k] = least


@jit
def _bands(signature, rows, out):
    for d in range(out.shape[0]):
        for band in range(out.shape[1]):
            h = _BASIS
            for k in range(band * rows, (band + 1) * rows):
                h = (h ^ np.uint64(signature[d, k])) * _STEP
                h ^= h >> _S29
            out[d, band] = _mix(h)


@jit
def _sequences(hashes, offsets, out):
    for d in range(len(offsets) - 1):
        g = h = np.uint64(offsets[d + 1] - offsets[d])
        for i in range(offsets[d], offsets[d + 1]):
            g = g * _ROLL + hashes[i]
            h = (h ^ hashes[i]) * _ROLL2
            h ^= h >> _S29
        out[d, 0], out[d, 1] = _mix(g), _mix(h)
