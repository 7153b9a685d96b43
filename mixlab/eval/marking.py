"""Marks: from raw log-likelihoods of a task to the lines of items.jsonl and scores.jsonl, with their floors.

Raw sums are stored, in nats; every metric is made from them, here for scores.jsonl and once more as SQL views of the
store (results/marks.py), which a test holds equal. A model that is not finite gets no number: value None, status
"diverged". Reads and writes nothing.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlab.eval.engine import Scored
from mixlab.eval.requests import Requests
from mixlab.eval.scoring import choice_metrics, expected_calibration_error, ratio, shared_credit
from mixlab.eval.suites import Task

LOWER_IS_BETTER = ("bpb", "gold_bpb", "brier", "ece")
SINGLE = ("gold_bpb", "correct_prob", "correct_prob_char", "correct_prob_byte", "correct_prob_token")
"""Metrics of items with one continuation, beside `exact`: there is nothing to choose."""


def item_rows(
    task: Task, requests: Requests, scored: Scored, step: int, tokens: int, words: str
) -> list[dict[str, Any]]:
    """The lines of items.jsonl: raw sums per item, None where not finite; `words` is the tokenizer's hash."""
    about = {"step": step, "tokens": tokens, "ts": time.time(), **hashes(task, words)}
    rows, at = [], 0
    alone_at = sum(len(asked.continuations) for asked in task.asked)
    for asked in task.asked:
        k = len(asked.continuations)
        span, alone = slice(at, at + k), None
        if task.spec.unconditional:
            alone = [_finite(x) for x in scored.logliks[alone_at : alone_at + k]]
            alone_at += k
        at += k
        choices = asked.item.choices
        rows.append(
            {
                **about,
                "item": asked.item.id,
                "item_hash": task.item_hash(asked),
                "cluster": asked.item.cluster,
                "gold": asked.item.gold,
                "logliks": [_finite(x) for x in scored.logliks[span]],
                "alone": alone,
                "n_tokens": [len(ids) for ids in requests.continuations[span]],
                "n_chars": [len(choice) for choice in choices],
                "n_bytes": [len(choice.encode()) for choice in choices],
                "greedy": [bool(x) for x in scored.greedy[span]],
                "least": [_finite(x) for x in scored.least[span]],
                "truncated": bool(scored.truncated[span].any()),
            }
        )
    return rows


def hashes(task: Task, words: str) -> dict[str, str]:
    """What says whether two scores may be compared: task, suite, settings, prompts, tokenizer, convention."""
    return {
        "task": task.label,
        "suite": task.suite,
        "suite_hash": task.suite_hash,
        "prompt_hash": task.prompt_hash,
        "tokenizer_hash": words,
        "convention": task.spec.convention,
    }


def score_rows(
    task: Task, rows: Sequence[Mapping[str, Any]], *, final: bool, seconds: float, fed: int
) -> list[dict[str, Any]]:
    """The lines of scores.jsonl for one task: mean over items, standard error clustered, floors in `detail`.

    Paradigms of a `pairs` task weigh alike. All values are None if one item is not finite.
    """
    assert len(rows) == len(task.asked), (len(rows), len(task.asked))
    marks = [mark(row, asked.item.choices) for row, asked in zip(rows, task.asked, strict=True)]
    clusters = [row["cluster"] or str(row["item"]) for row in rows]
    is_even = task.spec.icl_task_type == "pairs"
    status = "diverged" if any(x is None for row in rows for x in row["logliks"]) else "scored"
    first = rows[0]
    detail = {name: first[name] for name in hashes(task, "")} | {"status": status, "seconds": round(seconds, 3)}
    detail |= {"tokens_fed": fed, "n_truncated": sum(row["truncated"] for row in rows), "floors": floors(task)}
    detail["n_shots"] = task.spec.num_fewshot
    found: dict[str, tuple[float | None, float | None]] = {}
    if task.spec.icl_task_type == "documents":
        sums = document_sums(rows)
        detail |= sums
        nats = [-row["logliks"][0] / math.log(2) for row in rows] if sums["nats"] is not None else []
        found["bpb"] = ratio(nats, [row["n_bytes"][0] for row in rows]) if nats else (None, None)
    else:
        found = {name: clustered_mean([m[name] for m in marks], clusters, even=is_even) for name in marks[0]}
        found["ece"] = (calibration(rows), None)
    evals_key = f"{task.suite_hash}-{task.prompt_hash}-{first['tokenizer_hash']}"
    about = {"step": first["step"], "tokens": first["tokens"], "ts": first["ts"], "task": task.label}
    return [
        {
            **about,
            "metric": name,
            "value": value,
            "stderr": stderr,
            "n": len(rows),
            "higher_is_better": not name.startswith(LOWER_IS_BETTER),
            "final": final,
            "evals_key": evals_key,
            "detail": detail,
        }
        for name, (value, stderr) in found.items()
    ]


