"""What a checkpoint writes when it is given a prompt: text for people, with two numbers that betray a loop.

Asks a callable for continuations; writes nothing. The rows are lines of a run's samples.jsonl without step and time.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from mixlab.eval.evaluate import LogProbs
from mixlab.types import EvalSpec

Generate = Callable[[list[np.ndarray], int, float, int], list[np.ndarray]]
"""(prompts as ids, max_new_tokens, temperature, seed) -> the new ids of each prompt, up to its end-of-text."""


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
    """One row a prompt: `prompt_id, prompt, output, temperature, seed, tokens, stopped, repetition, distinct_2`.

    Each prompt follows an end-of-text, as documents do in training. `stopped`: the model ended the text itself.
    With `logprobs` also `logprobs`, log p of each token of the output at temperature 1, and `logprob`, their mean.
    `repetition` and `distinct_2` are shares of the output's 4-grams and 2-grams of tokens, None where it has none.
    """
    if not prompts:
        return []
    stop = tokenizer.end_of_text_id
    starts = [np.concatenate([[stop], ids]).astype(np.int64) for ids in tokenizer.encode(list(prompts))]
    outputs = generate(starts, spec.sample_tokens, spec.temperature, seed)
    assert len(outputs) == len(starts), (len(outputs), len(starts))
    rows: list[dict[str, Any]] = []
    for at, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        ids = [int(token) for token in output]
        ids = ids[: ids.index(stop)] if stop in ids else ids
        rows.append(
            {
                "prompt_id": at,
                "prompt": prompt,
                "output": tokenizer.decode(ids),
                "temperature": spec.temperature,
                "seed": seed,
                "tokens": len(ids),
                "stopped": len(ids) < spec.sample_tokens,
                "repetition": repetition(ids),
                "distinct_2": distinct(ids),
            }
        )
        if logprobs is not None:
            whole = np.concatenate([starts[at], np.array(ids, np.int64)])
            found = logprobs(whole[None])[0][len(starts[at]) - 1 :] if ids else np.zeros(0)
            rows[-1] |= {
                "logprobs": [round(float(p), 4) for p in found],
                "logprob": float(found.mean()) if len(found) else None,
            }
    return rows


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
