"""Longer than trained: bits per byte of a finished run at 1, 2, 4 and 8 times the length it was trained at.

ALiBi's claim is that they do not rise. Reads a run's checkpoint and the held-out documents of its corpora; writes
nothing.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from mixlab.config import convert
from mixlab.data import shards, tokenizer
from mixlab.errors import MissingError
from mixlab.eval import evaluate
from mixlab.model.mpt import MPT, token_logprobs
from mixlab.train.checkpoint import load_weights
from mixlab.types import ModelSpec
from mixlab.workspace import Workspace, read_json

FACTORS = (1, 2, 4, 8)


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

    Raises MissingError for a run that has not finished.
    """
    if not (run / "done.json").exists():
        raise MissingError(f"{run.name} has not finished: run its command again first.")
    told = read_json(run / "run.json")
    spec = convert(ModelSpec, told["spec"]["model"], "model")
    model = MPT(spec).eval()
    load_weights(run, model)
    words = tokenizer.load(ws.root / "tokenizer" / told["tokenizer"])
    corpora = {name: shards.open_corpus(ws.artefact("tokens", name, key)) for name, key in told["corpora"].items()}
    held = {name: evaluate.take(shards.heldout(corpus), max_tokens) for name, corpus in corpora.items()}
    found = []
    for factor in FACTORS:
        seq_len = factor * spec.max_seq_len
        scores = evaluate.domain_bpb(functools.partial(token_logprobs, model), held, words.end_of_text_id, seq_len)
        long_docs = sum(len(tokens) >= seq_len for docs in held.values() for tokens in docs.tokens)
        bpb = {score.task.removeprefix("bpb/"): score.value for score in scores}
        found.append(Length(factor=factor, seq_len=seq_len, long_docs=long_docs, bpb=bpb))
    return found
