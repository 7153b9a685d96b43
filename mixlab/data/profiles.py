"""Cleaning profiles as data: which steps, in which order, with which thresholds. Reads and writes nothing.

A profile's name is part of every clean artefact. Grammar: `name`, with thresholds overridden `name?min_sentences=1`,
several by `&`, chains `a+b`, which apply b to what a leaves, `name?without=rule`, or `rule,rule`, which switches
document-level rules off, and the control `random(of=PROFILE)`. `PROFILES`, at the end, is the list of names.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from mixlab.data.rulebook import DATATROVE_RULES, TFDS_RULES, rules_of
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
from mixlab.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What one name stands for."""

    about: str
    steps: tuple[Step, ...] = field(default=())


@lru_cache(maxsize=256)
def steps_of(profile: str) -> tuple[Step, ...]:
    """The steps a profile's name stands for, overrides applied.

    Raises ConfigError for an unknown profile or parameter, or a value outside its range.

    >>> [type(s).__name__ for s in steps_of("c4/tfds-3.1.0?min_sentences=1+lang/en")]
    ['MaxLength', 'C4Lines', 'BadWords', 'LanguageId']
    """
    if control := CONTROL.fullmatch(profile):
        steps_of(control[1])
        return (RandomDrop(of=control[1]),)
    return tuple(step for part in profile.split("+") for step in _part(part, profile))


def check_profile(name: str) -> None:
    """Raises ConfigError, with the nearest names, if `name` is no profile."""
    steps_of(name)


def _part(part: str, whole: str) -> tuple[Step, ...]:
    """Steps of one link of a chain."""
    name, asks, query = part.partition("?")
    if name not in PROFILES:
        raise ConfigError(
            f"cleaning profile '{whole}': '{name}' is unknown.{nearest(name, PROFILES)} "
            "Chain by '+', override by '?': 'c4/tfds-3.1.0?min_sentences=1+lang/en'."
        )
    steps = PROFILES[name].steps
    if not asks:
        return steps
    knobs = _knobs(steps)
    given: dict[str, str] = {}
    for pair in query.split("&"):
        key, equals, value = pair.partition("=")
        if key not in knobs or not equals or key in given:
            wrong = "given twice" if key in given else "not a parameter" if equals else "without a value"
            raise ConfigError(f"cleaning profile '{whole}': '{key}' is {wrong} of '{name}'.{nearest(key, knobs)}")
        given[key] = value
    off = _switched_off(given.pop("without", ""), steps, whole)
    values = {key: _value(key, text, knobs[key], whole) for key, text in given.items()}
    changed = tuple(_override(step, values) for step in steps)
    return (Off(rules=off), *changed, Off()) if off else changed


def _switched_off(names: str, steps: tuple[Step, ...], whole: str) -> tuple[str, ...]:
    """The document-level rules named in `without=`."""
    known = [rule.name for rule in rules_of(steps) if rule.level == "document" and rule.name != "empty"]
    off = tuple(name for name in names.split(",") if name)
    for name in off:
        if name not in known:
            raise ConfigError(
                f"cleaning profile '{whole}': '{name}' is no document-level rule that could be switched off."
                f"{nearest(name, known)}"
            )
    return off


def _override(step: Step, values: Mapping[str, Any]) -> Step:
    """The step with those of the values that are its own."""
    own = {f.name for f in dataclasses.fields(step)}
    return dataclasses.replace(step, **{k: v for k, v in values.items() if k in own})


def _knobs(steps: tuple[Step, ...]) -> dict[str, Any]:
    """Parameter -> its type, for every plain value of the steps; a name that two steps share sets both."""
    hints = {k: t for step in steps for k, t in get_type_hints(type(step)).items()}
    knobs = {k: t for k, t in hints.items() if t in (int, float, bool, str) or (get_args(t) and _is_choice(t))}
    return {**knobs, "without": str}


def _is_choice(hint: Any) -> bool:
    return all(isinstance(choice, str | int) for choice in get_args(hint))


