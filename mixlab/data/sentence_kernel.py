"""Sentences that no splitter can doubt, counted over the UTF-8 bytes of cleaned lines, compiled; and what is blank.

Reads the tables of Punkt and of `english.py`; writes nothing. A count is a lower bound: `lines.py` asks the splitter
where it stays below what is needed.
"""

from functools import cache

import numpy as np
from punkt import load_model

from mixlab.data import english
from mixlab.data.jit import jit

SLOTS = 1 << 16
_BASIS, _PRIME = np.uint32(0x811C9DC5), np.uint32(0x01000193)  # FNV-1a, 32 bit


@cache
def unclear_words() -> np.ndarray:
    """True at the slots of words after which a full stop may end no sentence: abbreviations, parts of collocations.

    Another word may share a slot; it is unclear then, which costs time and changes no count.
    """
    model = load_model("english")
    words = {*model.abbrev_types, *(first for first, _ in model.collocations), *english.with_full_stop()}
    table = np.zeros(SLOTS, np.bool_)
    for word in words:
        letters = np.frombuffer(word.lower().encode(), np.uint8)
        table[_slot(letters, 0, len(letters))] = True
    return table


@cache
def end_marks() -> np.ndarray:
    """True at the code points below U+10000 that end a sentence for a splitter."""
    table = np.zeros(1 << 16, np.bool_)
    table[[ord(c) for c in english.end_marks() if ord(c) < len(table)]] = True
    return table


@jit
def clear_sentences(
    data: np.ndarray, size: int, most: int, unclear: np.ndarray, is_end: np.ndarray
) -> tuple[int, bool]:
    """Sentences of the lines in `data[:size]` beyond doubt, counted up to `most`; and whether there can be no more.

    Each line holds one, a blank one too: where citations were, datatrove counts what is left (TFDS leaves no such
    line). One more begins at each `word. Next` of a word that shortens nothing: a letter and two or more small ones,
    after a space or `(`; perhaps a `)`; an end mark; spaces; a letter or digit. There can be no more than one for each
    end mark that something may follow (`english.most_sentences`).
    """
    found, is_exact, begin = 0, True, 0
    while 0 < size >= begin and found < most:
        end, doubts = begin, 0
        found += 1
        if found == most:
            return found, True
        while end < size and data[end] != 10:
            end += 1
        for i in range(begin, end):
            c = data[i]
            if c == 46 or c == 33 or c == 63:
                if _is_clear(data, i, begin, end, unclear):
                    found += 1
                    if found == most:
                        return found, True
                elif i + 1 < end and not _is_inside_word(data, i, begin):
                    doubts += 1
            elif c >= 0xC2 and _ends_sentence(data, i, end, is_end):
                doubts += 1
        is_exact &= doubts == 0
        begin = end + 1
    return found, is_exact


@jit
def _is_inside_word(data: np.ndarray, i: int, begin: int) -> bool:
    """True if the end mark at i stands between a letter or digit and a small letter or digit."""
    after = data[i + 1]
    return (97 <= after <= 122 or 48 <= after <= 57) and i > begin and _is_letter_or_digit(data[i - 1])


@jit
def _ends_sentence(data: np.ndarray, i: int, end: int, is_end: np.ndarray) -> bool:
    """True if the letter outside ASCII at i is an end mark, or one of those that are not looked up."""
    c: int = data[i]
    if c < 0xE0:
        point: int = (c & 31) << 6 | data[i + 1] & 63
        return is_end[point]
    if c >= 0xF0:
        return True
    point = (c & 15) << 12 | (data[i + 1] & 63) << 6 | data[i + 2] & 63
    return is_end[point]


@jit
def _is_clear(data: np.ndarray, i: int, begin: int, end: int, unclear: np.ndarray) -> bool:
    """True if the end mark at i ends a sentence of the line beyond doubt."""
    j = i + 1
    while j < end and (data[j] == 32 or data[j] == 9):
        j += 1
    if j == i + 1 or j >= end or not _is_letter_or_digit(data[j]):
        return False
    stop = i - 1 if i > begin and data[i - 1] == 41 else i
    start = stop
    while start > begin and 97 <= data[start - 1] <= 122:
        start -= 1
    if start > begin and 65 <= data[start - 1] <= 90:
        start -= 1
    if start > begin:
        before = data[start - 1]
        if before != 32 and before != 9 and before != 40:
            return False
    return stop - start >= 3 and not unclear[_slot(data, start, stop)]


@jit
def _slot(letters: np.ndarray, start: int, end: int) -> np.uint32:
    """Where a word stands in the table, whatever its case."""
    h = _BASIS
    for k in range(start, end):
        c = letters[k]
        h = np.uint32((h ^ np.uint32(c + 32 if 65 <= c <= 90 else c)) * _PRIME)
    return h % SLOTS


@jit
def _is_letter_or_digit(c: int) -> bool:
    return 97 <= c <= 122 or 65 <= c <= 90 or 48 <= c <= 57


@jit
def blank_at(data: np.ndarray, i: int, n: int) -> int:
    """Bytes of the blank at i, where `str.isspace` sees one; 0: none."""
    c = data[i]
    if c <= 32:
        return 1 if c == 32 or 9 <= c <= 13 or 28 <= c <= 31 else 0
    if c < 0xC2 or c > 0xE3 or i + 1 >= n:
        return 0
    d = data[i + 1]
    if c == 0xC2:
        return 2 if d == 0x85 or d == 0xA0 else 0
    if c < 0xE1 or i + 2 >= n:
        return 0
    e = data[i + 2]
    if c == 0xE1:
        return 3 if d == 0x9A and e == 0x80 else 0
    if c == 0xE3:
        return 3 if d == 0x80 and e == 0x80 else 0
    if d == 0x80:  # U+2000 to 200A, 2028, 2029, 202F
        return 3 if e <= 0x8A or e == 0xA8 or e == 0xA9 or e == 0xAF else 0
    return 3 if d == 0x81 and e == 0x9F else 0


@jit
def stripped(data: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """The range without blanks at either end."""
    while start < end:
        width = blank_at(data, start, end)
        if width == 0:
            break
        start += width
    while start < end:
        if data[end - 1] < 0x80:
            width = blank_at(data, end - 1, end)
        elif end - start >= 3 and blank_at(data, end - 3, end) == 3:
            width = 3
        elif end - start >= 2 and blank_at(data, end - 2, end) == 2:
            width = 2
        else:
            width = 0
        if width == 0:
            break
        end -= width
    return start, end
