"""What a score is: metrics of multiple-choice items from raw log-likelihoods, and the ratio estimator behind bpb.

Reads and writes nothing. Definitions and reference vectors: lm-eval 0.4 (acc, acc per character and byte, brier), LLM
Foundry (acc per token), DataDecide, arXiv 2504.11393 (correct, total, norm-correct probability and margin, in the
form exp(ll / x)), OLMo (gold bpb over the bytes of the answer without the space before it).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mixlab.errors import ConfigError

# N items, K choices

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
    check_item(choices, logliks, num_tokens, gold)
    found = metrics_of(
        np.array([logliks], np.float64),
        np.array([[len(choice) for choice in choices]], np.float64),
        np.array([[len(choice.encode()) for choice in choices]], np.float64),
        np.array([num_tokens], np.float64),
        np.array([gold]),
    )
    return {name: float(values[0]) if math.isfinite(values[0]) else None for name, values in found.items()}


def metrics_of(
    logliks_NK: np.ndarray, chars_NK: np.ndarray, bytes_NK: np.ndarray, tokens_NK: np.ndarray, gold_N: np.ndarray
) -> dict[str, np.ndarray]:
    """The metrics of `choice_metrics` for N items of K choices each, (N,) float64; NaN where one is not finite."""
    lengths = {"": np.ones_like(logliks_NK), "_char": chars_NK, "_byte": bytes_NK, "_token": tokens_NK}
    items, is_finite_N = np.arange(len(gold_N)), np.isfinite(logliks_NK).all(1)
    told: dict[str, np.ndarray] = {}
    with np.errstate(all="ignore"):  # of items that are not finite nothing is kept
        for suffix in SUFFIXES:
            scores_NK = logliks_NK / lengths[suffix]
            told |= {f"{name}{suffix}": values for name, values in _by_length(scores_NK, gold_N).items()}
        told["gold_bpb"] = -logliks_NK[items, gold_N] / (math.log(2) * bytes_NK[items, gold_N])
        error_NK = _softmax(logliks_NK)
        error_NK[items, gold_N] -= 1
        told["brier"] = (error_NK**2).sum(1)
    return {name: np.where(is_finite_N, values, math.nan) for name, values in told.items()}


def shared_credit(scores_NK: np.ndarray, gold_N: np.ndarray) -> np.ndarray:
    """1 if the gold score is the largest, 1/k if it ties with k-1 others, else 0: what every accuracy here is made of.

    >>> shared_credit(np.array([[-1.0, -1.0, -3.0]]), np.array([1])).tolist()
    [0.5]
    """
    top_N1 = scores_NK.max(1, keepdims=True)
    tied_NK = np.abs(scores_NK - top_N1) <= TIE * np.maximum(np.abs(scores_NK), np.abs(top_N1))
    return np.where(tied_NK[np.arange(len(gold_N)), gold_N], 1 / np.maximum(tied_NK.sum(1), 1), 0.0)


def expected_calibration_error(confidences: ArrayLike, right: ArrayLike, buckets: int = 10) -> float:
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


def check_item(choices: Sequence[str], logliks: Sequence[float], num_tokens: Sequence[int], gold: int) -> None:
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


def _by_length(scores_NK: np.ndarray, gold_N: np.ndarray) -> Mapping[str, np.ndarray]:
    """The metrics that exist once per normalisation, from log-likelihoods already divided by their lengths."""
    items = np.arange(len(gold_N))
    probs_NK = np.where(scores_NK < 700, np.exp(scores_NK), math.nan)  # beyond, it is no log-probability
    wrong_NK = probs_NK.copy()
    wrong_NK[items, gold_N] = 0.0  # no probability is below 0
    return {
        "acc": shared_credit(scores_NK, gold_N),
        "correct_prob": probs_NK[items, gold_N],
        "norm_correct_prob": _softmax(scores_NK)[items, gold_N],  # = correct / total, and finite where both round to 0
        "margin": probs_NK[items, gold_N] - wrong_NK.max(1),
        "total_prob": probs_NK.sum(1),
    }


def _softmax(scores_NK: np.ndarray) -> np.ndarray:
    """Probabilities in proportion to exp(score)."""
    shares_NK = np.exp(scores_NK - scores_NK.max(1, keepdims=True))
    return shares_NK / shares_NK.sum(1, keepdims=True)
