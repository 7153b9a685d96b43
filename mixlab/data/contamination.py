"""Held-out text inside training text: an index of the held-out documents' word n-grams, and who contains them.

N-grams are 64-bit shingle hashes of `kernels`. A held-out document of fewer than `ngram` words is one n-gram, so it is
found only in a training document with exactly the same words. Every search proves itself on planted held-out texts:
"nothing found" cannot mean "looked in the wrong place".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mixlab.data.jit import jit
from mixlab.data.kernels import Texts, wide_hashes

PREFILTER = 8  # cells per n-gram in the first, coarse look-up: one in nine strangers passes
EPSILON = 1e-9  # shares are compared exactly by the caller; the kernel leaves out only what is clearly below
HIT = np.dtype([("train", "i8"), ("heldout", "i8"), ("shared", "i8"), ("overlap", "f8"), ("jaccard", "f8")])


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """Inverted index of the n-grams of held-out documents."""

    ngram: int
    keys: np.ndarray
    """uint64, distinct hashes, sorted."""
    starts: np.ndarray
    """int64 (keys + 1,): the documents of key k are docs[starts[k]:starts[k + 1]]."""
    docs: np.ndarray
    """int64, positions of held-out documents."""
    sizes: np.ndarray
    """int64 (held-out documents,): distinct n-grams of each."""
    may_hold: np.ndarray
    """bool, by the low bits of a hash: False means that no key has them."""


def overlaps(train_texts: Texts, heldout_texts: Sequence[str], ngram: int = 13) -> pd.DataFrame:
    """Every training text that shares a word n-gram with a held-out one: positions train and heldout, shared, overlap.

    `overlap` is the share of the held-out text's distinct n-grams that are in the training text. The held-out texts
    are searched too, each must be found in itself with overlap 1; the rows about them are not returned.

    >>> overlaps(["so it said: one two three four"], ["one two three", "five six"], ngram=2)
       train  heldout  shared  overlap
    0      0        0       2      1.0
    """
    index = build_index(heldout_texts, ngram)
    planted = search(index, heldout_texts)
    is_itself = (planted["train"] == planted["heldout"]) & (planted["overlap"] == 1.0)
    check_planted(index, planted["heldout"][is_itself])
    found = search(index, train_texts)
    return pd.DataFrame({name: found[name] for name in ("train", "heldout", "shared", "overlap")})


def build_index(heldout_texts: Texts, ngram: int) -> Index:
    """The index of held-out texts; a text's position is its number."""
    hashes, offsets = wide_hashes(heldout_texts, ngram)
    doc = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((doc, hashes))
    hashes, doc = hashes[order], doc[order]
    is_new = np.ones(len(doc), np.bool_)
    is_new[1:] = (hashes[1:] != hashes[:-1]) | (doc[1:] != doc[:-1])
    hashes, doc = hashes[is_new], doc[is_new]
    keys, starts = np.unique(hashes, return_index=True)
    may_hold = np.zeros(1 << int(PREFILTER * len(keys)).bit_length(), np.bool_)
    may_hold[keys & np.uint64(len(may_hold) - 1)] = True
    return Index(
        ngram=ngram,
        keys=keys,
        starts=np.append(starts, len(doc)).astype(np.int64),
        docs=doc,
        sizes=np.bincount(doc, minlength=len(offsets) - 1),
        may_hold=may_hold,
    )


def search(index: Index, texts: Texts, least: float = 0.0) -> np.ndarray:
    """Texts with more than `least` of a held-out one's n-grams: records (HIT) sorted by (train, heldout).

    `jaccard` is that of the two sets of n-grams.
    """
    hashes, offsets = wide_hashes(texts, index.ngram)
    found = _search(hashes, offsets, index.keys, index.starts, index.docs, index.sizes, index.may_hold, least - EPSILON)
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    texts_hit, place = np.unique(found[:, 0], return_inverse=True)
    distinct = np.array([len(np.unique(hashes[offsets[t] : offsets[t + 1]])) for t in texts_hit], np.int64)[place]
    size, shared = index.sizes[found[:, 1]], found[:, 2]
    out = np.empty(len(found), HIT)
    out["train"], out["heldout"], out["shared"] = found[:, 0], found[:, 1], shared
    out["overlap"], out["jaccard"] = shared / size, shared / (distinct + size - shared)
    return out[out["overlap"] > least]


def check_planted(index: Index, found: np.ndarray) -> None:
    """Stops unless every held-out document that has n-grams is among those found in themselves."""
    missed = np.setdiff1d(np.flatnonzero(index.sizes), found)
    if len(missed):
        raise AssertionError(
            f"the contamination check is blind: {len(missed)} of {int((index.sizes > 0).sum())} planted held-out "
            f"documents were not found in themselves by their {index.ngram}-grams. This is a fault of mixlab, not of "
            "the data."
        )


@jit
def _search(
    hashes: np.ndarray,
    offsets: np.ndarray,
    keys: np.ndarray,
    starts: np.ndarray,
    docs: np.ndarray,
    sizes: np.ndarray,
    may_hold: np.ndarray,
    least: float,
) -> np.ndarray:
    """(text, held-out, shared distinct n-grams) for each pair with at least the share `least`, int64 (pairs, 3)."""
    out, total = np.empty((1024, 3), np.int64), 0
    last_text = np.full(len(keys), -1, np.int64)  # the text in which a key was met last: repeats count once
    counts, touched = np.zeros(len(sizes), np.int64), np.empty(len(sizes), np.int64)
    mask = np.uint64(len(may_hold) - 1)
    for t in range(len(offsets) - 1):
        n_touched = 0
        for p in range(offsets[t], offsets[t + 1]):
            h = hashes[p]
            if not may_hold[h & mask]:
                continue
            low, high = 0, len(keys)
            while low < high:
                middle = (low + high) // 2
                if keys[middle] < h:
                    low = middle + 1
                else:
                    high = middle
            if low == len(keys) or keys[low] != h or last_text[low] == t:
                continue
            last_text[low] = t
            for d in docs[starts[low] : starts[low + 1]]:
                if counts[d] == 0:
                    touched[n_touched] = d
                    n_touched += 1
                counts[d] += 1
        for d in touched[:n_touched]:
            if counts[d] >= least * sizes[d]:
                if total == len(out):
                    grown = np.empty((2 * total, 3), np.int64)
                    grown[:total] = out
                    out = grown
                out[total, 0], out[total, 1], out[total, 2] = t, d, counts[d]
                total += 1
            counts[d] = 0
    return out[:total]
