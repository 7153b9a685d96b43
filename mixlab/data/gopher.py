"""Gopher's and FineWeb's page rules, with the definitions and the names of datatrove 0.10.

Pure functions of a text that never change it. Each measures for every rule, in the reference's order; the reference
stops at the first rule that hits. Reads `words/datatrove_punctuation.json`.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mixlab.data.english import words
from mixlab.data.steps import FineWebQuality, GopherRepetition

TABLE = Path(__file__).parent / "words" / "datatrove_punctuation.json"
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
PARAGRAPH = re.compile(r"\n{2,}")
LINE = re.compile("\n+")


def gopher_quality(text: str) -> dict[str, float]:
    """Rule -> what datatrove's GopherQualityFilter measures for it. Without words there are no means and shares."""
    tokens = words(text)
    punctuation = _punctuation()[1]
    spelled = [w for w in tokens if not punctuation.issuperset(w)]
    lines = text.splitlines()
    sides = ("gopher_below_avg_threshold", "gopher_above_avg_threshold")
    means = dict.fromkeys(sides, sum(map(len, spelled)) / len(spelled)) if spelled else {}
    bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
    ellipses = sum(line.rstrip().endswith(("...", "…")) for line in lines)
    alpha = sum(any(map(str.isalpha, w)) for w in tokens)
    return {
        "gopher_short_doc": len(spelled),
        "gopher_long_doc": len(spelled),
        **means,
        "gopher_too_many_hashes": _share(text.count("#"), tokens),
        "gopher_too_many_ellipsis": _share(text.count("...") + text.count("…"), tokens),
        "gopher_too_many_bullets": _share(bullets, lines),
        "gopher_too_many_end_ellipsis": _share(ellipses, lines),
        **({"gopher_below_alpha_threshold": alpha / len(tokens)} if tokens else {}),
        "gopher_enough_stop_words": len(STOP_WORDS.intersection(tokens)),
    }


def gopher_repetition(text: str, step: GopherRepetition) -> dict[str, float] | None:
    """Rule -> what datatrove's GopherRepetitionFilter measures for it; None if there is no text."""
    if not text:
        return None
    paragraphs, lines = PARAGRAPH.split(text.strip()), LINE.split(text)
    para_count, para_chars = _repeated(paragraphs)
    line_count, line_chars = _repeated(lines)
    size, tokens = len(text), words(text)
    return {
        "dup_para_frac": para_count / len(paragraphs),
        "dup_para_char_frac": para_chars / size,
        "dup_line_frac": line_count / len(lines),
        "dup_line_char_frac": line_chars / size,
        **{f"top_{n}_gram": _top_chars(tokens, n) / size for n, _ in step.top_n_grams},
        **{f"duplicated_{n}_n_grams": _repeated_chars(tokens, n) / size for n, _ in step.dup_n_grams},
    }


def fineweb_quality(text: str, step: FineWebQuality) -> dict[str, float] | None:
    """Rule -> what datatrove's FineWebQualityFilter measures for it; None if all lines are blank."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return None
    terminal = _punctuation()[0]
    return {
        "line_punct_ratio": sum(line[-1] in terminal for line in lines) / len(lines),
        "short_line_ratio": sum(len(line) <= step.short_line_chars for line in lines) / len(lines),
        "char_dup_ratio": _repeated(lines)[1] / len(text.replace("\n", "")),
        "list_ratio": text.count("\n") / len(words(text)),
    }


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
