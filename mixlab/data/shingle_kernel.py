"""The compiled loops behind `kernels`: UTF-8 bytes to words, shingles and the minima of permutations.

Nothing is compiled on import; the first call compiles, the machine code is kept on disk.
"""

import functools
import re
import sys
from typing import Any

import numpy as np

from mixlab.data.jit import jit

EMPTY = np.uint32(0xFFFFFFFF)  # signature value of a text without shingles, as in datasketch

_WORD = 1 << 24  # flag beside a code point: part of a word
_SPECIAL = 1 << 25  # flag: lower-casing needs its neighbours or gives two characters
_WORD_FLAG, _SPECIAL_FLAG = np.uint32(_WORD), np.uint32(_SPECIAL)
_BASIS = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bit
_STEP = np.uint64(0x9E3779B97F4A7C15)  # odd, 2^64 / golden ratio
_ROLL = np.uint64(0xD1342543DE82EF95)  # odd multiplier of the polynomial over tokens (Steele & Vigna 2021)
_ROLL2 = np.uint64(0xAF251AF3B0F025B5)
_S1, _S29, S32, _S33 = np.uint64(1), np.uint64(29), np.uint64(32), np.uint64(33)
_M1, _M2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # MurmurHash3 fmix64
_N1, _N2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)  # MurmurHash3 fmix32


@functools.cache
def fold_table() -> np.ndarray:
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
def _mix(h: np.uint64) -> np.uint64:
    h ^= h >> _S33
    h *= _M1
    h ^= h >> _S33
    h *= _M2
    return h ^ (h >> _S33)


@jit
def _tokens(data: np.ndarray, begin: int, end: int, fold: np.ndarray, chars: bool, out: np.ndarray) -> int:
    """Writes one hash per word or character of a text and returns their number; -1: Python must lower it first."""
    count = _characters(data, begin, end, fold, out) if chars else _words(data, begin, end, fold, out)
    for i in range(count):
        out[i] = _mix(out[i])
    return count


@jit
def _words(data: np.ndarray, begin: int, end: int, fold: np.ndarray, out: np.ndarray) -> int:
    # where a word ends is a sum, not a branch: ends are hard to foresee, a wrong guess costs more than a word's hash
    count, at, h, inside = 0, begin, _BASIS, 0
    while at < end:
        c, at = _code_point(data, at)
        folded = fold[c]
        if folded & _SPECIAL_FLAG:
            return -1
        is_word: Any = np.int64((folded & _WORD_FLAG) != 0)
        out[count] = h
        count += inside & (1 - is_word)
        h = (h ^ np.uint64(folded)) * _STEP if is_word else _BASIS
        inside = is_word
    out[count] = h
    return count + inside


@jit
def _characters(data: np.ndarray, begin: int, end: int, fold: np.ndarray, out: np.ndarray) -> int:
    count, at = 0, begin
    while at < end:
        c, at = _code_point(data, at)
        folded = fold[c]
        if folded & _SPECIAL_FLAG:
            return -1
        out[count] = np.uint64(folded) + _S1
        count += 1
    return count


@jit
def _code_point(data: np.ndarray, at: int) -> tuple[np.int64, int]:
    """The code point of the UTF-8 at a position, and the next position."""
    c = np.int64(data[at])
    if c < 0x80:
        return c, at + 1
    if c < 0xE0:
        return (c & 0x1F) << 6 | np.int64(data[at + 1] & 0x3F), at + 2
    if c < 0xF0:
        return (c & 0x0F) << 12 | np.int64(data[at + 1] & 0x3F) << 6 | np.int64(data[at + 2] & 0x3F), at + 3
    c = (c & 0x07) << 18 | np.int64(data[at + 1] & 0x3F) << 12 | np.int64(data[at + 2] & 0x3F) << 6
    return c | np.int64(data[at + 3] & 0x3F), at + 4


@jit
def _roll(tokens: np.ndarray, count: int, ngram: int, power: np.uint64, out: np.ndarray) -> int:
    """Writes the 64-bit hash of each shingle of `count` tokens and returns their number: a polynomial, rolled."""
    if count <= 0:
        return 0
    h = np.uint64(0)
    for i in range(min(count, ngram)):
        h = h * _ROLL + tokens[i]
    out[0] = _mix(h)
    for i in range(ngram, count):
        h = h * _ROLL + (tokens[i] - tokens[i - ngram] * power)
        out[i - ngram + 1] = _mix(h)
    return max(count - ngram + 1, 1)


