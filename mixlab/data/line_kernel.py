"""C4's line rules over the UTF-8 bytes of a page, compiled: the verdict and text of `lines.py`, forty times as fast.

Reads and writes nothing. Whatever is rare and intricate is left to `lines.py`: `is_plain` says which texts are fit.
Legend: `data` the page, `out` the surviving lines with line feeds between, `i`, `start`, `end`, `n` byte positions.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from mixlab.data.jit import jit
from mixlab.data.sentence_kernel import blank_at, clear_sentences, end_marks, stripped, unclear_words

LONG_WORD, END_MARK, FEW_WORDS, JAVASCRIPT, POLICY, LOREM_IPSUM, BRACE, FIRST = range(8)
"""Places in the array of counts: lines dropped; lines that show a page rule its phrase; which of the two came first."""
PHRASES = (
    (b"javascript", b"va", JAVASCRIPT),
    (b"lorem ipsum", b"ps", LOREM_IPSUM),
    (b"{", b"{", BRACE),
    (b"terms of use", b"f ", POLICY),
    (b"privacy policy", b"va", POLICY),
    (b"cookie policy", b"ki", POLICY),
    (b"uses cookies", b"ki", POLICY),
    (b"use of cookies", b"ki", POLICY),
    (b"use cookies", b"ki", POLICY),
)
"""Each phrase with the letters in it that are rare in English, by which it is found, and the place of its count."""
NOTES = (b"edit]", b"citation needed]")
CHUNK = 32  # bytes that are looked at at once for a line break
_LETTERS = np.frombuffer(b"".join(p for p, _, _ in PHRASES), np.uint8)
_ENDS = np.cumsum([len(p) for p, _, _ in PHRASES])
_RARE = np.array([p.index(rare) for p, rare, _ in PHRASES])
_KINDS = np.array([kind for _, _, kind in PHRASES])
_NEXT = np.zeros(256, np.uint8)  # by a letter: the one after it if a phrase is to be found here; 255: any, 0: none
for _, _rare, _ in PHRASES:
    _NEXT[[_rare[0], _rare.upper()[0]]] = (_rare + b"\xff")[1]
_EDIT, _NEEDED = (np.frombuffer(note, np.uint8) for note in NOTES)
ODD = ("İ", "\u212a")
"""The letters outside ASCII that lower-case to something with an ASCII letter in it: `i̇` and `k`."""


class Scanned(NamedTuple):
    """What the line rules make of a page."""

    lines: str
    """Those that are left, line feeds between; blanks where a citation was stay."""
    counts: list[int]
    """By the constants above."""
    sentences: int | None
    """Up to `most`; None where only a splitter can tell."""


def is_plain(text: str) -> bool:
    """True if `scan` may judge the text: no letter that lower-cases into ASCII, no digit of another script in brackets.

    >>> is_plain("naïve [1] text"), is_plain("the \\u212aelvin sign")
    (True, False)
    """
    if text.isascii():
        return True
    if ODD[0] in text or ODD[1] in text:
        return False
    at = text.find("[")
    while at >= 0:
        at += 1
        while at < len(text) and text[at].isdecimal():
            if text[at] > "9":
                return False
            at += 1
        at = text.find("[", at)
    return True


def scan(text: str, marks: str, min_words: int, max_word_chars: int, *, with_citations: bool, most: int) -> Scanned:
    """The page by C4's line rules, where `is_plain`. `marks`: ASCII end marks, none for no such rule.

    `with_citations`: words are counted before the citations go. `most`: sentences to count. Takes any text, also lone
    surrogates.
    """
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    out, counts = np.empty(len(data) + 1, np.uint8), np.zeros(8, np.int64)
    size = _scan(data, _table(marks), bool(marks), min_words, max_word_chars, with_citations, out, counts)
    found, is_exact = clear_sentences(out, size, most, unclear_words(), end_marks())
    left = out[:size].tobytes().decode("utf-8", "surrogatepass")
    return Scanned(left, counts.tolist(), found if is_exact else None)


@cache
def _table(marks: str) -> np.ndarray:
    """True at the bytes of these characters."""
    is_mark = np.zeros(256, np.bool_)
    is_mark[[ord(m) for m in marks]] = True
    return is_mark


@jit
def _scan(
    data: np.ndarray,
    is_mark: np.ndarray,
    has_marks: bool,
    min_words: int,
    max_word_chars: int,
    with_citations: bool,
    out: np.ndarray,
    counts: np.ndarray,
) -> int:
    """Bytes written to `out`; judges line by line in the reference's order."""
    n, i, size, is_first = len(data), 0, 0, True
    while i < n:
        begin = i
        i, width, has_bracket = _line_end(data, begin, n)
        start, end = stripped(data, begin, i)
        i += width
        is_long = end - start > max_word_chars
        is_ended = not has_marks or is_long or (end > start and is_mark[data[end - 1]])
        if not is_ended and not has_bracket:  # most lines of a web page end here
            counts[END_MARK] += 1
            continue
        if is_long and _has_long_word(data, start, end, max_word_chars):
            counts[LONG_WORD] += 1
            continue
        at = size if is_first else size + 1
        stop = at + end - start
        if has_bracket:
            stop = _without_citations(data, start, end, out, at)
        else:
            out[at:stop] = data[start:end]
        if has_marks and not _ends_well(out, at, stop, is_mark):
            counts[END_MARK] += 1
            continue
        few = _fewer_words(data, start, end, min_words) if with_citations else _fewer_words(out, at, stop, min_words)
        if few:
            counts[FEW_WORDS] += 1
        elif not _shows_phrase(out, at, stop, counts):
            if not is_first:
                out[size] = 10
            size, is_first = stop, False
    return size


