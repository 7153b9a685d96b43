"""English words and sentences as spaCy's blank pipeline (tokenizer + sentencizer) counts them, without spaCy.

datatrove's filters count with that pipeline, so its verdicts depend on it. Reads `words/spacy_en.json`: the tables of
spaCy 3.8 (character classes, affixes, exceptions; MIT, see `words/ATTRIBUTION.md`). The steps are those of its
documentation, "How spaCy's tokenizer works". Two limits, both for the sake of time: a run of more than
`MAX_CHUNK_CHARS` non-blank characters is one token, and exceptions are looked for inside such a run, never across.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

TABLES = Path(__file__).parent / "words" / "spacy_en.json"
MAX_CHUNK_CHARS = 1000  # the C4 rules drop lines with longer words, so only the Gopher rules ever see one
MAY_END = re.compile(r"[.?!](?![a-z0-9])|(?<![A-Za-z0-9])[.?!]")
CHUNK = re.compile(r"\s+|\S+")


def sentences(line: str, least: int | None = None) -> int:
    """Sentences of a line, at least 1, by spaCy's sentencizer; counting stops at `least`.

    A sentence starts at the first token that is no punctuation after a token that is exactly one end mark: the full
    stop in `Mr.` or `U.S.` belongs to its word and ends nothing, and neither does `...`.

    >>> sentences("Mr. Smith went home. He was tired.")
    2
    """
    has_end = _tables().sentence_end.search
    count, seen = 1, False
    for chunk in _chunks(line):
        if seen or has_end(chunk):
            starts, seen = _walk(chunk, seen)
            count += starts
            if least is not None and count >= least:
                break
    return count


def most_sentences(line: str) -> int:
    """A bound that neither splitter exceeds: one sentence, and one for each end mark that something may follow.

    A full stop, `?` or `!` between two letters or digits of ASCII ends nothing, but for a full stop from a small letter
    to a big one.

    >>> most_sentences("Mr. Smith went home at 3.30."), most_sentences("Here.Now")
    (2, 2)
    """
    last = max(len(line) - 1, 0)
    found = 1 + len(MAY_END.findall(line, 0, last))
    return found if line.isascii() else found + len(_tables().wide_end.findall(line, 0, last))


def end_marks() -> frozenset[str]:
    """Characters that end a sentence for spaCy's sentencizer; those that Punkt knows are among them."""
    return _tables().sentence_ends


def with_full_stop() -> frozenset[str]:
    """The words of the exceptions that end in a full stop of their own, without it: `approx`, `etc`."""
    return frozenset(word[:-1].lower() for word in _tables().exceptions if word.endswith("."))


def words(text: str) -> list[str]:
    """The tokens of a text that are not blank: words, contractions split, punctuation apart.

    >>> words("We can't (really) stop.")
    ['We', 'ca', "n't", '(', 'really', ')', 'stop', '.']
    """
    return [token for chunk in text.split() for token in _tokens(chunk)]


def _chunks(line: str) -> Iterator[str]:
    """Runs of non-blanks, and of blanks less the one that ends a word: the units spaCy tokenizes."""
    for match in CHUNK.finditer(line):
        chunk = match.group()
        if match.start() and chunk[0] == " ":
            chunk = chunk[1:]
        if chunk:
            yield chunk


@lru_cache(maxsize=1 << 15)
def _walk(chunk: str, seen: bool) -> tuple[int, bool]:
    """Sentence starts inside a chunk, and whether an end mark is still waiting for the next word after it."""
    ends = _tables().sentence_ends
    starts = 0
    for token in _tokens(chunk):
        is_end = token in ends
        if seen and not is_end and not all(unicodedata.category(c)[0] == "P" for c in token):
            starts, seen = starts + 1, False
        elif is_end:
            seen = True
    return starts, seen


