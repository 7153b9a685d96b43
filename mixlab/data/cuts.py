"""Words cut out of texts. A place is a number of words, as the kernels count them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mixlab.types import Document

WORD = re.compile(r"\w+")


def without_words(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text without words first..end-1 of each span, and without what stands between them.

    >>> without_words("One, two; three four.", [(1, 3)])
    'One, four.'
    """
    bounds = word_bounds(text)
    kept: list[str] = []
    at = 0
    for first, end in sorted(spans):
        kept.append(text[at : bounds[first][0]])
        at = bounds[end][0] if end < len(bounds) else bounds[end - 1][1]
    return "".join([*kept, text[at:]])


def word_bounds(text: str) -> list[tuple[int, int]]:
    """First character and the one after the last of each word, as the kernels count words."""
    low = text.lower()
    if len(low) == len(text):
        return [m.span() for m in WORD.finditer(low)]
    origin = [n for n, c in enumerate(text) for _ in c.lower()]  # a character may lower-case to two
    return [(origin[m.start()], origin[m.end() - 1] + 1) for m in WORD.finditer(low)]


def document(row: Mapping[str, Any], text: str) -> Document:
    """A row of docs-*.parquet as a Document with another text."""
    return Document(id=row["id"], text=text, url=row["url"], licence=row["licence"], meta=json.loads(row["meta"]))
