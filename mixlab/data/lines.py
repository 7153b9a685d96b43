"""C4's rules on lines: TFDS's `clean_page`, datatrove's `C4QualityFilter`, dolma's taggers, line by line.

Pure functions of a text. Page rules never stop the loop: all are evaluated as if the others were off, so that the
page is dropped exactly if one of them hits, and switching one off needs no second pass.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick
from punkt import PunktSentenceTokenizer, load_model

from mixlab.data import english, line_kernel
from mixlab.data.badwords import SURROGATE, word_list
from mixlab.data.steps import C4Lines, DolmaC4, WordList

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
LINE_RULES = {
    "long_word": line_kernel.LONG_WORD,
    "end_mark": line_kernel.END_MARK,
    "few_words": line_kernel.FEW_WORDS,
    "javascript": line_kernel.JAVASCRIPT,
    "policy": line_kernel.POLICY,
}
PAGE_RULES = {"lorem_ipsum": line_kernel.LOREM_IPSUM, "brace": line_kernel.BRACE}
STORED_SENTENCES = 5  # counted at least that far, so that verdicts can tell what a higher threshold would do
LONG_LINE = 1_000_000  # characters; from here on words are counted without a list of them
WORD = re.compile(r"\S+")
CLEAR = re.compile(r"(?<![^ \t(])([A-Za-z][a-z]{2,})\)?[.?!][ \t]+(?=[A-Za-z0-9])")  # \xa0 is half a blank to Punkt


class Outcome(NamedTuple):
    """What one step makes of a text: the text if no page rule hit, the hits in order, the lines dropped by rule.

    `measures`: rule -> the number it compares with its threshold, whether it hit or not.
    """

    text: str
    hits: tuple[str, ...] = ()
    lines: Mapping[str, int] = MappingProxyType({})
    measures: Mapping[str, float] = MappingProxyType({})


def c4_lines(text: str, step: C4Lines, most: int | None = None) -> Outcome:
    """C4's clean_page: citations out, lines judged in the reference's order, page rules on the surviving lines.

    A `{` or a "lorem ipsum" in a line that an earlier rule drops is never seen. A line is stripped once, before the
    citations go: `fact. [1]` becomes `fact. `, which ends in no end mark. Sentences are counted up to `most`; None:
    as far as verdicts store them.
    """
    if not line_kernel.is_plain(text):
        return c4_lines_plainly(text, step, most)
    most = most or max(step.min_sentences, STORED_SENTENCES)
    with_citations = step.count_words == "with_citations"
    made = line_kernel.scan(
        text, "".join(step.end_marks), step.min_words, step.max_word_chars, with_citations=with_citations, most=most
    )
    counts, names = made.counts, step.names
    dropped = {names[rule]: counts[at] for rule, at in LINE_RULES.items() if counts[at]}
    hits = [names[rule] for rule, at in PAGE_RULES.items() if counts[at]]
    if counts[line_kernel.FIRST] == line_kernel.BRACE:
        hits.reverse()
    found = made.sentences
    if found is None:
        found = sentences_in(made.lines, most, SPLITTERS[step.splitter])
    if found < step.min_sentences:
        hits.append(names["few_sentences"])
    return Outcome(made.lines.strip(), tuple(hits), dropped, {names["few_sentences"]: found})


def c4_lines_plainly(text: str, step: C4Lines, most: int | None = None) -> Outcome:
    """The same, line by line in Python: for texts that the kernel may not judge, and to hold the kernel against."""
    names = step.names
    hits: dict[str, None] = {}
    dropped: Counter[str] = Counter()
    kept: list[str] = []
    for line, rule, seen in judged_lines(text, step):
        hits.update((hit, None) for hit in seen)
        if rule is None:
            kept.append(line)
        else:
            dropped[rule] += 1
    left = "\n".join(kept)
    found = sentences_in(left, most or max(step.min_sentences, STORED_SENTENCES), SPLITTERS[step.splitter])
    if found < step.min_sentences:
        hits[names["few_sentences"]] = None
    return Outcome(left.strip(), tuple(hits), dropped, {names["few_sentences"]: found})


def judged_lines(text: str, step: C4Lines) -> Iterator[tuple[str, str | None, list[str]]]:
    """Each line of a text without its citations, the rule that drops it or None, and the page rules that see it."""
    for raw in text.splitlines():
        line, rule = _judge(raw.strip(), step)
        rule, seen = _phrase_rule(line.lower()) if rule is None else (rule, [])
        yield line, step.names[rule] if rule else None, [step.names[hit] for hit in seen]


def _phrase_rule(low: str) -> tuple[str | None, list[str]]:
    """The rule that drops a lower-cased line for a phrase in it, and the page rules that see the line."""
    seen = ["lorem_ipsum"] if "lorem ipsum" in low else []
    if "javascript" in low:
        return "javascript", seen
    if "{" in low:
        seen.append("brace")
    return "policy" if any(phrase in low for phrase in POLICY) else None, seen


def _judge(line: str, step: C4Lines) -> tuple[str, str | None]:
    """The line without citations, and which of the rules on its form drops it."""
    if len(line) > step.max_word_chars and _has_word_longer_than(line, step.max_word_chars):
        return line, "long_word"
    cited = line
    if "[" in line:
        line = CITATION.sub("", line)
    if step.end_marks and (not line.endswith(step.end_marks) or line.endswith("...")):
        return line, "end_mark"
    counted = cited if step.count_words == "with_citations" else line
    if len(counted.split(None, max(step.min_words, 1) - 1)) < step.min_words:
        return line, "few_words"
    return line, None


def _has_word_longer_than(line: str, chars: int) -> bool:
    if len(line) < LONG_LINE:
        return any(len(word) > chars for word in line.split())
    return any(match.end() - match.start() > chars for match in WORD.finditer(line))


def sentences_in(text: str, most: int, count: Callable[[str, int], int]) -> int:
    """Sentences of the lines of a text by this splitter, `most` if there are more.

    Asked where `sentence_kernel` leaves it open. Each line holds one sentence, one more for each break that is clear,
    and no more than one for each end mark with something after it; beyond that the splitter tells.
    """
    lines = text.split("\n", most)[:most] if text else []
    found = len(lines)
    if found >= most:
        return most
    clear = [_clear_breaks(line) for line in lines]
    if found + sum(clear) >= most:
        return most
    for line, breaks in zip(lines, clear, strict=True):
        if english.most_sentences(line) == breaks + 1:
            found += breaks
        else:
            found += count(line, most - found + 1) - 1
        if found >= most:
            return most
    return found


def _clear_breaks(line: str) -> int:
    """Places where both splitters start a sentence beyond doubt: `word. Next` of a word that shortens nothing."""
    unclear = _unclear()
    return sum(word.lower() not in unclear for word in CLEAR.findall(line))


@cache
def _unclear() -> frozenset[str]:
    """Words after which a full stop may end no sentence: abbreviations, first words of collocations."""
    model = load_model("english")
    return frozenset(model.abbrev_types) | {first for first, _ in model.collocations} | english.with_full_stop()


def punkt_sentences(text: str, least: int) -> int:
    """Punkt English sentences of a text, exact up to `least`, from there on any number that is not smaller.

    Punkt decides locally, so a prefix with two sentences more than asked for settles the question for a long text.
    """
    size = 4096
    while size < len(text):
        found = sum(1 for _ in _punkt().span_tokenize(text[:size]))
        if found >= least + 2:
            return found - 2
        size *= 4
    return sum(1 for _ in _punkt().span_tokenize(text))


def spacy_sentences(text: str, least: int) -> int:
    """Sentences of a line by spaCy's blank English sentencizer (datatrove's splitter), at least one."""
    return english.sentences(text, least)


@cache
def _punkt() -> PunktSentenceTokenizer:
    return PunktSentenceTokenizer(load_model("english"))


SPLITTERS: dict[str, Callable[[str, int], int]] = {"punkt": punkt_sentences, "spacy": spacy_sentences}


def dolma_c4(text: str, step: DolmaC4) -> Outcome:
    """dolma's c4_v1 or c4_v2, and its mixer: page tags drop, the spans of tagged lines are cut from the raw text.

    A line is what stands between line feeds; blank lines carry both line tags. v2 measures its spans on the
    lower-cased text and cuts them from the raw one, so a letter that changes length (`İ`) shifts them, as there.
    """
    low = text.lower()
    tokens = low.split()
    javascript = "javascript" in tokens if step.version == 1 else "javascript" in low
    tags = {
        "has_naughty_word": _is_naughty(low, tokens, step.badwords),
        "has_javascript": javascript,
        "has_lorem_ipsum": "lorem ipsum" in low,
        "has_curly_brace": "{" in low,
    }
    order = tags if step.version == 1 else reversed(tags)
    dropped: Counter[str] = Counter()
    out: list[str] = []
    start = last = 0
    for line in (text if step.version == 1 else low).split("\n"):
        end = start + len(line) + 1
        line = line.strip() if step.version == 2 else line.lower().strip()
        no_mark, few = not line.endswith((".", "?", "!", '"')), _fewer_words(line, step.min_words)
        dropped.update({"lines_with_no_ending_punctuation": no_mark, "lines_with_too_few_words": few})
        if no_mark or few:
            out.append(text[last:start])
            last = end
        start = end
    out.append(text[last:])
    return Outcome("".join(out), tuple(tag for tag in order if tags[tag]), +dropped)


def _fewer_words(line: str, least: int) -> bool:
    return len(line.split(None, max(least, 1) - 1)) < least


def _is_naughty(low: str, tokens: Iterable[str], name: WordList) -> bool:
    """dolma's test: an entry without a blank equals a token, or one with a blank is anywhere in a line."""
    single, phrases = _naughty(name)
    if not single.isdisjoint(tokens):
        return True
    if not low.isascii():
        low = SURROGATE.sub("\ufffd", low)
    return bool(phrases.find_matches_as_indexes(low))


@cache
def _naughty(name: WordList) -> tuple[frozenset[str], AhoCorasick]:
    entries = word_list(name)
    return frozenset(w for w in entries if " " not in w), AhoCorasick([w for w in entries if " " in w])
