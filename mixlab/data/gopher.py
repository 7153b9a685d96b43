"""Gopher's and FineWeb's page rules, with the definitions and the names of datatrove 0.10.

Pure functions of a text that never change it. Each gives every rule that hits, in the reference's order; the
reference stops at the first. Reads `words/datatrove_punctuation.json`.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mixlab.data.english import words
from mixlab.data.steps import FineWebQuality, GopherQuality, GopherRepetition

TABLE = Path(__file__).parent / "words" / "datatrove_punctuation.json"
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
PARAGRAPH = re.compile(r"\n{2,}")
LINE = re.compile("\n+")


def gopher_quality(text: str, step: GopherQuality) -> tuple[str, ...]:
    """Rules of datatrove's GopherQualityFilter that would drop the text. Without words only the length rule hits."""
    tokens = words(text)
    punctuation = _punctuation()[1]
    spelled = [w for w in tokens if not punctuation.issuperset(w)]
    lines = text.splitlines()
    mean = sum(map(len, spelled)) / len(spelled) if spelled else None
    symbols = step.max_symbol_word_ratio
    bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
    ellipses = sum(line.rstrip().endswith(("...", "…")) for line in lines)
    alpha = sum(any(map(str.isalpha, w)) for w in tokens)
    hits = {
        "gopher_short_doc": len(spelled) < step.min_doc_words,
        "gopher_long_doc": len(spelled) > step.max_doc_words,
        "gopher_below_avg_threshold": mean is not None and mean < step.min_avg_word_length,
        "gopher_above_avg_threshold": mean is not None and mean > step.max_avg_word_length,
        "gopher_too_many_hashes": _share(text.count("#"), tokens) > symbols,
        "gopher_too_many_ellipsis": _share(text.count("...") + text.count("…"), tokens) > symbols,
        "gopher_too_many_bullets": _share(bullets, lines) > step.max_bullet_lines_ratio,
        "gopher_too_many_end_ellipsis": _share(ellipses, lines) > step.max_ellipsis_lines_ratio,
        "gopher_below_alpha_threshold": bool(tokens) and alpha / len(tokens) < step.min_alpha_words_ratio,
        "gopher_enough_stop_words": len(STOP_WORDS.intersection(tokens)) < step.min_stop_words,
    }
    return tuple(name for name, hit in hits.items() if hit)


def gopher_repetition(text: str, step: GopherRepetition) -> tuple[str, ...]:
    """Rules of datatrove's GopherRepetitionFilter that would drop the text; `empty` alone if there is no text."""
    if not text:
        return ("empty",)
    paragraphs, lines = PARAGRAPH.split(text.strip()), LINE.split(text)
    para_count, para_chars = _repeated(paragraphs)
    line_count, line_chars = _repeated(lines)
    size = len(text)
    hits = {
        "dup_para_frac": para_count / len(paragraphs) > step.dup_para_frac,
        "dup_para_char_frac": para_chars / size > step.dup_para_char_frac,
        "dup_line_frac": line_count / len(lines) > step.dup_line_frac,
        "dup_line_char_frac": line_chars / size > step.dup_line_char_frac,
    }
    tokens = words(text)
    for n, share in step.top_n_grams:
        hits[f"top_{n}_gram"] = _top_chars(tokens, n) / size > share
    for n, share in step.dup_n_grams:
        hits[f"duplicated_{n}_n_grams"] = _repeated_chars(tokens, n) / size > share
    return tuple(name for name, hit in hits.items() if hit)


def fineweb_quality(text: str, step: FineWebQuality) -> tuple[str, ...]:
    """Rules of datatrove's FineWebQualityFilter that would drop the text; `empty` alone if all lines are blank."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return ("empty",)
    terminal = _punctuation()[0]
    ended = sum(line[-1] in terminal for line in lines) / len(lines)
    short = sum(len(line) <= step.short_line_chars for line in lines) / len(lines)
    hits = {
        "line_punct_ratio": ended < step.min_line_punct_ratio,
        "short_line_ratio": short > step.max_short_line_ratio,
        "char_dup_ratio": _repeated(lines)[1] / len(text.replace("\n", "")) > step.max_char_dup_ratio,
        "list_ratio": text.count("\n") / len(words(text)) > step.max_newlines_per_word,
    }
    return tuple(name for name, hit in hits.items() if hit)


def _share(count: int, of: Sequence[str]) -> float:
    return count / len(of) if of else 0.0


def _repeated(items: Sequence[str]) -> tuple[int, int]:
    """How many items were there before, and their characters."""
    counts = Counter(items)
    return len(items) - len(counts), sum((n - 1) * len(item) for item, n in counts.items())


def _top_chars(tokens: Sequence[str], n: int) -> int:
    """Characters of the most frequent n-gram times its count; of several, the first in the text."""
    counts = Counter(" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    if not counts:
        return 0
    gram = max(counts, key=counts.__getitem__)
    return len(gram) * counts[gram]


def _repeated_chars(tokens: Sequence[str], n: int) -> int:
    """Characters in n-grams that were there before; after a repeat the window jumps past it."""
    seen: set[str] = set()
    chars = i = 0
    while i < len(tokens) - n + 1:
        gram = "".join(tokens[i : i + n])
        if gram in seen:
            chars += len(gram)
            i += n
        else:
            seen.add(gram)
            i += 1
    return chars


@cache
def _punctuation() -> tuple[frozenset[str], frozenset[str]]:
    """Characters that end a sentence in some script, and all that count as punctuation."""
    raw = json.loads(TABLE.read_text(encoding="utf-8"))
    return frozenset(raw["terminal"]), frozenset(raw["terminal"] + raw["other"])
