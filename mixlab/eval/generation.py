"""What a generated answer is worth: exact match, F1, ROUGE and BLEU; and how much of a text is copied from training.

Exact match compares whole answers, numbers as numbers; LLM Foundry's prefix rule has its own name. ROUGE and BLEU come
from rouge-score and sacrebleu (extra `generation`). Reads and writes nothing.
"""

import importlib
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mixlab.errors import EnvironmentFault

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))
COPIED_WORDS = 13
"""n of the n-grams by which copying is told (GPT-3's contamination rule)."""


def answer_of(output: str, stops: Sequence[str] = (), cot_delimiter: str = "") -> str:
    """The answer in a generated text: up to the first stop, after the last delimiter, without space around it.

    >>> answer_of("8 - 7. The answer is 1\\n\\nQuestion: more", ["\\n\\n"], "The answer is ")
    '1'
    """
    ends = [at for stop in stops if (at := output.find(stop)) >= 0]
    text = output[: min(ends)] if ends else output
    return text.rpartition(cot_delimiter)[2].strip() if cot_delimiter else text.strip()


def normalised(text: str) -> str:
    """SQuAD's and LLM Foundry's normal form: lower case, no punctuation, no articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.replace("_", " ").lower().translate(PUNCTUATION)).split())


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 if the whole answer equals a right one, numbers as numbers, else 0.

    >>> [exact_match("18.0", ["18"]), exact_match("180", ["18"]), exact_match("The Cat.", ["cat"])]
    [1.0, 0.0, 1.0]
    """
    return float(any(_is_same(answer, other) for other in right))


def prefix_match(answer: str, right: Sequence[str]) -> float:
    """LLM Foundry's GenerationExactMatch: 1 if the normalised answer starts with a right one ("180" counts as "18")."""
    return float(any(normalised(answer).startswith(normalised(other)) for other in right))


def f1(answer: str, right: Sequence[str]) -> float:
    """SQuAD's F1 over normalised words, the best over the right answers.

    >>> f1("the black cat", ["a cat"])
    0.6666666666666666
    """
    return max((_f1(normalised(answer).split(), normalised(other).split()) for other in right), default=0.0)


def rouge_l(answer: str, right: Sequence[str]) -> float:
    """ROUGE-L F (rouge-score, no stemming), the best over the right answers. EnvironmentFault without the extra."""
    try:
        rouge: Any = importlib.import_module("rouge_score.rouge_scorer")  # extra `generation`
    except ImportError as e:
        raise _missing("rouge-score") from e
    scorer = rouge.RougeScorer(["rougeL"])
    return max((scorer.score(other, answer)["rougeL"].fmeasure for other in right), default=0.0)


def bleu(answers: Sequence[str], right: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU (sacrebleu, 0..100); as many references a text as the one with the fewest has."""
    try:
        sacrebleu: Any = importlib.import_module("sacrebleu")  # extra `generation`
    except ImportError as e:
        raise _missing("sacrebleu") from e
    least = min(map(len, right))
    return float(sacrebleu.corpus_bleu(list(answers), [[r[i] for r in right] for i in range(least)]).score)


def copied_share(outputs: Sequence[str], training: Iterable[str], n: int = COPIED_WORDS) -> list[float | None]:
    """Share of each output's words inside an n-gram of words that a training text holds; None if it is shorter.

    Words are lower-case runs without punctuation. `training` is streamed once.

    >>> copied_share(["one two three four"], ["x one two three y"], n=3)
    [0.75]
    """
    words = [normalise_words(output) for output in outputs]
    wanted = {tuple(ws[i : i + n]) for ws in words for i in range(len(ws) - n + 1)}
    starts = {gram[0] for gram in wanted}
    found: set[tuple[str, ...]] = set()
    for text in training if wanted else ():
        ws = normalise_words(text)
        found |= {g for i in range(len(ws) - n + 1) if ws[i] in starts and (g := tuple(ws[i : i + n])) in wanted}
    return [_covered(ws, found, n) for ws in words]


def normalise_words(text: str) -> list[str]:
    """Lower-case words without ASCII punctuation."""
    return text.lower().translate(PUNCTUATION).split()


def _covered(words: Sequence[str], found: set[tuple[str, ...]], n: int) -> float | None:
    """Share of words inside a found n-gram."""
    if len(words) < n:
        return None
    inside = set[int]()
    for i in range(len(words) - n + 1):
        if tuple(words[i : i + n]) in found:
            inside |= set(range(i, i + n))
    return len(inside) / len(words)


def _is_same(answer: str, other: str) -> bool:
    x, y = _number(answer), _number(other)
    return x == y if x is not None and y is not None else normalised(answer) == normalised(other)


def _number(text: str) -> float | None:
    """The number that a whole text is, thousands separated by commas and a final full stop allowed."""
    told = text.strip().rstrip(".").replace(",", "").removeprefix("$")
    return float(told) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", told) else None


def _f1(found: Sequence[str], right: Sequence[str]) -> float:
    common = sum((Counter(found) & Counter(right)).values())
    if not found or not right:
        return float(list(found) == list(right))
    return 2 * common / (len(found) + len(right)) if common else 0.0


def _missing(package: str) -> EnvironmentFault:
    return EnvironmentFault(f"{package} is not installed: pip install 'mixlab[generation]'.")
