"""An inverted index of the word n-grams of evaluation items, and every place where a text holds one.

N-grams are 64-bit shingle hashes of `kernels`. Exact: no sampling, no filter that guesses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixlab.data import kernels
from mixlab.data.evalitems import Item
from mixlab.data.jit import jit
from mixlab.errors import SourceError

NGRAMS = (13, 8)  # GPT-3's and PaLM's
SHORTEST = 3  # words; an item of fewer is not sought, and said so: it stands in any text
MATCH = np.dtype([("doc", "<i8"), ("item", "<i8"), ("word", "<i8"), ("place", "<i8")])
"""One n-gram met: document of the batch, item, first word in the document, first word in the item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grams:
    """Inverted index of the n-grams of one length: key k stands at (item, place) of rows starts[k] to starts[k + 1]."""

    keys: np.ndarray
    starts: np.ndarray
    item: np.ndarray
    place: np.ndarray
    may_hold: np.ndarray
    """bool, by the low bits of a hash: False means that no key has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The items, how long they are, and the n-grams they are sought by."""

    items: Sequence[Item]
    words: np.ndarray
    """int64: words of each item, of which the first `query` are its query's."""
    query: np.ndarray
    ngram: np.ndarray
    """int64: what decides about each item; 0: too short."""
    grams: Mapping[int, Grams]


def build(items: Sequence[Item]) -> Wanted:
    """The index of evaluation items."""
    words = np.diff(kernels.wide_hashes([i.text for i in items], 1)[1])
    query = np.diff(kernels.wide_hashes([i.query for i in items], 1)[1])
    ngram = np.where(words >= 13, 13, np.where(words >= 8, 8, np.where(words >= SHORTEST, words, 0)))
    if not ngram.any():
        raise SourceError(f"none of {len(items)} evaluation items has {SHORTEST} words: there is nothing to look for.")
    grams = dict[int, Grams]()
    for n in sorted({*NGRAMS, *ngram[ngram > 0].tolist()}):
        # an 8-gram also informs about longer items; a whole-string match is for items of exactly that length
        takes = np.flatnonzero(words >= n if n in NGRAMS else words == n)
        grams[n] = _grams([items[i].text for i in takes.tolist()], takes, n)
    return Wanted(items=items, words=words, query=query, ngram=ngram, grams=grams)


def matches(texts: kernels.Texts, n: int, grams: Grams) -> np.ndarray:
    """Every n-gram of an item in the texts (MATCH), sorted by (document, item, word, place)."""
    hashes, offsets = kernels.wide_hashes(texts, n)
    at, key = _look_up(hashes, grams.keys, grams.may_hold)
    counts = grams.starts[key + 1] - grams.starts[key]
    total = np.cumsum(counts)
    posting = np.arange(int(total[-1]) if len(total) else 0) - np.repeat(total - counts, counts)
    posting += np.repeat(grams.starts[key], counts)
    out = np.empty(len(posting), MATCH)
    doc = np.searchsorted(offsets, at, "right") - 1
    out["doc"], out["word"] = np.repeat(doc, counts), np.repeat(at - offsets[doc], counts)
    out["item"], out["place"] = grams.item[posting], grams.place[posting]
    return out[np.lexsort((out["place"], out["word"], out["item"], out["doc"]))]


def by_pair(matches: np.ndarray) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """((document, item), its matches)."""
    is_new = (matches["doc"][1:] != matches["doc"][:-1]) | (matches["item"][1:] != matches["item"][:-1])
    for rows in np.split(matches, np.flatnonzero(is_new) + 1) if len(matches) else ():
        yield (int(rows["doc"][0]), int(rows["item"][0])), rows


def joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that overlap or touch as one, in order."""
    out: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if out and first <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        else:
            out.append((first, end))
    return out


def _grams(texts: Sequence[str], takes: np.ndarray, n: int) -> Grams:
    hashes, offsets = kernels.wide_hashes(list(texts), n)
    counts = np.diff(offsets)
    item, place = np.repeat(takes, counts), np.arange(len(hashes)) - np.repeat(offsets[:-1], counts)
    order = np.lexsort((place, item, hashes))
    keys, starts = np.unique(hashes[order], return_index=True)
    may_hold = np.zeros(1 << int(8 * len(keys) + 1).bit_length(), np.bool_)
    may_hold[keys & np.uint64(len(may_hold) - 1)] = True
    bounds = np.append(starts, len(order)).astype(np.int64)
    return Grams(keys=keys, starts=bounds, item=item[order], place=place[order], may_hold=may_hold)


@jit
def _look_up(hashes: np.ndarray, keys: np.ndarray, may_hold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the hashes that are keys, and which keys."""
    at, key, total = np.empty(1024, np.int64), np.empty(1024, np.int64), 0
    mask = np.uint64(len(may_hold) - 1)
    for p in range(len(hashes)):
        h: np.uint64 = hashes[p]
        if not may_hold[h & mask]:
            continue
        k = np.searchsorted(keys, h)
        if k < len(keys) and keys[k] == h:
            if total == len(at):
                at, key = np.append(at, np.empty(total, np.int64)), np.append(key, np.empty(total, np.int64))
            at[total], key[total] = p, k
            total += 1
    return at[:total], key[:total]