@lru_cache(maxsize=1 << 16)
def _tokens(chunk: str) -> tuple[str, ...]:
    """Tokens of one chunk: prefixes and suffixes off, exceptions, then infixes; last, exceptions made of affixes."""
    tables = _tables()
    if len(chunk) > MAX_CHUNK_CHARS or chunk.isspace():
        return (chunk,)
    if chunk.isascii() and chunk.isalpha():
        return tables.exceptions.get(chunk, (chunk,))
    return tables.rejoined(tables.split(chunk, tables.exceptions))


class _Tables(NamedTuple):
    """Compiled rules; `fused` maps the plain tokens of an exception such as `:-)` to its proper ones."""

    sentence_end: re.Pattern[str]
    wide_end: re.Pattern[str]
    sentence_ends: frozenset[str]
    prefix: re.Pattern[str]
    suffix: re.Pattern[str]
    infix: re.Pattern[str]
    url: re.Pattern[str]
    exceptions: dict[str, tuple[str, ...]]
    fused: dict[tuple[str, ...], tuple[str, ...]]

    def split(self, chunk: str, exceptions: dict[str, tuple[str, ...]]) -> list[str]:
        """Tokens of a chunk by affixes, with these exceptions."""
        before: list[str] = []
        after: list[str] = []
        core, size = chunk, -1
        while core and len(core) != size and core not in exceptions:
            size = len(core)
            head = self._length(self.prefix, core)
            if head and core[head:] in exceptions:
                before.append(core[:head])
                core = core[head:]
                break
            tail = self._length(self.suffix, core[head:])
            if tail and core[:-tail] in exceptions:
                after.append(core[-tail:])
                core = core[:-tail]
                break
            if head:
                before.append(core[:head])
            if tail:
                after.append(core[-tail:])
            core = core[head : len(core) - tail]
        return [*before, *self._core(core, exceptions), *reversed(after)]

    def _core(self, core: str, exceptions: dict[str, tuple[str, ...]]) -> list[str]:
        """What is left between the affixes: nothing, an exception, a URL, or parts between infixes."""
        if not core:
            return []
        if core in exceptions:
            return list(exceptions[core])
        if "." in core and self.url.match(core):
            return [core]
        parts: list[str] = []
        start = 0
        for match in self.infix.finditer(core):
            if match.start() == 0:  # an infix at the very start splits nothing
                continue
            if match.start() != start:
                parts.append(core[start : match.start()])
            parts.append(match.group())
            start = match.end()
        return [*parts, core[start:]] if core[start:] else parts

    @staticmethod
    def _length(pattern: re.Pattern[str], text: str) -> int:
        match = pattern.search(text)
        return match.end() - match.start() if match else 0

    def rejoined(self, tokens: list[str]) -> tuple[str, ...]:
        """The tokens with each run that spells an exception replaced by it: longest first, then leftmost."""
        n, longest = len(tokens), 8
        found = [
            (i, j) for i in range(n) for j in range(i + 1, min(n, i + longest) + 1) if tuple(tokens[i:j]) in self.fused
        ]
        chosen: dict[int, int] = {}
        taken: set[int] = set()
        for i, j in sorted(found, key=lambda span: (span[0] - span[1], span[0])):
            if i not in taken and j - 1 not in taken:
                chosen[i] = j
            taken.update(range(i, j))
        out: list[str] = []
        i = 0
        while i < n:
            j = chosen.get(i, i + 1)
            out += self.fused[tuple(tokens[i:j])] if i in chosen else tokens[i:j]
            i = j
        return tuple(out)


@cache
def _tables() -> _Tables:
    """The rules, read and compiled once."""
    raw = json.loads(TABLES.read_text(encoding="utf-8"))
    exceptions = {"".join(pieces): pieces for pieces in (tuple(e.split(" ")) for e in raw["exceptions"])}
    ends = raw["sentence_end"]
    plain = _Tables(
        sentence_end=re.compile(f"[{re.escape(ends)}]"),
        wide_end=re.compile(f"[{re.escape(''.join(c for c in ends if not c.isascii()))}]"),
        sentence_ends=frozenset(ends),
        prefix=_prefixes(raw),
        suffix=_suffixes(raw),
        infix=_infixes(raw),
        url=_url(raw),
        exceptions=exceptions,
        fused={},
    )
    affixed = (e for e in exceptions if plain.prefix.search(e) or plain.infix.search(e) or plain.suffix.search(e))
    fused = {tuple(plain.split(e, {})): exceptions[e] for e in affixed}
    return plain._replace(fused=fused)


