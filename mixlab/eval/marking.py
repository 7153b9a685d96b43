"""Marks: from raw log-likelihoods of a task to the lines of items.jsonl and scores.jsonl, with their floors.

Raw sums are stored, in nats; every metric is made from them, here for scores.jsonl and once more as SQL views of the
store (results/marks.py), which a test holds equal. A model that is not finite gets no number: value None, status
"diverged". Reads and writes nothing.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mixlab.eval import answers
from mixlab.eval.engine import Scored
from mixlab.eval.requests import Requests
from mixlab.eval.scoring import check_item, expected_calibration_error, metrics_of, ratio, shared_credit
from mixlab.eval.suites import Task

LOWER_IS_BETTER = ("bpb", "gold_bpb", "brier", "ece")
SINGLE = ("gold_bpb", "correct_prob", "correct_prob_char", "correct_prob_byte", "correct_prob_token")
"""Metrics of items with one continuation, beside `exact`: there is nothing to choose."""


def item_rows(
    task: Task, requests: Requests, scored: Scored, step: int, tokens: int, words: str, outputs: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The lines of items.jsonl: raw sums per item, None where not finite; `words` is the tokenizer's hash.

    `outputs`: the answers that the model wrote, if it was asked to, which stand in the lines with their marks.
    """
    about = {"step": step, "tokens": tokens, "ts": time.time(), **hashes(task, words)}
    rows, at = list[dict[str, Any]](), 0
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
    for row, asked, output in zip(rows, task.asked, outputs, strict=False):
        is_gone = any(x is None for x in row["logliks"])
        told = answers.marks(output, asked.item.answers)
        row |= {"output": output} | (dict.fromkeys(told) if is_gone else told)
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


def evals_key(task: Task, words: str) -> str:
    """What says in one word whether two scores may be compared."""
    return f"{task.suite_hash}-{task.prompt_hash}-{words}"


def score_rows(
    task: Task, rows: Sequence[Mapping[str, Any]], *, final: bool, seconds: float, fed: int
) -> list[dict[str, Any]]:
    """The lines of scores.jsonl for one task: mean over items, standard error clustered, floors in `detail`.

    Paradigms of a `pairs` task weigh alike. All values are None if one item is not finite.
    """
    assert len(rows) == len(task.asked), (len(rows), len(task.asked))
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
        found = clustered_means(marks(rows, [a.item.choices for a in task.asked]), clusters, even=is_even)
        found["ece"] = (calibration(rows), None)
        found |= answers.bleu_of(rows, task) if status == "scored" else {}
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
            "evals_key": evals_key(task, first["tokenizer_hash"]),
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


