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
from mixlab.data.lines import STORED_SENTENCES, Outcome, c4_lines, dolma_c4, punkt_sentences
from mixlab.data.profiles import PROFILES, check_profile, steps_of
from mixlab.data.rulebook import RULES, threshold_of
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
    Off,
    Paragraphs,
    RandomDrop,
    Step,
    UrlDedup,
)

NOT_AT_ALL = -1.0  # the measure where there is nothing to measure: below every threshold
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
    measures: Mapping[str, float]
    """Rule -> the number it compares with its threshold, for every document-level rule that has one."""


def clean(text: str, profile: str, url: str | None = None, *, short_circuit: bool = False) -> Cleaned:
    """The text by a profile: `c4/tfds-3.1.0`, `c4/datatrove-0.10`, `gopher/quality`, chains `a+b`, see `profiles.py`.

    `url` matters only for soft bad-word rules (`badword_fraction` below 1), which go by its hash; without one, by the
    text's. Rules that compare documents see a corpus of this one text. A text is kept exactly if `rules_hit` is empty,
    so it would come back without rule r exactly if `rules_hit` is `(r,)`. Raises ConfigError for an unknown profile.
    `short_circuit`: stop at the first document-level rule, as the references do; the same `text` and `reason`, and
    the other fields tell what was found up to there.

    >>> clean("One is here. Two is here. Three is here.", "c4/tfds-3.1.0").reason is None
    True
    >>> clean("Too few sentences in this line.", "c4/tfds-3.1.0").reason
    'filtered:too_few_sentences'
    """
    return clean_by(text, steps_of(profile), text if url is None else url, short_circuit=short_circuit)


def clean_by(
    text: str,
    steps: tuple[Step, ...],
    key: str,
    decided: Mapping[int, Callable[[str, bool], Outcome]] | None = None,
    *,
    short_circuit: bool = False,
) -> Cleaned:
    """The text by some steps; `key` stands for the page where a hash decides.

    `decided` replaces the step at a position, one that compares documents, by a verdict made elsewhere; it is told the
    text and whether no rule hit it so far.
    """
    hits: dict[str, None] = {}
    lines: dict[str, int] = {}
    measures: dict[str, float] = {}
    off: tuple[str, ...] = ()
    for i, step in enumerate(steps):
        if isinstance(step, Off):
            off = step.rules
            continue
        if decided and i in decided:
            made = decided[i](text, not hits)
        elif short_circuit and isinstance(step, C4Lines):
            made = c4_lines(text, step, step.min_sentences or 1)
        else:
            made = STEPS[type(step)](text, step, key)
        text = made.text
        hits.update((hit, None) for hit in made.hits if hit not in off)
        for rule, count in made.lines.items():
            lines[rule] = lines.get(rule, 0) + count
        measures.update(made.measures)
        if hits and short_circuit:
            break
    return Cleaned(
        text=None if hits else text,
        reason=next(iter(hits), None),
        lines_dropped=lines,
        rules_hit=tuple(hits),
        otherwise=text,
        measures=measures,
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
    if not step.min_dedup_sentences:
        return Outcome(left, (), dropped)
    most = max(step.min_dedup_sentences, STORED_SENTENCES)
    found = min(punkt_sentences(left, most), most)
    return _measured(left, step, {"dedupe-lines:too_few_sentences": found})._replace(lines=dropped)


def _measured(text: str, step: Step, measures: Mapping[str, float] | None) -> Outcome:
    """The verdict of rules that compare a measure with a threshold; None: there is no text to measure."""
    if measures is None:
        return Outcome(text, ("empty",))
    hits: list[str] = []
    for name, measure in measures.items():
        limit = threshold_of(step, RULES[name])
        if limit is not None and RULES[name].drops(measure, limit):
            hits.append(name)
    return Outcome(text, tuple(hits), measures=measures)


def _max_length(text: str, step: MaxLength, _key: str) -> Outcome:
    """`too_long`: more characters than C4's cap."""
    return Outcome(text, ("too_long",) if len(text) > step.max_chars else (), measures={"too_long": len(text)})


def _bad_words(text: str, step: BadWords, key: str) -> Outcome:
    """`badword`: an entry of the list between non-word characters, in what is left of the text."""
    return Outcome(text, ("badword",) if has_bad_word(text, step, key) else ())


def _language(text: str, step: LanguageId, _key: str) -> Outcome:
    """`language`: the best guess is another one, or not probable enough."""
    language, probability = detect(text)
    return _measured(text, step, {"language": probability if language == step.language else NOT_AT_ALL})


def _paragraphs(text: str, step: Paragraphs, _key: str) -> Outcome:
    """`paragraph-filter`: too few lines, or too few long ones."""
    if step.min_paragraphs == 0:
        return Outcome(text)
    longest = heapq.nlargest(step.min_paragraphs, map(len, text.split("\n")))
    return _measured(
        text, step, {"paragraph-filter": longest[-1] if len(longest) == step.min_paragraphs else NOT_AT_ALL}
    )


def _random_drop(text: str, step: RandomDrop, key: str) -> Outcome:
    """`random-drop` for a corpus of one text: what leaves the number of bytes that is closer to the profile's."""
    left = clean_by(text, steps_of(step.of), key).text or ""
    return Outcome(
        text,
        ()
        if 2 * len(left.encode("utf-8", "surrogatepass")) >= len(text.encode("utf-8", "surrogatepass"))
        else ("random-drop",),
    )


STEPS: Mapping[type, Callable[[str, Any, str], Outcome]] = MappingProxyType(
    {
        MaxLength: _max_length,
        C4Lines: lambda text, step, key: c4_lines(text, step),
        BadWords: _bad_words,
        DolmaC4: lambda text, step, key: dolma_c4(text, step),
        GopherQuality: lambda text, step, key: _measured(text, step, gopher.gopher_quality(text)),
        GopherRepetition: lambda text, step, key: _measured(text, step, gopher.gopher_repetition(text, step)),
        FineWebQuality: lambda text, step, key: _measured(text, step, gopher.fineweb_quality(text, step)),
        LanguageId: _language,
        Paragraphs: _paragraphs,
        UrlDedup: lambda text, step, key: Outcome(text),
        LineDedup: lambda text, step, key: without_lines(text, lambda line: False, step),
        RandomDrop: _random_drop,
    }
)
