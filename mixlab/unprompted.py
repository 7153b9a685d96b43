"""Unprompted samples of a run: do they betray the mix it was meant to see, loops, or copied text?

Part of every final evaluation (evals.unprompted samples); `mixlab runs samples` draws more of them later. Reads a
model, its corpora and tokenizer; writes unprompted.jsonl (the samples) and appends scores of the task `samples` to
scores.jsonl: the share of each source against its weight, repetition, distinct-2, end-of-text rate, nats per token, and
the share of words copied (13-grams) from the training sources.
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
from mixlab.eval import copying, generation, origin, samples
from mixlab.model.generate import generate
from mixlab.model.mpt import MPT, token_logprobs
from mixlab.types import Corpus
from mixlab.workspace import Workspace, append_lines, disk_errors, read_json, read_lines

TASK = "samples"
LENGTH = 64
"""Tokens of a sample: unigrams tell sources apart at this length."""


def audit(run: Path, ws: Workspace, count: int = 64, *, copied: bool = True) -> dict[str, Any]:
    """Draws `count` samples from a finished run and tells what they are made of; see `look`. MissingError if it has not
    finished."""
    sitter = exam.sitter(run, ws)
    words, model = tokenizer.load(sitter.words), exam.model_of(sitter, sitter.steps)
    corpora = {n: shards.open_corpus(ws.artefact("tokens", n, k)) for n, k in sorted(sitter.told["corpora"].items())}
    about = {"step": sitter.steps, "tokens": sitter.tokens}
    return look(run, model, words, corpora, sitter.told["seed"], about, count, copied=copied)


def once(run: Path, ws: Workspace) -> dict[str, Any]:
    """What the last audit of a finished run found; made now if there was none."""
    rows = [row for row in read_lines(run / "scores.jsonl") if row["task"] == TASK]
    last = {row["metric"]: row for row in rows if row["step"] == max(r["step"] for r in rows)}
    if not last:
        return audit(run, ws)
    shares = {name.removeprefix("share/"): row["detail"] for name, row in last.items() if name.startswith("share/")}
    metrics = {name: last[name]["value"] if name in last else None for name in METRICS}
    seconds = next((last[name]["detail"].get("seconds") for name in METRICS if name in last), None)
    count = max(last[f"share/{name}"]["n"] for name in shares)
    told = {"run_id": run.name, "samples": count, "shares": shares, "seconds": seconds}
    return told | {"metrics": metrics}


def look(
    run: Path,
    model: MPT,
    words: tokenizer.Tokenizer,
    corpora: Mapping[str, Corpus],
    seed: int,
    about: Mapping[str, int],
    count: int,
    *,
    copied: bool = True,
) -> dict[str, Any]:
    """Draws `count` samples from nothing at temperature 1 and writes what they are made of; `about`: step and tokens.

    `copied`: search the training tokens for their 13-grams. Returns `shares` (source -> intended, realised, stderr,
    told_right), `metrics`, and `seconds`, what it took.
    """
    began = time.monotonic()
    seeds = [seed * 1_000_003 + n for n in range(count)]
    write = functools.partial(generate, model, stop_id=words.end_of_text_id)
    logprobs = functools.partial(token_logprobs, model)
    rows = samples.answers(write, words, [""] * count, [1.0] * count, seeds, LENGTH, logprobs)
    ids = words.encode([row["output"] for row in rows])
    who = origin.learn({n: shards.token_array(c) for n, c in corpora.items()}, words.vocab_size)
    held = {n: shards.heldout(c).tokens for n, c in corpora.items()}
    shares = _shares(who, rows, ids, _intended(run), origin.told_right(who, held, LENGTH))
    if copied:
        found = generation.copied_share([row["output"] for row in rows], _near(ids, corpora, words))
        for row, share in zip(rows, found, strict=True):
            row["copied"] = share
    metrics = {name: _mean([row.get(name) for row in rows]) for name in METRICS}
    seconds, stamp = round(time.monotonic() - began, 3), {**about, "ts": time.time()}
    scores = [_score(f"share/{n}", s["realised"], s["stderr"], count, s) for n, s in shares.items()]
    cost = {"seconds": seconds}
    scores += [_score(n, value, error, size, cost) for n, (value, error, size) in metrics.items() if size]
    with disk_errors(run):
        (run / "unprompted.jsonl").unlink(missing_ok=True)
        append_lines(run / "unprompted.jsonl", [{**stamp, **row} for row in rows])
        append_lines(run / "scores.jsonl", [{**stamp, **score} for score in scores])
    told = {"run_id": run.name, "samples": count, "shares": shares, "seconds": seconds}
    return told | {"metrics": {n: m[0] for n, m in metrics.items()}}


METRICS = ("repetition", "distinct_2", "stopped", "logprob", "copied")
"""Of samples: share of repeated 4-grams, of different 2-grams, ended by the model, mean log p of a token, copied."""


def _intended(run: Path) -> dict[str, float]:
    """Source -> its share of the tokens that the run was planned to draw, over all its phases."""
    drawn = {d["source"]: d["tokens"] for d in read_json(run / "plan.json")["draws"]}
    return {source: tokens / sum(drawn.values()) for source, tokens in drawn.items()}


def _shares(
    who: origin.Origin,
    rows: Sequence[dict[str, Any]],
    ids: Sequence[np.ndarray],
    weights: Mapping[str, float],
    right: Mapping[str, float | None],
) -> dict[str, dict[str, float | None]]:
    """Source -> its weight, its share of the samples with a standard error, and how often it is told right."""
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


def _near(ids: Sequence[np.ndarray], corpora: Mapping[str, Corpus], words: tokenizer.Tokenizer) -> Iterator[str]:
    """The pieces of training documents that may hold what a sample copied."""
    texts = [of.tolist() for of in ids]
    for corpus in corpora.values():
        tokens, ends = shards.token_array(corpus), np.asarray(shards.document_ends(corpus))
        for start, end in copying.stretches(texts, tokens, ends, 2 * LENGTH):
            yield words.decode(tokens[start:end])


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
