"""Unprompted samples of a finished run: do they betray the mix it was meant to see, loops, or copied text?

Reads a run's checkpoint, its corpora and tokenizer; writes unprompted.jsonl (the samples) and appends scores of the
task `samples` to scores.jsonl: the share of each source against its weight, repetition, distinct-2, end-of-text rate,
nats per token, and the share of words copied (13-grams) from the training sources.
"""

import functools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixlab import exam
from mixlab.data import shards, tokenizer
from mixlab.eval import generation, origin, samples
from mixlab.model.generate import generate
from mixlab.model.mpt import token_logprobs
from mixlab.types import Corpus, EvalSpec
from mixlab.workspace import Workspace, append_lines, disk_errors

TASK = "samples"
LENGTH = 64
"""Tokens of a sample: unigrams tell sources apart at this length."""


def audit(run: Path, ws: Workspace, count: int = 64, *, copied: bool = True) -> dict[str, Any]:
    """Draws `count` samples from nothing at temperature 1 and tells what they are made of.

    `copied`: search all training text for their 13-grams; takes about a second per MB. Returns what it wrote: `shares`
    (source -> intended, realised, stderr, told_right) and `metrics`. MissingError if the run has not finished.
    """
    sitter = exam.sitter(run, ws)
    words, model = tokenizer.load(sitter.words), exam.model_of(sitter, sitter.steps)
    corpora = {n: shards.open_corpus(ws.artefact("tokens", n, k)) for n, k in sorted(sitter.told["corpora"].items())}
    spec, seed = EvalSpec(sample_tokens=LENGTH, temperature=1.0), sitter.told["seed"]
    seeds = [seed * 1_000_003 + n for n in range(count)]
    write = functools.partial(generate, model, stop_id=words.end_of_text_id)
    logprobs = functools.partial(token_logprobs, model)
    rows = samples.sample(
        lambda prompts, n, heat, _: write(prompts, n, heat, seeds), words, [""] * count, spec, seed, logprobs
    )
    who = origin.learn({n: shards.token_array(c) for n, c in corpora.items()}, words.vocab_size)
    held = {n: shards.heldout(c).tokens for n, c in corpora.items()}
    shares = _shares(who, rows, words, sitter.told["mixture"]["weights"], origin.told_right(who, held, LENGTH))
    if copied:
        found = generation.copied_share([row["output"] for row in rows], _texts(corpora, words))
        for row, share in zip(rows, found, strict=True):
            row["copied"] = share
    metrics = {name: _mean([row.get(name) for row in rows]) for name in METRICS}
    about = {"step": sitter.steps, "tokens": sitter.tokens, "ts": time.time()}
    scores = [_score(f"share/{n}", s["realised"], s["stderr"], count, s) for n, s in shares.items()]
    scores += [_score(n, value, error, size, {}) for n, (value, error, size) in metrics.items() if size]
    with disk_errors(run):
        (run / "unprompted.jsonl").unlink(missing_ok=True)
        append_lines(run / "unprompted.jsonl", [{**about, **row} for row in rows])
        append_lines(run / "scores.jsonl", [{**about, **score} for score in scores])
    return {"run_id": run.name, "samples": count, "shares": shares, "metrics": {n: m[0] for n, m in metrics.items()}}


METRICS = ("repetition", "distinct_2", "stopped", "logprob", "copied")
"""Of samples: share of repeated 4-grams, of different 2-grams, ended by the model, mean log p of a token, copied."""


def _shares(
    who: origin.Origin,
    rows: Sequence[dict[str, Any]],
    words: tokenizer.Tokenizer,
    weights: Mapping[str, float],
    right: Mapping[str, float | None],
) -> dict[str, dict[str, float | None]]:
    """Source -> its weight, its share of the samples with a standard error, and how often it is told right."""
    ids = words.encode([row["output"] for row in rows])
    for row, of in zip(rows, ids, strict=True):
        row["source"] = who.of(of.tolist())
    n = len(rows)
    told: dict[str, dict[str, float | None]] = {}
    for source in who.sources:
        share = sum(row["source"] == source for row in rows) / n
        noise = math.sqrt(share * (1 - share) / n)
        told[source] = {"intended": weights.get(source, 0.0), "realised": share, "stderr": noise}
        told[source]["told_right"] = right[source]
    return told


def _texts(corpora: Mapping[str, Corpus], words: tokenizer.Tokenizer) -> Iterator[str]:
    """Every training document, from its tokens."""
    for corpus in corpora.values():
        tokens, start = shards.token_array(corpus), 0
        for end in shards.document_ends(corpus):
            yield words.decode(tokens[start:end])
            start = end


def _mean(values: Sequence[Any]) -> tuple[float | None, float | None, int]:
    """(mean, standard error, how many) of what there is."""
    known = np.array([float(v) for v in values if v is not None])
    if not len(known):
        return None, None, 0
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else None
    return float(known.mean()), error, len(known)


def _score(metric: str, value: float | None, stderr: float | None, n: int, detail: Mapping[str, Any]) -> dict[str, Any]:
    row = {"task": TASK, "metric": metric, "value": value, "stderr": stderr, "n": n, "final": True}
    return {**row, "higher_is_better": metric in ("distinct_2", "logprob"), "evals_key": TASK, "detail": dict(detail)}
