"""Words, shingles and MinHash, straight from Arrow string buffers to numpy arrays.

A word is a match of `\\w+` in the lower-cased text, as Python's `re` and `str.lower` see it. A shingle is `ngram`
neighbouring words (or characters of the lower-cased text); a text with fewer of them is one shingle, a text with none
has no shingle. Half a surrogate pair is U+FFFD, which is no word either. The compiled loops are in `shingle_kernel`.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from mixlab.data import shingle_kernel
from mixlab.data.documents import storable
from mixlab.errors import ConfigError

Unit = Literal["word", "char"]
Texts: TypeAlias = "Sequence[str] | pa.Array[Any] | pa.ChunkedArray[Any]"

SLICE_BYTES = 1 << 20  # text per kernel call: its shingles fit the caches


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
    return (hashes >> shingle_kernel.S32).astype(np.uint32)


def minhash(hashes: np.ndarray, offsets: np.ndarray, num_perm: int = 128, seed: int = 1) -> np.ndarray:
    """MinHash signatures, uint32 (texts, num_perm), of shingle hashes (uint32) cut by offsets (int64).

    Bit-equal to `datasketch.MinHash(num_perm, seed, scheme="affine32")` fed the same hashes; no shingle: 2^32 - 1.
    """
    hashes = np.asarray(hashes)
    if hashes.dtype != np.uint32:
        raise ConfigError(
            f"minhash takes uint32 shingle hashes, got {hashes.dtype}. Use shingle_hashes, or mask to 32 bits."
        )
    a, b = permutations(num_perm, seed)
    out = np.empty((len(offsets) - 1, num_perm), np.uint32)
    shingle_kernel.minhash(np.ascontiguousarray(hashes), np.asarray(offsets, np.int64), a, b, out)
    return out


def signatures(texts: Texts, num_perm: int = 128, ngram: int = 5, seed: int = 1, unit: Unit = "word") -> np.ndarray:
    """MinHash signatures of texts, uint32 (texts, num_perm); memory beyond them is one slice of the text."""
    return _signed(texts, num_perm, ngram, seed, unit, is_named=False)[0]


def signed(
    texts: Texts, num_perm: int = 128, ngram: int = 5, seed: int = 1, unit: Unit = "word"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signatures; the number of shingles of each text, int64; and the name of its words, uint64 (texts, 2).

    A name is 128 bits of the sequence of 64-bit shingle hashes: equal words in the same order, equal name.
    """
    return _signed(texts, num_perm, ngram, seed, unit, is_named=True)


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
    shingle_kernel.bands(signature, rows, out)
    return out


def _signed(
    texts: Texts, num_perm: int, ngram: int, seed: int, unit: Unit, *, is_named: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `signed`; without names unless `is_named`. One pass: the shingles of a text stay in the cache."""
    a, b = permutations(num_perm, seed)
    parts = [(np.empty((0, num_perm), np.uint32), np.empty(0, np.int64), np.empty((0, 2), np.uint64))]
    for cut in _slices(texts, ngram, unit):
        parts.append(_sign_slice(cut, ngram, unit, a, b, is_named))
    signature, sizes, names = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return signature, sizes, names


def _sign_slice(
    texts: "pa.Array[Any]", ngram: int, unit: Unit, a: np.ndarray, b: np.ndarray, is_named: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data, offsets = _buffers(texts)
    out, sizes = np.empty((len(texts), len(a)), np.uint32), np.empty(len(texts), np.int64)
    names, is_special = np.empty((len(texts) if is_named else 0, 2), np.uint64), np.zeros(len(texts), np.bool_)
    shingle_kernel.sign(
        data, offsets, shingle_kernel.fold_table(), ngram, unit == "char", a, b, out, sizes, names, is_special
    )
    if is_special.any():
        return _sign_slice(_lowered(texts, is_special), ngram, unit, a, b, is_named)
    return out, sizes, names


def _hash_slices(texts: Texts, ngram: int, unit: Unit) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(hashes, offsets) of about a megabyte of texts at a time."""
    for cut in _slices(texts, ngram, unit):
        yield _hash_slice(cut, ngram, unit)


def _slices(texts: Texts, ngram: int, unit: Unit) -> "Iterator[pa.Array[Any]]":
    """About a megabyte of texts at a time, as large_string without nulls."""
    if ngram < 1 or unit not in ("word", "char"):
        raise ConfigError(f"shingles of ngram={ngram}, unit='{unit}': ngram must be at least 1, unit 'word' or 'char'.")
    for chunk in _chunks(texts):
        wide = chunk.cast(pa.large_string()).fill_null("")
        _, offsets = _buffers(wide)
        begin = 0
        while begin < len(wide):
            limit: int = offsets[begin] + SLICE_BYTES
            end = int(np.searchsorted(offsets, limit, "right")) - 1
            end = min(max(end, begin + 1), len(wide))
            yield wide.slice(begin, end - begin)
            begin = end


def _chunks(texts: Texts) -> "list[pa.Array[Any]]":
    if isinstance(texts, pa.ChunkedArray):
        return list(texts.chunks)
    if isinstance(texts, pa.Array):
        return [texts]
    try:
        return [pa.array(texts, pa.large_string())]
    except UnicodeEncodeError:
        return [pa.array([text and storable(text) for text in texts], pa.large_string())]


def _hash_slice(texts: "pa.Array[Any]", ngram: int, unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    data, offsets = _buffers(texts)
    bound = (offsets[-1] - offsets[0]) // (2 if unit == "word" else 1) + len(texts)  # words are at least a blank apart
    out = np.empty(bound, np.uint64)
    ends = np.zeros(len(texts) + 1, np.int64)
    is_special = np.zeros(len(texts), np.bool_)
    total = shingle_kernel.shingles(
        data, offsets, shingle_kernel.fold_table(), ngram, unit == "char", out, ends, is_special
    )
    if is_special.any():
        return _hash_slice(_lowered(texts, is_special), ngram, unit)
    return out[:total].copy(), ends


def _lowered(texts: "pa.Array[Any]", is_special: np.ndarray) -> "pa.Array[Any]":
    """The texts, those with İ or Σ lower-cased by Python, after which neither is left."""
    read: list[Any] = texts.to_pylist()
    told = [t.lower() if odd else t for t, odd in zip(read, is_special, strict=True)]
    return pa.array(told, pa.large_string())


def _buffers(texts: "pa.Array[Any]") -> tuple[np.ndarray, np.ndarray]:
    """Bytes (uint8) and offsets (int64) of a large_string array, without a copy."""
    buffers: list[Any] = texts.buffers()  # the stub does not say that numpy reads them
    _, offsets, data = buffers
    ends = (
        np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        if len(texts)
        else np.zeros(1, np.int64)
    )
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.frombuffer(b"\0", np.uint8), ends