@jit
def _power(ngram: int) -> np.uint64:
    power = _S1
    for _ in range(ngram):
        power *= _ROLL
    return power


@jit
def _longest(offsets: np.ndarray) -> int:
    longest = 0
    for d in range(len(offsets) - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    return longest


@jit
def shingles(
    data: np.ndarray,
    offsets: np.ndarray,
    fold: np.ndarray,
    ngram: int,
    chars: bool,
    out: np.ndarray,
    ends: np.ndarray,
    is_special: np.ndarray,
) -> int:
    """Writes the hashes of each text's shingles and where they end; returns their number."""
    power, tokens = _power(ngram), np.empty(_longest(offsets) + 1, np.uint64)
    total = 0
    for d in range(len(offsets) - 1):
        count = _tokens(data, offsets[d], offsets[d + 1], fold, chars, tokens)
        is_special[d] = count < 0
        total += _roll(tokens, count, ngram, power, out[total:])
        ends[d + 1] = total
    return total


@jit
def sign(
    data: np.ndarray,
    offsets: np.ndarray,
    fold: np.ndarray,
    ngram: int,
    chars: bool,
    a: np.ndarray,
    b: np.ndarray,
    out: np.ndarray,
    sizes: np.ndarray,
    names: np.ndarray,
    is_special: np.ndarray,
) -> None:
    """Text to signature in one pass: writes signatures, numbers of shingles and, unless `names` is empty, names."""
    power, longest = _power(ngram), _longest(offsets) + 1
    tokens, hashes, mixed = np.empty(longest, np.uint64), np.empty(longest, np.uint64), np.empty(longest, np.uint32)
    for d in range(len(offsets) - 1):
        count = _tokens(data, offsets[d], offsets[d + 1], fold, chars, tokens)
        is_special[d] = count < 0
        size = _roll(tokens, count, ngram, power, hashes)
        sizes[d] = size
        for i in range(size):
            mixed[i] = np.uint32(hashes[i] >> S32)
        _minima(mixed, size, a, b, out[d])
        if len(names):
            names[d, 0], names[d, 1] = _name(hashes, size)


@jit
def minhash(hashes: np.ndarray, offsets: np.ndarray, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Writes the signature (num_perm,) of each text's hashes."""
    mixed = np.empty(_longest(offsets), np.uint32)
    for d in range(len(offsets) - 1):
        begin, size = offsets[d], offsets[d + 1] - offsets[d]
        mixed[:size] = hashes[begin : begin + size]
        _minima(mixed, size, a, b, out[d])


@jit
def _minima(mixed: np.ndarray, size: int, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Writes the smallest value of each permutation over `size` hashes, which are mixed in place."""
    for i in range(size):  # fmix32; numba widens products to 64 bit, so each is cut back
        h = mixed[i]
        h = np.uint32((h ^ (h >> np.uint32(16))) * _N1)
        h = np.uint32((h ^ (h >> np.uint32(13))) * _N2)
        mixed[i] = h ^ (h >> np.uint32(16))
    for k in range(len(a)):  # the minimum over shingles is the inner loop: it vectorises
        least, ak, bk = EMPTY, a[k], b[k]
        for i in range(size):
            least = min(least, np.uint32(ak * mixed[i] + bk))
        out[k] = least


@jit
def _name(hashes: np.ndarray, size: int) -> tuple[np.uint64, np.uint64]:
    g = h = np.uint64(size)
    for i in range(size):
        g = g * _ROLL + hashes[i]
        h = (h ^ hashes[i]) * _ROLL2
        h ^= h >> _S29
    return _mix(g), _mix(h)


@jit
def bands(signature: np.ndarray, rows: int, out: np.ndarray) -> None:
    """Writes one hash for each band of `rows` signature values."""
    for d in range(out.shape[0]):
        for band in range(out.shape[1]):
            h = _BASIS
            for k in range(band * rows, (band + 1) * rows):
                h = (h ^ np.uint64(signature[d, k])) * _STEP
                h ^= h >> _S29
            out[d, band] = _mix(h)
