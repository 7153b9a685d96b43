"""What a model writes where a task asks for an answer: greedily, cut at the first stop, compared with the right ones.

Asks a callable for continuations and knows no model. Marks: exact match, LLM Foundry's prefix rule, F1, and ROUGE-L
where the extra `generation` is installed (eval/generation.py defines them). Reads and writes nothing.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlab.eval.generation import answer_of, bleu, exact_match, f1, prefix_match, rouge_l
from mixlab.eval.requests import Requests
from mixlab.eval.samples import Generate, TextCodec
from mixlab.eval.suites import Task

KIND = "generation_task_with_answers"
MARKS = ("exact_match", "prefix_match", "f1", "rouge_l")
BATCH_TOKENS, BATCH_ROWS = 16_384, 64
"""Ids of the prompts answered together, padding included, and prompts: their keys are kept while they are continued."""


def written(write: Generate, words: TextCodec, task: Task, requests: Requests, max_len: int) -> list[str]:
    """One answer an item, in the task's order; empty for any other kind of task.

    At most `max_new_tokens` greedy tokens, up to end-of-text; then `answer_of` by the task's `early_stopping_criteria`
    and `cot_delimiter`. A prompt that leaves no room in `max_len` loses its beginning, as in lm-eval.
    """
    if task.spec.icl_task_type != KIND:
        return []
    room = max(1, max_len - task.spec.max_new_tokens)
    prompts = [context[-room:] for context in requests.contexts[: len(task.asked)]]
    told = [""] * len(prompts)
    for batch in _batches([len(prompt) for prompt in prompts]):
        n = len(batch)
        outputs = write([prompts[at] for at in batch], task.spec.max_new_tokens, [0.0] * n, [0] * n)
        for at, ids in zip(batch, outputs, strict=True):
            told[at] = answer_of(words.decode(ids), task.spec.early_stopping_criteria, task.spec.cot_delimiter)
    return told


def marks(answer: str, right: Sequence[str]) -> dict[str, float]:
    """MARKS of one answer against all that count as right; without `rouge_l` where its package is missing.

    >>> marks("18.", ["18"])["exact_match"]
    1.0
    """
    told = {name: mark(answer, right) for name, mark in _MARKS.items()}
    return told | ({"rouge_l": rouge_l(answer, right)} if importlib.util.find_spec("rouge_score") else {})


def bleu_of(rows: Sequence[Mapping[str, Any]], task: Task) -> dict[str, tuple[float, None]]:
    """`bleu` of all answers of a task together, 0 to 100; nothing where there are none, or without sacrebleu."""
    if not all("output" in row for row in rows) or not importlib.util.find_spec("sacrebleu"):
        return {}
    return {"bleu": (bleu([row["output"] for row in rows], [asked.item.answers for asked in task.asked]), None)}


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices, longest first, in batches within BATCH_TOKENS and BATCH_ROWS."""
    batches: list[list[int]] = []
    for at in np.argsort([-n for n in lengths], kind="stable").tolist():
        if not batches or len(batches[-1]) >= min(BATCH_ROWS, max(1, BATCH_TOKENS // lengths[batches[-1][0]])):
            batches.append([])
        batches[-1].append(at)
    return batches


_MARKS = {"exact_match": exact_match, "prefix_match": prefix_match, "f1": f1}
