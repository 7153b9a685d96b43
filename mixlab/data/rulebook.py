"""What every cleaning rule says: its level, the threshold that moves it, and its definition. Reads and writes nothing.

`docs/rules.md` is generated from this table; a test holds that no rule is missing and none is left over.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

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
    RandomDrop,
    Step,
    UrlDedup,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, under the name its reference implementation gives it."""

    name: str
    level: Literal["document", "line"]
    about: str
    parameter: str | None = None
    """The threshold in the step that owns the rule; None: the rule has none that can be moved."""
    sense: Literal["min", "max", None] = None
    """`min`: a measure below the threshold drops the document; `max`: one above it."""

    def drops(self, measure: float, threshold: float) -> bool:
        """True if this measure drops a document under this threshold.

        >>> RULES["too_long"].drops(190_001, 190_000), RULES["too_long"].drops(190_000, 190_000)
        (True, False)
        """
        return measure < threshold if self.sense == "min" else measure > threshold

    def words(self, measure: float, threshold: float) -> str:
        """The measure beside its threshold, in words.

        >>> RULES["filtered:too_few_sentences"].words(2, 3)
        '2, must be at least 3'
        """
        return f"{measure:g}, must be {'at least' if self.sense == 'min' else 'at most'} {threshold:g}"


TFDS_RULES: Mapping[str, str] = MappingProxyType(
    {
        "long_word": "line-filtered:too_long_word",
        "end_mark": "line-filtered:no_endmark",
        "few_words": "line-filtered:too_short",
        "lorem_ipsum": "filtered:loremipsum",
        "javascript": "line-filtered:javascript",
        "brace": "filtered:squigglybracket",
        "policy": "line-filtered:policy",
        "few_sentences": "filtered:too_few_sentences",
    }
)
"""Counters of tensorflow_datasets `clean_page`."""
DATATROVE_RULES: Mapping[str, str] = MappingProxyType(
    {
        "long_word": "line-filter-too_long_word",
        "end_mark": "line-filter-no_terminal_punc",
        "few_words": "line-filter-too_few_words",
        "lorem_ipsum": "lorem_ipsum",
        "javascript": "line-filter-javascript",
        "brace": "curly_bracket",
        "policy": "line-filter-policy",
        "few_sentences": "too_few_sentences",
    }
)
"""Statistics and drop reasons of datatrove `C4QualityFilter`."""
EMPTY = Rule("empty", "document", "There is no text, or none is left: true of every profile.")
GOPHER_GRAMS = {
    f"top_{n}_gram": f"Characters of the most frequent {n}-gram of words, times its count, by all characters."
    for n in (2, 3, 4)
} | {
    f"duplicated_{n}_n_grams": f"Share of characters in {n}-grams of words that occurred before in the text."
    for n in range(5, 11)
}
_C4: Mapping[str, tuple[Any, ...]] = {
    "long_word": ("line", "A word of more than `max_word_chars` (1,000) characters drops its line."),
    "end_mark": ("line", "A line whose last character is no end mark goes, and so does one that ends in `...`. "
                 "Citations such as `[1]` are removed first; a blank that stood before one then ends the line."),
    "few_words": ("line", "A line of fewer than `min_words` words, split at white space, goes."),
    "javascript": ("line", "A line with `javascript` in it, in any case, goes: mostly a notice to switch it on."),
    "policy": ("line", "A line goes that names terms of use, a privacy policy, a cookie policy or the use of cookies."),
    "lorem_ipsum": ("document", "`lorem ipsum` in a line that the rules on its form left."),
    "brace": ("document", "A `{` in a line that the rules before left: C4 was meant to hold no code. "
              "`}` does not count, nor does a brace in a line that went."),
    "few_sentences": ("document", "Fewer than `min_sentences` sentences in the lines that are left.",
                      "min_sentences", "min"),
}  # fmt: skip
STEP_RULES: Mapping[type, tuple[Rule, ...]] = MappingProxyType({
    MaxLength: (Rule("too_long", "document", "More than `max_chars` characters, counted before cleaning.",
                     "max_chars", "max"),),
    BadWords: (Rule("badword", "document", "An entry of the bad-word list stands between characters that are no word "
                    "characters. What the list holds and lacks: see the page on bad words."),),
    DolmaC4: (
        Rule("lines_with_no_ending_punctuation", "line", "dolma: a line that does not end in `.`, `?`, `!` or `\"`."),
        Rule("lines_with_too_few_words", "line", "dolma: a line of fewer than `min_words` words."),
        Rule("has_naughty_word", "document", "dolma: a word between blanks is on the list of 403, or a phrase of the "
             "list is anywhere in the text. `ass,` is not caught."),
        Rule("has_javascript", "document", "dolma: `javascript` anywhere; in v1 as a word of its own."),
        Rule("has_lorem_ipsum", "document", "dolma: `lorem ipsum` anywhere in the text."),
        Rule("has_curly_brace", "document", "dolma: `{` anywhere in the text."),
    ),
    GopherQuality: (
        Rule("gopher_short_doc", "document", "Few words that are more than punctuation.", "min_doc_words", "min"),
        Rule("gopher_long_doc", "document", "Many words that are more than punctuation.", "max_doc_words", "max"),
        Rule("gopher_below_avg_threshold", "document", "Short words: mean characters of a word.",
             "min_avg_word_length", "min"),
        Rule("gopher_above_avg_threshold", "document", "Long words: mean characters of a word.",
             "max_avg_word_length", "max"),
        Rule("gopher_too_many_hashes", "document", "`#` by words.", "max_symbol_word_ratio", "max"),
        Rule("gopher_too_many_ellipsis", "document", "`...` and `…` by words.", "max_symbol_word_ratio", "max"),
        Rule("gopher_too_many_bullets", "document", "Share of lines that open with a bullet or a hyphen.",
             "max_bullet_lines_ratio", "max"),
        Rule("gopher_too_many_end_ellipsis", "document", "Share of lines that end in an ellipsis.",
             "max_ellipsis_lines_ratio", "max"),
        Rule("gopher_below_alpha_threshold", "document", "Share of words with a letter in them.",
             "min_alpha_words_ratio", "min"),
        Rule("gopher_enough_stop_words", "document", "How many of the, be, to, of, and, that, have, with occur.",
             "min_stop_words", "min"),
    ),
    GopherRepetition: (
        Rule("dup_para_frac", "document", "Share of paragraphs that occurred before.", "dup_para_frac", "max"),
        Rule("dup_para_char_frac", "document", "Share of characters in such paragraphs.", "dup_para_char_frac", "max"),
        Rule("dup_line_frac", "document", "Share of lines that occurred before.", "dup_line_frac", "max"),
        Rule("dup_line_char_frac", "document", "Share of characters in such lines.", "dup_line_char_frac", "max"),
        *(Rule(name, "document", about, name, "max") for name, about in GOPHER_GRAMS.items()),
        EMPTY,
    ),
    FineWebQuality: (
        Rule("line_punct_ratio", "document", "Share of lines that end in an end mark.", "min_line_punct_ratio", "min"),
        Rule("short_line_ratio", "document", "Share of lines of at most `short_line_chars` characters.",
             "max_short_line_ratio", "max"),
        Rule("char_dup_ratio", "document", "Share of characters in lines that occurred before.",
             "max_char_dup_ratio", "max"),
        Rule("list_ratio", "document", "Line feeds by words.", "max_newlines_per_word", "max"),
        EMPTY,
    ),
    LanguageId: (Rule("language", "document", "The best guess of the fastText model is another language, or less "
                      "probable than `min_probability`.", "min_probability", "min"),),
    Paragraphs: (Rule("paragraph-filter", "document", "The third longest line (`min_paragraphs`) is shorter than "
                      "`min_paragraph_chars`, or there is none.", "min_paragraph_chars", "min"),),
    UrlDedup: (Rule("duplicate-url", "document", "Another page of the same normalised URL is kept."),),
    LineDedup: (
        Rule("line-filtered:global_duplicate", "line", "Another page keeps this line: the one with the smallest "
             "md5 of its URL, or of its id."),
        Rule("line-filtered:local_duplicate", "line", "The line occurred before on this page."),
        Rule("dedupe-lines:empty", "document", "All lines went to other pages."),
        Rule("dedupe-lines:too_few_sentences", "document", "Too few sentences are left after that.",
             "min_dedup_sentences", "min"),
    ),
    RandomDrop: (Rule("random-drop", "document", "The control: dropped by the hash of its id, so that as many bytes "
                      "are left as the named profile leaves."),),
})  # fmt: skip


