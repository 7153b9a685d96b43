"""Longer than trained: bits per byte at 1, 2, 4 and 8 times the length a model was trained at, on the same documents.

ALiBi's claim is that they do not rise. Part of every final evaluation, over few documents; `mixlab runs lengths` asks
again over more. Only documents longer than the training length can tell, so no others are read. Reads a run's
checkpoint and the held-out documents of its corpora; writes nothing.
"""

import functools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mixlab.config import convert
from mixlab.data import shards, tokenizer
from mixlab.errors import MissingError
from mixlab.eval import evaluate
from mixlab.eval.evaluate import Chosen, HeldoutDocs
from mixlab.eval.scoring import ratio
from mixlab.model.attention import memory
from mixlab.model.mpt import MPT, token_logprobs
from mixlab.results.listing import trained_here
from mixlab.train.checkpoint import load_weights
from mixlab.types import ModelSpec, Score
from mixlab.workspace import Workspace

logger = logging.getLogger(__name__)
FACTORS = (1, 2, 4, 8)
WINDOWS = 16  # windows of the training length, a source: 4 lengths of them cost less than the final bits per byte do
MAX_BIAS_BYTES = 2 << 30  # ALiBi as a tensor, heads x T x T float32, which exams need; or a tenth of a GPU's memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """Scores of one run with windows of one length."""

    factor: int
    seq_len: int
    long_docs: int
    """Documents that fill a window of this length: with none of them, a longer window can show nothing."""
    bpb: dict[str, float | None]
    """Source or `macro` -> bits per byte, over the same documents at every length."""


def by_length(run: Path, ws: Workspace, max_tokens: int = 65_536) -> list[Length]:
    """One entry per factor, shortest first, over at most `max_tokens` held-out tokens a source.

    Raises MissingError for a run that has not finished, or without a document longer than its training length.
    """
    if not (run / "done.json").exists():
        raise MissingError(f"{run.name} has not finished: run its command again first.")
    told = trained_here(run)
    model = MPT(convert(ModelSpec, told["spec"]["model"], "model")).eval()
    load_weights(run, model)
    words = tokenizer.load(ws.root / "tokenizer" / told["tokenizer"])
    corpora = {name: shards.open_corpus(ws.artefact("tokens", name, key)) for name, key in told["corpora"].items()}
    held = {name: shards.heldout(corpus) for name, corpus in corpora.items()}
    scores = length_scores(model, held, words.end_of_text_id, max_tokens)
    if not scores:
        raise MissingError(
            f"{run.name} was trained at {model.spec.max_seq_len} tokens, and no held-out document is longer: "
            "there is nothing to read beyond it."
        )
    found = dict[int, Length]()
    for score in scores:
        factor, source = score.detail["factor"], score.task.removeprefix("length/")
        seq_len, long_docs = score.detail["seq_len"], score.detail["long_docs"]
        bpb = {**(found[factor].bpb if factor in found else {}), source: score.value}
        found[factor] = Length(factor=factor, seq_len=seq_len, long_docs=long_docs, bpb=bpb)  # the last one is macro's
    return list(found.values())


def length_scores(
    model: MPT, heldout: Mapping[str, HeldoutDocs], end_of_text_id: int, max_tokens: int | None = None
) -> list[Score]:
    """Scores `length/<source>` and `length/macro`, metrics `bpb_1x` to `bpb_8x`; none without a long document.

    At most `max_tokens` tokens a source (None: WINDOWS training lengths), the same documents at every length. `detail`
    tells what the length costs against 1x, paired by document: `rise` in bits per byte with `rise_stderr`.
    """
    seq_len, scores = model.spec.max_seq_len, list[Score]()
    budget = WINDOWS * seq_len if max_tokens is None else max_tokens
    held = {name: _longer(docs, seq_len, budget) for name, docs in heldout.items()}
    held = {name: docs for name, docs in held.items() if docs.ids}
    if not held:
        return []
    logprobs = functools.partial(token_logprobs, model)
    first: dict[str, evaluate.DocumentScores] = {}
    for factor in FACTORS:
        if factor > 1 and _bias_bytes(model, factor) > max(MAX_BIAS_BYTES, memory(model.device) // 10):
            logger.info("lengths from %d x %d on need a larger ALiBi bias than fits: left out", factor, seq_len)
            break
        found = evaluate.document_scores(logprobs, held, end_of_text_id, factor * seq_len)
        first = first or found
        long_docs = {name: sum(len(t) >= factor * seq_len for t in docs.tokens) for name, docs in held.items()}
        long_docs["macro"] = sum(long_docs.values())
        rises = {name: _rise(first[name], found[name]) for name in found}
        for score in evaluate.summarise(found):
            name = score.task.removeprefix("bpb/")
            told = {"factor": factor, "seq_len": factor * seq_len, "long_docs": long_docs[name], **rises.get(name, {})}
            task, metric = f"length/{name}", f"bpb_{factor}x"
            scores.append(replace(score, task=task, metric=metric, detail={**score.detail, **told}))
    return scores


def _longer(docs: HeldoutDocs, seq_len: int, budget: int) -> Chosen:
    """Of the documents longer than a window of `seq_len`, the same random ones each time, within a budget of tokens."""
    at = [i for i, tokens in enumerate(docs.tokens) if len(tokens) > seq_len]
    longer = Chosen(
        ids=[docs.ids[i] for i in at], texts=[docs.texts[i] for i in at], tokens=[docs.tokens[i] for i in at]
    )
    return evaluate.take(longer, budget)


def _rise(one: evaluate.DocumentScores, other: evaluate.DocumentScores) -> dict[str, float | None]:
    """Bits per byte that the longer window costs, and the noise of that over documents, each its own control."""
    if not (np.isfinite(one.nats).all() and np.isfinite(other.nats).all()):
        return {"rise": None, "rise_stderr": None}
    value, stderr = ratio((other.nats - one.nats) / math.log(2), one.bytes)
    return {"rise": value, "rise_stderr": stderr}


def _bias_bytes(model: MPT, factor: int) -> int:
    """Bytes of the bias that attention over windows of this length keeps: exams are sat by `sdpa`, on a GPU too."""
    return 4 * model.spec.n_heads * (factor * model.spec.max_seq_len) ** 2
