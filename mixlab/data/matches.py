"""Where in a line a rule found what it looks for: spans to highlight. Pure functions of a line."""

import re
from functools import cache

from mixlab.data.badwords import word_list
from mixlab.data.lines import POLICY
from mixlab.data.rulebook import DATATROVE_RULES, TFDS_RULES
from mixlab.data.steps import WordList

PATTERNS = {
    "lorem_ipsum": r"lorem ipsum",
    "javascript": r"javascript",
    "brace": r"\{",
    "policy": "|".join(map(re.escape, POLICY)),
    "long_word": r"\S{1001,}",  # as C4Lines.max_word_chars; a profile that asks for less marks fewer
    "end_mark": r"\.\.\.$|.$",
}
OTHERS = {
    "has_lorem_ipsum": PATTERNS["lorem_ipsum"],
    "has_javascript": PATTERNS["javascript"],
    "has_curly_brace": PATTERNS["brace"],
    "gopher_too_many_hashes": r"#+",
    "gopher_too_many_ellipsis": r"\.\.\.|…",
    "gopher_too_many_end_ellipsis": r"(\.\.\.|…)$",
    "gopher_too_many_bullets": r"^\s*[-•‣◦*]",
}


def spans(line: str, rule: str, badwords: WordList | None = None) -> list[tuple[int, int]]:
    """(start, end) of what the rule looks for in this line, in order; none where a rule looks at the whole text.

    `badwords`: the list of the rule, if it is one on bad words.

    >>> spans("A {b} and {c}.", "filtered:squigglybracket"), spans("No end", "line-filtered:no_endmark")
    ([(2, 3), (10, 11)], [(5, 6)])
    """
    if rule in ("badword", "has_naughty_word"):
        pattern = _entries(badwords, rule == "has_naughty_word") if badwords else None
    else:
        pattern = _patterns().get(rule)
    return [match.span() for match in pattern.finditer(line) if match[0]] if pattern else []


def is_located(rule: str) -> bool:
    """True if the rule looks for something that stands somewhere."""
    return rule in ("badword", "has_naughty_word") or rule in _patterns()


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    named = {names[key]: p for names in (TFDS_RULES, DATATROVE_RULES) for key, p in PATTERNS.items()}
    return {rule: re.compile(pattern, re.IGNORECASE) for rule, pattern in {**named, **OTHERS}.items()}


@cache
def _entries(badwords: WordList, as_dolma: bool) -> re.Pattern[str]:
    """All entries of a list, the longest first, between what the rule takes for the border of a word."""
    words = sorted(word_list(badwords), key=lambda w: (-len(w), w))
    if not as_dolma:
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)
    single, phrases = ("|".join(re.escape(w) for w in words if (" " in w) == has_blank) for has_blank in (False, True))
    return re.compile(rf"{phrases}|(?<!\S)(?:{single})(?!\S)", re.IGNORECASE)