@jit
def _line_end(data: np.ndarray, i: int, n: int) -> tuple[int, int, bool]:
    """Where the line from i ends, the bytes of its line break, and whether it holds a `[`."""
    has_bracket = False
    while True:
        while i + CHUNK <= n:
            is_special = False
            for k in range(CHUNK):  # one vector instruction a comparison
                c = data[i + k]
                is_special |= (c < 31) | (c >= 0xC2) | (c == 91)
            if is_special:
                break
            i += CHUNK
        stop = min(i + CHUNK, n)
        while i < stop:
            c = data[i]
            if c == 91:
                has_bracket = True
            elif c < 31 or c >= 0xC2:
                width = _break_at(data, i, n)
                if width:
                    return i, width, has_bracket
            i += 1
        if i == n:
            return n, 0, has_bracket


@jit
def _break_at(data: np.ndarray, i: int, n: int) -> int:
    """Bytes of the line break at i, where `str.splitlines` sees one; 0: none."""
    c = data[i]
    if c < 31:
        if c == 13:
            return 2 if i + 1 < n and data[i + 1] == 10 else 1
        return 1 if 10 <= c <= 12 or c >= 28 else 0
    if c == 0xC2:
        return 2 if i + 1 < n and data[i + 1] == 0x85 else 0
    if c == 0xE2 and i + 2 < n and data[i + 1] == 0x80:
        return 3 if data[i + 2] == 0xA8 or data[i + 2] == 0xA9 else 0
    return 0


@jit
def _has_long_word(data: np.ndarray, start: int, end: int, max_chars: int) -> bool:
    """True if a word has more characters; continuation bytes are none."""
    chars, i = 0, start
    while i < end:
        width = blank_at(data, i, end)
        if width:
            chars = 0
            i += width
            continue
        if data[i] & 0xC0 != 0x80:
            chars += 1
            if chars > max_chars:
                return True
        i += 1
    return False


@jit
def _without_citations(data: np.ndarray, start: int, end: int, out: np.ndarray, at: int) -> int:
    """Copies the range to `out` without `[1]`, `[]`, `[edit]`, `[citation needed]`; where the copy ends."""
    i = start
    while i < end:
        if data[i] == 91:
            j = i + 1
            while j < end and 48 <= data[j] <= 57:
                j += 1
            if j < end and data[j] == 93:
                i = j + 1
                continue
            if _matches(data, i + 1, end, _EDIT):
                i += 1 + len(_EDIT)
                continue
            if _matches(data, i + 1, end, _NEEDED):
                i += 1 + len(_NEEDED)
                continue
        out[at] = data[i]
        at += 1
        i += 1
    return at


@jit
def _matches(data: np.ndarray, i: int, end: int, letters: np.ndarray) -> bool:
    if i + len(letters) > end:
        return False
    for k in range(len(letters)):  # noqa: SIM110  # numba compiles a loop, not all() of a generator
        if data[i + k] != letters[k]:
            return False
    return True


@jit
def _ends_well(out: np.ndarray, at: int, stop: int, is_mark: np.ndarray) -> bool:
    """True if the last byte is an end mark and the line does not end in `...`."""
    if stop == at or not is_mark[out[stop - 1]]:
        return False
    return not (stop - at >= 3 and out[stop - 1] == 46 and out[stop - 2] == 46 and out[stop - 3] == 46)


@jit
def _fewer_words(data: np.ndarray, start: int, end: int, least: int) -> bool:
    """True if the range holds fewer words than `least`."""
    words, is_inside, i = 0, False, start
    while i < end and words < least:
        width = blank_at(data, i, end)
        if width == 0 and not is_inside:
            words += 1
        is_inside = width == 0
        i += max(width, 1)
    return words < least


@jit
def _shows_phrase(out: np.ndarray, at: int, stop: int, counts: np.ndarray) -> bool:
    """True if a phrase drops the line, which is counted; page rules that see the line are noted."""
    has_javascript = has_policy = has_lorem = has_brace = False
    for i in range(at, stop):
        after = _NEXT[out[i]]
        if after == 0 or (after < 255 and (i + 1 == stop or _low(out[i + 1]) != after)):
            continue
        begin = 0
        for k in range(len(_ENDS)):
            if _is_phrase(out, at, i - _RARE[k], stop, begin, _ENDS[k]):
                has_javascript |= _KINDS[k] == JAVASCRIPT
                has_policy |= _KINDS[k] == POLICY
                has_lorem |= _KINDS[k] == LOREM_IPSUM
                has_brace |= _KINDS[k] == BRACE
            begin = _ENDS[k]
    has_brace &= not has_javascript
    if counts[FIRST] == 0 and (has_lorem or has_brace):
        counts[FIRST] = LOREM_IPSUM if has_lorem else BRACE
    counts[LOREM_IPSUM] += has_lorem
    counts[BRACE] += has_brace
    counts[JAVASCRIPT] += has_javascript
    counts[POLICY] += has_policy and not has_javascript
    return has_javascript or has_policy


@jit
def _low(byte: int) -> int:
    return byte + 32 if 65 <= byte <= 90 else byte


@jit
def _is_phrase(out: np.ndarray, at: int, i: int, stop: int, begin: int, end: int) -> bool:
    if i < at or i + end - begin > stop:
        return False
    for k in range(end - begin):  # noqa: SIM110  # numba compiles a loop, not all() of a generator
        if _low(out[i + k]) != _LETTERS[begin + k]:
            return False
    return True