def rules_of(steps: tuple[Step, ...]) -> Iterator[Rule]:
    """The rules that some steps apply, in order, `empty` last; a name may come twice in a chain.

    >>> [rule.name for rule in rules_of((MaxLength(), BadWords()))]
    ['too_long', 'badword', 'empty']
    """
    for step in steps:
        if isinstance(step, C4Lines):
            yield from (RULES[name] for name in step.names.values())
        else:
            yield from STEP_RULES.get(type(step), ())
    yield EMPTY


def threshold_of(step: Step, rule: Rule) -> float | None:
    """The step's threshold for a rule of its own; None if that cannot be moved."""
    if isinstance(step, GopherRepetition) and rule.name in GOPHER_GRAMS:
        n = int("".join(filter(str.isdigit, rule.name)))
        return dict(step.top_n_grams if rule.name.startswith("top") else step.dup_n_grams)[n]
    return getattr(step, rule.parameter) if rule.parameter else None


def _all() -> Iterator[Rule]:
    for names in (TFDS_RULES, DATATROVE_RULES):
        yield from (Rule(names[key], *told) for key, told in _C4.items())
    for rules in STEP_RULES.values():
        yield from rules
    yield EMPTY


RULES: Mapping[str, Rule] = MappingProxyType({rule.name: rule for rule in _all()})
"""Every rule by name."""


def page() -> str:
    """The page of docs on all rules, as Markdown."""
    lines = [
        "# Cleaning rules",
        "",
        "Generated by `python -m mixlab.data.rulebook > docs/rules.md`. Names are those of the reference "
        "implementations. A *line* rule drops a line, a *document* rule the whole document.",
    ]
    for rule in RULES.values():
        drop = {"min": "below", "max": "above"}
        moved = f" Drops {drop[rule.sense]} `{rule.parameter}`." if rule.sense else ""
        lines += ["", f"## `{rule.name}`", "", f"*{rule.level} rule.* {rule.about}{moved}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
