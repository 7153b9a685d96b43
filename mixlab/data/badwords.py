"""Bad words: which pages hold an entry of a list, by Aho-Corasick, with the verdict of C4's regular expression.

Reads the LDNOOBW lists in `words/` (CC BY 4.0, see `words/ATTRIBUTION.md`).
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick, Implementation

from mixlab.data import badword_kernel
from mixlab.data.steps import BadWords, WordList

WORDS = Path(__file__).parent / "words"
UNSPACED = ("ja", "th", "zh")  # languages whose words need no boundary
WINDOW_BYTES = 1 << 16  # hits are listed window by window, so that a page of nothing but hits stays small
ALLOWED = {"ja": {"sm", "グロ", "女の子"}, "zh": {"性"}}  # TFDS c4_utils: frequent inside innocent words
SURROGATE = re.compile("[\ud800-\udfff]")
SCHEME = re.compile(r"https?:\/\/(www\.)?")
TRACKING = re.compile(r"\?(utm_|ref|feed).*")


@cache
def word_list(name: WordList) -> tuple[str, ...]:
    """Entries of a list as upstream has them, without blank lines (a blank entry would match nearly every page)."""
    return tuple(w for w in (WORDS / f"{name}.txt").read_text(encoding="utf-8").split("\n") if w.strip())


def finder(words: Iterable[str], language: str = "en", *, lowercase_list: bool = True) -> Callable[[str], str | None]:
    r"""A function that gives the first entry found in a text, or None.

    The verdict is that of `(?:\W|^)(w1|w2|…)(?:\W|$)` searched in `text.lower()` (TFDS `get_badwords_filter_fn`): an
    underscore or a digit beside an entry hides it, a hyphen does not. Japanese, Thai and Chinese need no boundary;
    TFDS's allowlist applies to them. `en-latin` counts as `en`. `lowercase_list=False` keeps upstream's bug.

    >>> find = finder(["ass"])
    >>> find("the ass, that is"), find("cutlass"), find("ass_1")
    ('ass', None, None)
    """
    base = language.split("-")[0]
    chosen = sorted({w.lower() if lowercase_list else w for w in words if w.strip()} - ALLOWED.get(base, set()))
    if not chosen:
        return lambda text: None
    automaton = BytesAhoCorasick([w.encode() for w in chosen], implementation=Implementation.DFA)
    needs_boundary = base not in UNSPACED
    is_ascii = all(w.isascii() or w == w.lower() == w.upper() for w in chosen)
    overlap = max(len(w.encode()) for w in chosen) + 8
    entries = badword_kernel.entries(chosen) if is_ascii and needs_boundary else None

    def find(text: str) -> str | None:
        # the lower case of some letters holds ASCII letters: `İ`, the Kelvin sign
        if entries is None or not (text.isascii() or ("İ" not in text and "\u212a" not in text)):
            low = text.lower().encode("utf-8", "surrogatepass")
        else:
            raw = text.encode("utf-8", "surrogatepass")
            if not badword_kernel.may_hold(raw, entries):
                return None
            low = raw.lower()
        for at in range(0, len(low), WINDOW_BYTES):
            begin = max(at - overlap, 0)
            part = low[begin : at + WINDOW_BYTES] if len(low) > WINDOW_BYTES else low
            for word, start, end in automaton.find_matches_as_indexes(part, overlapping=True):
                if not needs_boundary or not (_word_before(low, begin + start) or _word_after(low, begin + end)):
                    return chosen[word]
        return None

    return find


def normalised_url(url: str) -> str:
    """C4's key of a page: scheme, `www.`, tracking queries and the closing slash removed (TFDS `normalize_url`).

    >>> normalised_url("https://www.example.org/a/?utm_source=x")
    'example.org/a'
    """
    return TRACKING.sub("", SCHEME.sub("", url)).rstrip("/")


def is_spared(key: str, fraction: float) -> bool:
    """True if a page with bad words is kept because only a share `fraction` of them is dropped.

    `key` is the page's URL, or its id. By its md5, so neither order nor chance decides (TFDS `_badwords_predicate`).
    """
    if fraction >= 1.0:
        return False
    num, den = float(fraction).as_integer_ratio()
    value = int(hashlib.md5(normalised_url(key).encode("utf-8", "surrogatepass")).hexdigest(), 16)
    return value % den >= num


def has_bad_word(text: str, step: BadWords, key: str) -> bool:
    """True if the step drops this page."""
    if _finder(step.badwords, step.lowercase_list)(text) is None:
        return False
    return not is_spared(key, step.badword_fraction)


@cache
def _finder(name: WordList, lowercase_list: bool) -> Callable[[str], str | None]:
    return finder(word_list(name), lowercase_list=lowercase_list)


def _word_before(data: bytes, at: int) -> bool:
    """True if the character before byte `at` is one of Python's `\\w`."""
    if at == 0:
        return False
    begin = at - 1
    while data[begin] & 0xC0 == 0x80:
        begin -= 1
    return _is_word(data[begin:at])


def _word_after(data: bytes, at: int) -> bool:
    """True if the character at byte `at` is one of Python's `\\w`."""
    if at == len(data):
        return False
    end = at + 1
    while end < len(data) and data[end] & 0xC0 == 0x80:
        end += 1
    return _is_word(data[at:end])


@lru_cache(maxsize=1 << 12)
def _is_word(char: bytes) -> bool:
    letter = char.decode("utf-8", "surrogatepass")
    return letter.isalnum() or letter == "_"
