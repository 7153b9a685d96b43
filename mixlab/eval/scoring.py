"""What a score is: metrics of one multiple-choice item from raw log-likelihoods, and the ratio estimator behind bpb.

Reads and writes nothing. Definitions and reference vectors: lm-eval 0.4 (acc, acc per character and byte, brier), LLM
Foundry (acc per token), DataDecide, arXiv 2504.11393 (correct, total, norm-correct probability and margin, in the
form exp(ll / x)), OLMo (gold bpb over the bytes of the answer without the space before it).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mixlab.errors import ConfigError

TIE = 1e-12
"""Relative; log-likelihoods closer than this are one value: summing equal terms in another order moves ~1e-14."""
SUFFIXES = ("", "_char", "_byte", "_token")
"""Name endings by what a log-likelihood is divided by; the plain name is the raw sum."""


def choice_metrics(
    choices: Sequence[str], logliks: Sequence[float], num_tokens: Sequence[int], gold: int
) -> dict[str, float | None]:
    """Every metric of one item; all are None if a log-likelihood is not finite.

    `choices`: texts as scored, without the delimiter before them; `logliks`: sums in nats; `gold`: index of the right
    choice. With x the characters, UTF-8 bytes or tokens of a choice: acc_x is 1 if the gold ll/x is the largest, 1/k
    if it ties with k-1 others, else 0; correct_prob_x = exp(ll/x) of the gold; total_prob_x its sum over choices;
    norm_correct_prob_x their quotient; margin_x = correct_prob_x minus the best wrong one; gold_bpb in bits per byte;
    brier in 0..2 over the softmax of the raw sums. ConfigError if the lists do not fit together.

    >>> choice_metrics(["yes", "no"], [-1.25, -1.25], [1, 1], gold=1)["acc"]
    0.5
    """
    _check_item(choices, logliks, num_tokens, gold)
    lengths = {
        "": [1] * len(choices),
        "_char": [len(choice) for choice in choices],
        "_byte": [len(choice.encode()) for choice in choices],
        "_token": list(num_tokens),
    }
    metrics: dict[str, float | None] = {}
    for suffix in SUFFIXES:
        scores = [ll / length for ll, length in zip(logliks, lengths[suffix], strict=True)]
        metrics |= {f"{name}{suffix}": value for name, value in _by_length(scores, gold).items()}
    metrics["gold_bpb"] = -logliks[gold] / (math.log(2) * lengths["_byte"][gold])
    metrics["brier"] = sum((p - (j == gold)) ** 2 for j, p in enumerate(_softmax(logliks)))
    if not all(math.isfinite(ll) for ll in logliks):
        return dict.fromkeys(metrics)
    return metrics


def shared_credit(scores: Sequence[float], gold: int) -> float:
    """1 if the gold score is the largest, 1/k if it ties with k-1 others, else 0: what every accuracy here is made of.

    >>> shared_credit([-1.0, -1.0, -3.0], gold=1)
    0.5
    """
    top = max(scores)
    tied = [math.isclose(score, top, rel_tol=TIE) for score in scores]
    return 1 / sum(tied) if tied[gold] else 0.0


def expected_calibration_error(confidences: Sequence[float], right: Sequence[float], buckets: int = 10) -> float:
    """ECE of LLM Foundry: equal buckets of confidence, each standing for its midpoint, weighted by how many it holds.

    >>> expected_calibration_error([0.95, 0.95], [1.0, 0.0])
    0.44999999999999996
    """
    at = np.minimum((np.asarray(confidences, np.float64) * buckets).astype(np.int64), buckets - 1)
    count, sums = np.bincount(at, minlength=buckets), np.bincount(at, np.asarray(right, np.float64), buckets)
    middle = (np.arange(buckets) + 0.5) / buckets
    return float(np.abs(sums - middle * count).sum() / len(at))


def ratio(numerators: ArrayLike, denominators: ArrayLike) -> tuple[float, float | None]:
    """(sum of numerators / sum of denominators, its standard error), both (n,): one pair a cluster, e.g. a document.

    Linearised ratio estimator: sqrt(sum of squared residuals) / sum of denominators, residual = numerator - ratio *
    denominator; no small-sample factor. One cluster says nothing about noise: its standard error is None.

    >>> ratio([2.0, 4.0], [1, 1])
    (3.0, 0.7071067811865476)
    """
    top, bottom = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    assert top.shape == bottom.shape and top.ndim == 1, (top.shape, bottom.shape)
    total = bottom.sum()
    value = top.sum() / total
    stderr = np.sqrt(((top - value * bottom) ** 2).sum()) / total if len(top) > 1 else None
    return float(value), None if stderr is None else float(stderr)


def _check_item(choices: Sequence[str], logliks: Sequence[float], num_tokens: Sequence[int], gold: int) -> None:
    """ConfigError unless the lists describe one item."""
    if not len(choices) == len(logliks) == len(num_tokens):
        raise ConfigError(
            f"an item has {len(choices)} choices, {len(logliks)} log-likelihoods and {len(num_tokens)} token counts: "
            "give one of each per choice."
        )
    if not 0 <= gold < len(choices):
        raise ConfigError(f"gold is {gold}, but the item has {len(choices)} choices: give an index counted from 0.")
    empty = [j for j, choice in enumerate(choices) if not choice or num_tokens[j] < 1]
    if empty:
        raise ConfigError(f"choice {empty[0]} of {list(choices)!r} is empty or has no tokens: it cannot be scored.")


def _by_length(scores: Sequence[float], gold: int) -> Mapping[str, float]:
    """The metrics that exist once per normalisation, from log-likelihoods already divided by their lengths."""
    probs = [_exp(score) for score in scores]
    wrong = [p for j, p in enumerate(probs) if j != gold]
    return {
        "acc": shared_credit(scores, gold),
        "correct_prob": probs[gold],
        "norm_correct_prob": _softmax(scores)[gold],  # = correct / total, and finite where both round to 0
        "margin": probs[gold] - max(wrong, default=0.0),
        "total_prob": sum(probs),
    }


def _softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities in proportion to exp(score)."""
    top = max(scores)
    shares = [_exp(score - top) for score in scores]
    return [share / sum(shares) for share in shares]


def _exp(x: float) -> float:
    """exp(x) for a log-probability; NaN where x is not one."""
    return math.exp(x) if x < 700 else math.nan