def marks(rows: Sequence[Mapping[str, Any]], choices: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Every metric of a task's items, (items,) each; NaN for an item with a log-likelihood that is missing."""
    is_single = all(len(row["logliks"]) == 1 for row in rows)
    found: dict[str, np.ndarray] = {}
    for at, those in _alike(rows):
        logliks_NK, alone_NK = _numbers(those, "logliks"), None
        chars_NK, bytes_NK, tokens_NK = (_numbers(those, name) for name in ("n_chars", "n_bytes", "n_tokens"))
        if min(chars_NK.min(), tokens_NK.min()) < 1:
            for i, row in zip(map(int, at), those, strict=True):
                check_item(choices[i], row["logliks"], row["n_tokens"], row["gold"])
        gold_N = np.array([row["gold"] for row in those])
        told = metrics_of(logliks_NK, chars_NK, bytes_NK, tokens_NK, gold_N)
        is_gone_N = np.isnan(told["gold_bpb"])
        if is_single:
            exact_N = np.array([float(row["greedy"][0]) for row in those])
            told = {name: told[name] for name in SINGLE} | {"exact": np.where(is_gone_N, math.nan, exact_N)}
            told |= {name: _numbers(those, name) for name in answers.MARKS if name in those[0]}
        elif those[0]["alone"] is not None:
            alone_NK = _numbers(those, "alone")
            credit_N = shared_credit(np.nan_to_num(logliks_NK - alone_NK), gold_N)
            told["acc_pmi"] = np.where(is_gone_N | np.isnan(alone_NK).any(1), math.nan, credit_N)
        for name, values in told.items():
            found.setdefault(name, np.full(len(rows), math.nan))[at] = values
    return found


def calibration(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """ECE as LLM Foundry has it: of the choice picked by mean token probability; for one choice, of its worst token."""
    confidences, right = np.zeros(len(rows)), np.zeros(len(rows))
    for at, those in _alike(rows):
        logliks_NK = _numbers(those, "logliks")
        if np.isnan(logliks_NK).any():
            return None
        if logliks_NK.shape[1] == 1:
            confidences[at] = np.exp(_numbers(those, "least")[:, 0])
            right[at] = [row["greedy"][0] for row in those]
            continue
        scores_NK = logliks_NK / _numbers(those, "n_tokens")
        probs_NK = np.exp(scores_NK)
        total_N = probs_NK.sum(1)
        shares_N = probs_NK.max(1) / np.where(total_N > 0, total_N, 1.0)
        confidences[at] = np.where(total_N > 0, shares_N, 1 / probs_NK.shape[1])
        right[at] = shared_credit(scores_NK, np.array([row["gold"] for row in those]))
    return expected_calibration_error(confidences, right)


def clustered_means(
    values: Mapping[str, np.ndarray], clusters: Sequence[str], *, even: bool = False
) -> dict[str, tuple[float | None, float | None]]:
    """Name -> (mean, its standard error by cluster); None if a value is missing. `even`: each cluster weighs alike.

    SE = sqrt(sum over clusters of (sum of weighted residuals)^2), no small-sample factor (Miller, 2411.00640).

    >>> clustered_means({"acc": np.array([1.0, 0.0, 1.0, 1.0])}, ["a", "a", "b", "b"])
    {'acc': (0.75, 0.1767766952966369)}
    """
    names, of = np.unique(np.array(clusters), return_inverse=True)
    sizes = np.bincount(of)
    weights = 1 / (len(names) * sizes[of]) if even else np.full(len(of), 1 / len(of))
    found: dict[str, tuple[float | None, float | None]] = {}
    for name, x in values.items():
        if np.isnan(x).any():
            found[name] = None, None
            continue
        mean = float((weights * x).sum())
        sums = np.bincount(of, weights * (x - mean))
        found[name] = mean, float(np.sqrt((sums**2).sum())) if len(names) > 1 else None
    return found


def _alike(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[np.ndarray, list[Mapping[str, Any]]]]:
    """(which items, their rows) for each number of choices that there is."""
    widths = np.array([len(row["logliks"]) for row in rows])
    for width in np.unique(widths):
        at = np.flatnonzero(widths == width)
        yield at, [rows[i] for i in at.tolist()]


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """A field of these rows as float64, NaN for None."""
    return np.array([row[name] for row in rows], np.float64)


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
    told: dict[str, float] = {"shortest": 0.0, "longest": 0.0, "chance": 0.0}
    widths = np.array([len(ls) for ls in lengths])
    for width in np.unique(widths):
        at = np.flatnonzero(widths == width)
        lengths_NK = np.array([lengths[i] for i in at.tolist()], np.float64)
        gold_N = np.array([items[i].gold for i in at.tolist()])
        told["shortest"] += float(shared_credit(-lengths_NK, gold_N).sum()) / n
        told["longest"] += float(shared_credit(lengths_NK, gold_N).sum()) / n
        told["chance"] += len(at) / width / n
    if task.spec.icl_task_type == "pairs":  # the good sentence always stands first: a label says nothing
        return told
    return told | {"majority": Counter(item.gold for item in items).most_common(1)[0][1] / n}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