def _any(entries: list[str]) -> str:
    return "|".join(map(re.escape, entries))


def _span(ranges: str) -> str:
    r"""Hexadecimal ranges as the inside of a character class.

    >>> _span("41-43 5F")
    '\\U00000041-\\U00000043\\U0000005F'
    """
    return "".join("-".join(f"\\U{int(end, 16):08X}" for end in part.split("-")) for part in ranges.split())


def _prefixes(raw: dict[str, Any]) -> re.Pattern[str]:
    marks = _any(["§", "%", "=", "—", "–"])
    tail = f"{_any(raw['quotes'])}|{_any(raw['currency'])}|[{_span(raw['icons'])}]"
    return re.compile(rf"^(?:{marks}|\+(?![0-9])|{_any(raw['punct'])}|\.\.+|{tail})")


def _suffixes(raw: dict[str, Any]) -> re.Pattern[str]:
    before_stop = f"0-9{_span(raw['alpha_lower'])}{re.escape('%²-+|(?:)' + ''.join(raw['punct']) + raw['quote_chars'])}"
    upper = _span(raw["alpha_upper"])
    listed = f"{_any(raw['punct'])}|\\.\\.+|…|{_any(raw['quotes'])}|[{_span(raw['icons'])}]"
    marks = _any(["'s", "'S", "’s", "’S", "—", "–"])
    measures = f"(?<=[0-9])(?:{_any(raw['currency'])})|(?<=[0-9])(?:{_any(raw['units'])})"
    stops = rf"(?<=[{before_stop}])\.|(?<=[{upper}][{upper}])\."
    return re.compile(rf"(?:{listed}|{marks}|(?<=[0-9])\+|(?<=°[FfCcKk])\.|{measures}|{stops})$")


def _infixes(raw: dict[str, Any]) -> re.Pattern[str]:
    alpha, lower, upper = (_span(raw[k]) for k in ("alpha", "alpha_lower", "alpha_upper"))
    quotes = re.escape(raw["quote_chars"])
    return re.compile(
        rf"\.\.+|…|[{_span(raw['icons'])}]|(?<=[0-9])[+\-\*^](?=[0-9-])|(?<=[{lower}{quotes}])\.(?=[{upper}{quotes}])"
        rf"|(?<=[{alpha}]),(?=[{alpha}])|(?<=[{alpha}0-9])(?:{_any(raw['hyphens'])})(?=[{alpha}])"
        rf"|(?<=[{alpha}0-9])[:<>=/](?=[{alpha}])"
    )


def _url(raw: dict[str, Any]) -> re.Pattern[str]:
    """What counts as one URL: Diego Perini's expression (MIT) as spaCy has it: scheme, user, host or IP, port, path."""
    wide = "A-Za-z0-9\u00a1-\uffff"
    private = r"(?!(?:10|127)(?:\.\d{1,3}){3})(?!(?:169\.254|192\.168)(?:\.\d{1,3}){2})"
    private += r"(?!172\.(?:1[6-9]|2\d|3[0-1])(?:\.\d{1,3}){2})"
    first, last = r"(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])", r"\.(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4])"
    address = rf"{private}{first}(?:\.(?:1?\d{{1,2}}|2[0-4]\d|25[0-5])){{2}}{last}"
    host = rf"(?:(?:[{wide}][{wide}_-]{{0,62}})?[{wide}]\.)+[{_span(raw['alpha_lower'])}]{{2,63}}"
    return re.compile(rf"^(?:[\w\+\-\.]{{2,}}://)?(?:\S+(?::\S*)?@)?(?:{address}|{host})(?::\d{{2,5}})?(?:[/?#]\S*)?$")
