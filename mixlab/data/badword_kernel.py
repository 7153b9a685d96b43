"""A quick no: whether an entry of a bad-word list may stand in a text between characters that are no word characters.

Pure. Most pages hold none, and to know that it is enough to look at the words' first letters, compiled. A letter
outside ASCII counts as a boundary here, so a yes is a maybe, and `badwords.py` looks again.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mixlab.data.jit import jit

SLOTS = 1 << 13
_WORD: np.ndarray = np.zeros(256, np.bool_)  # of ASCII: what `\\w` matches
_LOW: np.ndarray = np.arange(256, dtype=np.uint8)
_LOW[65:91] += 32
_WORD[[c for c in range(128) if chr(c).isalnum() or c == 95]] = True


class Entries(NamedTuple):
    """A list in lower case, sorted by slot."""

    letters: np.ndarray
    """uint8, all entries one after the other."""
    ends: np.ndarray
    """int64: where each entry ends in `letters`."""
    first: np.ndarray
    """int64, SLOTS + 1: the number of the first entry of each slot."""


def entries(words: Sequence[str]) -> Entries:
    """The list as the kernel reads it; `words` are in lower case and not empty."""
    coded = [w.encode() for w in words]
    boundaries = [c for c in range(256) if not _WORD[c]]
    slots = [(int(_slot(*w[:3])), w) for w in coded if len(w) > 2]
    for w in (w for w in coded if len(w) <= 2):  # what follows is a boundary, and behind that anything
        after = [(c,) for c in boundaries] if len(w) == 2 else [(c, d) for c in boundaries for d in range(256)]
        slots += [(slot, w) for slot in {int(_slot(*w, *more)) for more in after}]
    slots.sort()
    first = np.searchsorted([s for s, _ in slots], np.arange(SLOTS + 1))
    letters = np.frombuffer(b"".join(w for _, w in slots), np.uint8)
    return Entries(letters, np.cumsum([len(w) for _, w in slots]), first.astype(np.int64))


def may_hold(text: bytes, known: Entries) -> bool:
    """False if no entry stands in the UTF-8 text between boundaries, in any case; True: perhaps one does.

    >>> may_hold(b"A CUTLASS", entries(["ass"])), may_hold(b"An Ass.", entries(["ass"]))
    (False, True)
    """
    return _may_hold(np.frombuffer(text, np.uint8), known.letters, known.ends, known.first)


@jit
def _may_hold(data: np.ndarray, letters: np.ndarray, ends: np.ndarray, first: np.ndarray) -> bool:
    n, is_inside = len(data), False
    for i in range(n):
        c: int = data[i]
        was_inside, is_inside = is_inside, _WORD[c]
        if was_inside:
            continue
        slot = _slot(_LOW[c], _LOW[data[i + 1]] if i + 1 < n else 32, _LOW[data[i + 2]] if i + 2 < n else 32)
        for e in range(first[slot], first[slot + 1]):
            begin = ends[e - 1] if e else 0
            stop = i + ends[e] - begin
            if stop <= n and (stop == n or not _WORD[data[stop]]):
                k = 0
                while i + k < stop and _LOW[data[i + k]] == letters[begin + k]:
                    k += 1
                if i + k == stop:
                    return True
    return False


@jit
def _slot(a: Any, b: Any, c: Any) -> int:  # int or uint8
    return (a * 1369 + b * 37 + c) & (SLOTS - 1)
