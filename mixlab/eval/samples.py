"""What a checkpoint writes when it is given a prompt: text for people, with two numbers that betray a loop.

Every prompt is answered twice: greedily, which moves with the model alone, and by a seeded draw, which shows its range.

Asks a callable for continuations; writes nothing. The rows are lines of a run's samples.jsonl without step and time.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from mixlab.eval.evaluate import LogProbs
from mixlab.types import EvalSpec

Generate = Callable[[list[np.ndarray], int, list[float], list[int]], list[np.ndarray]]
"""(prompts as ids, max_new_tokens, temperatures, seeds) -> the new ids of each prompt, up to its end-of-text."""


class TextCodec(Protocol):
    """The part of a tokenizer that sampling needs."""

    @property
    def end_of_text_id(self) -> int: ...  # noqa: D102
    def encode(self, texts: list[str], /) -> list[np.ndarray]: ...  # noqa: D102
    def decode(self, ids: Any, /) -> str: ...  # noqa: D102


def sample(
    generate: Generate,
    tokenizer: TextCodec,
    prompts: Sequence[str],
    spec: EvalSpec,
    seed: int,
    logprobs: LogProbs | None = None,
) -> list[dict[str, Any]]:
    """Two rows a prompt, greedy (temperature 0) and drawn at spec.temperature; one where that is 0. See `answers`."""
    heats = [0.0] if spec.temperature == 0 else [0.0, spec.temperature]
    rows = answers(
        generate,
        tokenizer,
        [prompt for prompt in prompts for _ in heats],
        [heat for _ in prompts for heat in heats],
        [seed] * (len(prompts) * len(heats)),
        spec.sample_tokens,
        logprobs,
    )
    for at, row in enumerate(rows):
        row["prompt_id"] = at // len(heats)
    return rows


def answers(
    generate: Generate,
    tokenizer: TextCodec,
    prompts: Sequence[str],
    heats: Sequence[float],
    seeds: Sequence[int],
    length: int,
    logprobs: LogProbs | None = None,
) -> list[dict[str, Any]]:
    """One row a prompt: `prompt_id, prompt, output, temperature, seed, tokens, stopped, repetition, distinct_2`.

    Each prompt follows an end-of-text, as documents do in training. `stopped`: the model ended the text itself.
    With `logprobs` also `logprobs`, log p of each token of the output at temperature 1, and `logprob`, their mean.
    `repetition` and `distinct_2` are shares of the output's 4-grams and 2-grams of tokens, None where it has none.
    """
    if not prompts:
        return []
    stop = tokenizer.end_of_text_id
    starts = [np.concatenate([[stop], ids]).astype(np.int64) for ids in tokenizer.encode(list(prompts))]
    outputs = generate(starts, length, list(heats), list(seeds))
    assert len(outputs) == len(starts), (len(outputs), len(starts))
    written = [_until(output, stop) for output in outputs]
    rows: list[dict[str, Any]] = [
        {
            "prompt_id": at,
            "prompt": prompt,
            "output": tokenizer.decode(ids),
            "temperature": heats[at],
            "seed": seeds[at],
            "tokens": len(ids),
            "stopped": len(ids) < length,
            "repetition": repetition(ids),
            "distinct_2": distinct(ids),
        }
        for at, (prompt, ids) in enumerate(zip(prompts, written, strict=True))
    ]
    if logprobs is not None:
        for row, found in zip(rows, _judged(logprobs, starts, written, stop), strict=True):
            row["logprobs"] = [round(float(p), 4) for p in found]
            row["logprob"] = float(found.mean()) if len(found) else None
    return rows


def _until(output: np.ndarray, stop: int) -> list[int]:
    """The ids before the first stop."""
    ids = [int(token) for token in output]
    return ids[: ids.index(stop)] if stop in ids else ids


def _judged(
    logprobs: LogProbs, starts: Sequence[np.ndarray], written: Sequence[list[int]], padding: int
) -> list[np.ndarray]:
    """log p of each written token, text by text: one pass over all, padded on the right, which no text sees."""
    whole = [np.concatenate([start, np.array(ids, np.int64)]) for start, ids in zip(starts, written, strict=True)]
    if not any(written):
        return [np.zeros(0) for _ in written]
    ids_BT = np.full((len(whole), max(map(len, whole))), padding, np.int64)
    for row, ids in zip(ids_BT, whole, strict=True):
        row[: len(ids)] = ids
    found = logprobs(ids_BT)
    return [row[len(start) - 1 : len(ids) - 1] for row, start, ids in zip(found, starts, whole, strict=True)]


def repetition(ids: Sequence[int], n: int = 4) -> float | None:
    """Share of n-grams that occurred before in the same text: 0 is none, near 1 is a loop; None if it is too short.

    >>> repetition([7, 7, 7, 7, 7])
    0.5
    """
    unique = distinct(ids, n)
    return None if unique is None else 1 - unique


def distinct(ids: Sequence[int], n: int = 2) -> float | None:
    """Share of different n-grams among all n-grams (Li et al., arXiv 1510.03055); None if the text is too short."""
    grams = [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None