def document_sums(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Raw sums of an external held-out set: nats (None if one is not finite), UTF-8 bytes, tokens, documents."""
    is_gone = any(row["logliks"][0] is None for row in rows)
    return {
        "nats": None if is_gone else -math.fsum(row["logliks"][0] for row in rows),
        "bytes": sum(row["n_bytes"][0] for row in rows),
        "tokens": sum(row["n_tokens"][0] for row in rows),
        "docs": len(rows),
    }


def mark(row: Mapping[str, Any], choices: Sequence[str]) -> dict[str, float | None]:
    """Every metric of one item; all None if a log-likelihood is missing."""
    logliks = [math.nan if x is None else x for x in row["logliks"]]
    found = choice_metrics(choices, logliks, row["n_tokens"], row["gold"])
    is_gone = any(x is None for x in row["logliks"])
    if len(choices) == 1:
        return {name: found[name] for name in SINGLE} | {"exact": None if is_gone else float(row["greedy"][0])}
    if row["alone"] is not None:
        is_gone = is_gone or any(x is None for x in row["alone"])
        gains = [] if is_gone else [x - y for x, y in zip(logliks, row["alone"], strict=True)]
        found["acc_pmi"] = shared_credit(gains, row["gold"]) if gains else None
    return found


def calibration(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """ECE as LLM Foundry has it: of the choice picked by mean token probability; for one choice, of its worst token."""
    told = []
    for row in rows:
        if any(x is None for x in row["logliks"]):
            return None
        if len(row["logliks"]) == 1:
            told.append((math.exp(row["least"][0]), float(row["greedy"][0])))
            continue
        probs = [math.exp(x / n) for x, n in zip(row["logliks"], row["n_tokens"], strict=True)]
        total = sum(probs)
        right = shared_credit([x / n for x, n in zip(row["logliks"], row["n_tokens"], strict=True)], row["gold"])
        told.append((max(probs) / total if total else 1 / len(probs), right))
    return expected_calibration_error([c for c, _ in told], [r for _, r in told])


def clustered_mean(
    values: Sequence[float | None], clusters: Sequence[str], *, even: bool = False
) -> tuple[float | None, float | None]:
    """(mean, its standard error by cluster); None if a value is missing. `even`: each cluster weighs alike.

    SE = sqrt(sum over clusters of (sum of weighted residuals)^2), no small-sample factor (Miller, 2411.00640).

    >>> clustered_mean([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"])
    (0.75, 0.1767766952966369)
    """
    if not values or any(v is None for v in values):
        return None, None
    x = np.array(values, np.float64)
    names, of = np.unique(np.array(clusters), return_inverse=True)
    sizes = np.bincount(of)
    weights = 1 / (len(names) * sizes[of]) if even else np.full(len(x), 1 / len(x))
    mean = float((weights * x).sum())
    sums = np.bincount(of, weights * (x - mean))
    return mean, float(np.sqrt((sums**2).sum())) if len(names) > 1 else None


def floors(task: Task) -> dict[str, float]:
    """Accuracy without a model: the shortest and the longest choice in characters, the majority label, chance; ties
    share their credit. Empty where there is nothing to choose or all choices read the same (schema)."""
    items = [asked.item for asked in task.asked]
    if any(len(item.choices) < 2 for item in items):
        return {}
    lengths = [[len(choice) for choice in item.choices] for item in items]
    if task.spec.icl_task_type == "schema":
        lengths = [[len(context) for context in item.contexts] for item in items]
    n = len(items)
    told = {
        "shortest": sum(shared_credit([-float(x) for x in ls], i.gold) for ls, i in zip(lengths, items, strict=True))
        / n,
        "longest": sum(shared_credit([float(x) for x in ls], i.gold) for ls, i in zip(lengths, items, strict=True)) / n,
        "chance": sum(1 / len(item.choices) for item in items) / n,
    }
    if task.spec.icl_task_type == "pairs":  # the good sentence always stands first: a label says nothing
        return told
    return told | {"majority": Counter(item.gold for item in items).most_common(1)[0][1] / n}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
