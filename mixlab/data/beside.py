"""A removed document beside the kept one: which words both have, which differ. Reads clean artefacts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any

from mixlab.data.cleaned import Cleaned, cleanings
from mixlab.data.documents import doc_of
from mixlab.errors import MissingError
from mixlab.workspace import Workspace

WORD = re.compile(r"\w+")
MOST_WORDS = 3000
"""Of either text; longer ones are not compared word by word, which takes time by the square."""
Part = tuple[str, str]
"""A piece of text and its kind: "", `shared` or `differs`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Both texts in parts: `shared` is in the run of words stored as evidence, `differs` has no counterpart."""

    removed: Sequence[Part]
    kept: Sequence[Part]
    is_compared: bool
    """False where a text is too long to compare every word: only the shared run is marked."""


def pair(ws: Workspace, told: Cleaned, doc_id: str, duplicate: Mapping[str, Any]) -> Pair:
    """A removed document of `told` and its kept partner; `duplicate` from `explain.Explained`.

    Raises MissingError if a text is gone.
    """
    removed = doc_of(told.path, doc_id)
    others = cleanings(ws, duplicate["kept_source"])
    known = [told, *others] if duplicate["kept_source"] == told.source else others
    kept = next((doc for c in known if (doc := doc_of(c.path, duplicate["kept_id"]))), None)
    if removed is None or kept is None:
        gone = f"{told.source} {doc_id}" if removed is None else f"{duplicate['kept_source']} {duplicate['kept_id']}"
        raise MissingError(f"the text of {gone} is gone: run `mixlab data prepare` to have it made again.")
    run = (duplicate.get("shared_start"), duplicate.get("kept_start"), duplicate.get("shared_words"))
    return compared(removed["text"], kept["text"], run if run[2] else (0, 0, 0))


def compared(removed: str, kept: str, run: Sequence[Any]) -> Pair:
    """The parts of two texts; `run`: first word of the shared run in either, and its words.

    >>> compared("a b c d", "a b x d", (0, 0, 2)).removed
    [('a b', 'shared'), (' ', ''), ('c', 'differs'), (' d', '')]
    """
    words = [list(WORD.finditer(text)) for text in (removed, kept)]
    kinds: list[list[str]] = [[""] * len(w) for w in words]
    is_compared = max(map(len, words)) <= MOST_WORDS
    if is_compared:
        spelt = [[m[0].lower() for m in w] for w in words]
        for op, a, b, c, d in SequenceMatcher(None, *spelt, autojunk=False).get_opcodes():
            if op != "equal":
                kinds[0][a:b], kinds[1][c:d] = ["differs"] * (b - a), ["differs"] * (d - c)
    for side in (0, 1):
        start, count = run[side] or 0, run[2] or 0
        kinds[side][start : start + count] = ["shared"] * len(kinds[side][start : start + count])
    parts = [_parts(text, w, k) for text, w, k in zip((removed, kept), words, kinds, strict=True)]
    return Pair(removed=parts[0], kept=parts[1], is_compared=is_compared)


def _parts(text: str, words: Sequence[re.Match[str]], kinds: Sequence[str]) -> list[Part]:
    """The text cut where the kind of its words changes; what stands between two words of a kind is of that kind."""
    parts: list[Part] = []
    end = 0
    for kind, group in groupby(zip(words, kinds, strict=True), key=lambda pair: pair[1]):
        if kind:
            run = [word for word, _ in group]
            parts += [(text[end : run[0].start()], ""), (text[run[0].start() : run[-1].end()], kind)]
            end = run[-1].end()
    return [part for part in (*parts, (text[end:], "")) if part[0]]