def _value(key: str, text: str, hint: Any, whole: str) -> Any:
    """The text as a value of the parameter's type, or a ConfigError that says what would do."""
    if hint is str:
        return text
    if hint is bool:
        choices: Mapping[str, Any] = {"true": True, "false": False}
    else:
        choices = {str(choice): choice for choice in get_args(hint)}
    if choices:
        if text in choices:
            return choices[text]
        raise ConfigError(f"cleaning profile '{whole}': {key} cannot be '{text}'.{nearest(text, choices)}")
    top = 1.0 if key in SHARES else float("inf")
    try:
        number = hint(text)
    except ValueError:
        number = -1
    if 0 <= number <= top:
        return number
    kind = "a whole number" if hint is int else "a number"
    raise ConfigError(
        f"cleaning profile '{whole}': {key} must be {kind} from 0{' to 1' if top == 1 else ''}, not '{text}'."
    )


CONTROL = re.compile(r"random\(of=(.*)\)", re.DOTALL)
SHARES = ("badword_fraction", "min_probability", "min_alpha_words_ratio", "min_line_punct_ratio")
TFDS_LINES = C4Lines(
    names=TFDS_RULES,
    end_marks=(".", "?", "!", '"'),
    min_words=5,
    count_words="without_citations",
    min_sentences=3,
    splitter="punkt",
)
DATATROVE_LINES = C4Lines(
    names=DATATROVE_RULES,
    end_marks=(".", "?", "!", '"', "'"),
    min_words=3,
    count_words="with_citations",
    min_sentences=5,
    splitter="spacy",
)
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "none": Profile(about="Everything is kept as it is."),
        "c4/tfds-3.1.0": Profile(
            about="C4 as tensorflow_datasets 4.9 makes config `en`, page by page: length, clean_page, bad words. "
            "Without its language id (chain `+lang/en`) and its deduplication (see c4/tfds-3.1.0-full).",
            steps=(MaxLength(), TFDS_LINES, BadWords()),
        ),
        "c4/tfds-3.1.0-full": Profile(
            about="The whole of config `en` in its order. Deviates: fastText in place of langdetect; of several pages "
            "with one URL the smallest md5(id) stays, not the newest.",
            steps=(MaxLength(), UrlDedup(), TFDS_LINES, LineDedup(), LanguageId(), BadWords()),
        ),
        "c4/datatrove-0.10": Profile(
            about="datatrove's C4QualityFilter and C4BadWordsFilter with their defaults: 5 sentences, 3 words a line.",
            steps=(DATATROVE_LINES, BadWords()),
        ),
        "c4/nopunct": Profile(
            about="datatrove's C4QualityFilter as FineWeb ran it: no end-mark rule, no bad-word list.",
            steps=(dataclasses.replace(DATATROVE_LINES, end_marks=()),),
        ),
        "c4/dolma-v1": Profile(about="dolma's tagger c4_v1; its mixer drops and cuts.", steps=(DolmaC4(version=1),)),
        "c4/dolma-v2": Profile(about="dolma's tagger c4_v2; its mixer drops and cuts.", steps=(DolmaC4(version=2),)),
        "gopher/quality": Profile(about="datatrove's GopherQualityFilter.", steps=(GopherQuality(),)),
        "gopher/repetition": Profile(about="datatrove's GopherRepetitionFilter.", steps=(GopherRepetition(),)),
        "fineweb": Profile(
            about="datatrove's FineWebQualityFilter alone. FineWeb's whole list is "
            "lang/en+gopher/repetition+gopher/quality+c4/nopunct+fineweb.",
            steps=(FineWebQuality(),),
        ),
        "mc4/paragraphs": Profile(about="mC4's paragraph filter.", steps=(Paragraphs(),)),
        "badwords/en": Profile(about="The bad-word step alone.", steps=(BadWords(),)),
        "lang/en": Profile(about="English by the bundled fastText model.", steps=(LanguageId(),)),
        "dedup/urls": Profile(about="One page per normalised URL.", steps=(UrlDedup(),)),
        "dedup/lines": Profile(about="C4's line deduplication across documents.", steps=(LineDedup(),)),
    }
)
