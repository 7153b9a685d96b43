"""Cleaning one text by a named profile: what is kept, why not, and every rule that would drop it.

Pure: the verdict depends on the text, the profile and the URL, never on order, time or chance. Profiles live in
`profiles.py`, their thresholds in `steps.py`; each kind of step has one function, in the table `STEPS` at the end.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mixlab.data import gopher
from mixlab.data.badwords import has_bad_word
from mixlab.data.langid import detect
from mixlab.data.lines import Outcome, c4_lines, dolma_c4, punkt_sentences
from mixlab.data.profiles import PROFILES, check_profile, steps_of
from mixlab.data.steps import (
    BadWords,
    C4Lines,
    DolmaC4,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    LanguageId,
    LineDedup,
    MaxLength,
    Paragraphs,
    Step,
    UrlDedup,
)

__all__ = ["PROFILES", "Cleaned", "check_profile", "clean", "clean_by"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaned:
    """What a profile makes of one text."""

    text: str | None
    """None if dropped."""
    reason: str | None
    """None if kept; else the rule, in the reference implementation's own name, that strikes first."""
    lines_dropped: Mapping[str, int]
    """Rule -> lines, over the whole text, also where a page rule drops it."""
    rules_hit: tuple[str, ...]
    """Every document-level rule that would drop the text, each judged as if the others were off, in order."""
    otherwise: str
    """The text as it is, or would be if no document-level rule were on."""


def clean(text: str, profile: str, url: str | None = None) -> Cleaned:
    """The text by a profile: `c4/tfds-3.1.0`, `c4/datatrove-0.10`, `gopher/quality`, chains `a+b`, see `profiles.py`.

    `url` matters only for soft bad-word rules (`badword_fraction` below 1), which go by its hash; without one, by the
    text's. Rules that compare documents see a corpus of this one text. A text is kept exactly if `rules_hit` is empty,
    so it would come back without rule r exactly if `rules_hit` is `(r,)`. Raises ConfigError for an unknown profile.

    >>> clean("One is here. Two is here. Three is here.", "c4/tfds-3.1.0").reason is None
    True
    >>> clean("Too few sentences in this line.", "c4/tfds-3.1.0").reason
    'filtered:too_few_sentences'
    """
    return clean_by(text, steps_of(profile), text if url is None else url)


def clean_by(
    text: str, steps: tuple[Step, ...], key: str, decided: Mapping[int, Callable[[str, bool], Outcome]] | None = None
) -> Cleaned:
    """The text by some steps; `key` stands for the page where a hash decides.

    `decided` replaces the step at a position, one that compares documents, by a verdict made elsewhere; it is told the
    text and whether no rule hit it so far.
    """
    hits: dict[str, None] = {}
    lines: Counter[str] = Counter()
    for i, step in enumerate(steps):
        if decided and i in decided:
            made = decided[i](text, not hits)
        else:
            made = STEPS[type(step)](text, step, key)
        text = made.text
        hits.update(dict.fromkeys(made.hits))
        lines.update(made.lines)
    return Cleaned(
        text=None if hits else text,
        reason=next(iter(hits), None),
        lines_dropped=dict(lines),
        rules_hit=tuple(hits),
        otherwise=text,
    )


def without_lines(text: str, is_elsewhere: Callable[[int], bool], step: LineDedup) -> Outcome:
    """The text without the lines that another page keeps and without repeats of its own (TFDS, step 6).

    `is_elsewhere` tells for the number of a line, counted from 0 between line feeds, whether another page keeps it.
    """
    seen: set[str] = set()
    kept: list[str] = []
    dropped: Counter[str] = Counter()
    for i, line in enumerate(text.split("\n")):
        same = line.strip().lower()
        if is_elsewhere(i):
            dropped["line-filtered:global_duplicate"] += 1
        elif same in seen:
            dropped["line-filtered:local_duplicate"] += 1
        else:
            seen.add(same)
            kept.append(line)
    left = "\n".join(kept)
    if not left:
        return Outcome(left, ("dedupe-lines:empty",), dropped)
    least = step.min_dedup_sentences
    if least and punkt_sentences(left, least) < least:
        return Outcome(left, ("dedupe-lines:too_few_sentences",), dropped)
    return Outcome(left, (), dropped)


def _max_length(text: str, step: MaxLength, _key: str) -> Outcome:
    """`too_long`: more characters than C4's cap."""
    return Outcome(text, ("too_long",) if len(text) > step.max_chars else ())


def _bad_words(text: str, step: BadWords, key: str) -> Outcome:
    """`badword`: an entry of the list between non-word characters, in what is left of the text."""
    return Outcome(text, ("badword",) if has_bad_word(text, step, key) else ())


def _language(text: str, step: LanguageId, _key: str) -> Outcome:
    """`language`: the best guess is another one, or not probable enough."""
    language, probability = detect(text)
    is_right = language == step.language and probability >= step.min_probability
    return Outcome(text, () if is_right else ("language",))


def _paragraphs(text: str, step: Paragraphs, _key: str) -> Outcome:
    """`paragraph-filter`: too few lines, or too few long ones."""
    longest = heapq.nlargest(step.min_paragraphs, map(len, text.split("\n")))
    is_short = len(longest) < step.min_paragraphs or min(longest, default=0) < step.min_paragraph_chars
    return Outcome(text, ("paragraph-filter",) if is_short else ())


STEPS: Mapping[type, Callable[[str, Any, str], Outcome]] = MappingProxyType(
    {
        MaxLength: _max_length,
        C4Lines: lambda text, step, key: c4_lines(text, step),
        BadWords: _bad_words,
        DolmaC4: lambda text, step, key: dolma_c4(text, step),
        GopherQuality: lambda text, step, key: Outcome(text, gopher.gopher_quality(text, step)),
        GopherRepetition: lambda text, step, key: Outcome(text, gopher.gopher_repetition(text, step)),
        FineWebQuality: lambda text, step, key: Outcome(text, gopher.fineweb_quality(text, step)),
        LanguageId: _language,
        Paragraphs: _paragraphs,
        UrlDedup: lambda text, step, key: Outcome(text),
        LineDedup: lambda text, step, key: without_lines(text, lambda line: False, step),
    }
)
