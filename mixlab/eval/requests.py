"""Requests as token ids: a task's contexts and continuations, tokenised once and kept by (suite hash, tokenizer hash).

Two conventions, which give different numbers; an empty context is end-of-text in both. `lm-eval`: white space at a
context's end moves to the continuation, which is what encode(context + continuation) holds beyond the length of
encode(context). `foundry`: white space at a context's end goes, both are encoded apart, and a continuation begins with
a space where the tokenizer has one token for " a". Reads and writes one .npz a task and tokenizer.
"""

import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mixlab.eval.suites import Task


class Encoder(Protocol):
    """The part of a tokenizer that requests need."""

    @property
    def end_of_text_id(self) -> int: ...  # noqa: D102
    @property
    def splits_at_spaces(self) -> bool: ...  # noqa: D102
    def encode(self, texts: list[str], /) -> list[np.ndarray]: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """Pairs of token ids (context, continuation), one a choice: item by item, then the choices alone if asked for."""

    contexts: tuple[np.ndarray, ...]
    """int64, at least one id each."""
    continuations: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Ids that fit the model, of which the last `scored` are scored, and the request they belong to."""

    request: int
    ids: np.ndarray
    scored: int


def tokenise(task: Task, words: Encoder, tokenizer_hash: str, folder: Path | None = None) -> Requests:
    """The requests of a task; read from `folder` if they were tokenised before, kept there if not."""
    kept = folder / f"{task.suite_hash}-{task.prompt_hash}-{tokenizer_hash}.npz" if folder else None
    if kept is not None and kept.exists():
        found = _read(kept)
        if found is not None:
            return found
    is_apart = task.spec.convention == "foundry"
    told = [(a.contexts, a.item.choices if is_apart else a.continuations) for a in task.asked]
    pairs = [pair for contexts, after in told for pair in zip(contexts, after, strict=True)]
    if task.spec.unconditional:
        pairs += [("", choice) for asked in task.asked for choice in asked.item.choices]
    requests = (encode_apart if is_apart else encode_pairs)(pairs, words)
    if kept is not None:
        _write(kept, requests)
    return requests


def encode_pairs(pairs: Sequence[tuple[str, str]], words: Encoder) -> Requests:
    """Token ids of (context, continuation) pairs; white space at a context's end moves to the continuation.

    Where a continuation begins a word and the tokenizer splits there, it is encoded alone: the same ids in a third of
    the time, as contexts are most of the text.
    """
    asked: list[tuple[str, str, bool]] = []
    for context, continuation in pairs:
        kept = context.rstrip()
        moved = context[len(kept) :] + continuation
        is_word = moved[:1] == " " and not moved[1:2].isspace() and len(moved) > 1
        asked.append((kept, moved, bool(kept) and is_word and words.splits_at_spaces))
    texts = [context for context, _, _ in asked if context]
    texts += [moved if is_alone else context + moved for context, moved, is_alone in asked]
    distinct = list(dict.fromkeys(texts))
    ids = {text: np.asarray(found, np.int64) for text, found in zip(distinct, words.encode(distinct), strict=True)}
    start = np.array([words.end_of_text_id], np.int64)
    return Requests(
        contexts=tuple(ids[context] if context else start for context, _, _ in asked),
        continuations=tuple(
            ids[moved] if is_alone else ids[context + moved][len(ids[context]) if context else 0 :]
            for context, moved, is_alone in asked
        ),
    )


def encode_apart(pairs: Sequence[tuple[str, str]], words: Encoder) -> Requests:
    """Token ids of (context, continuation) pairs as LLM Foundry has them: encoded apart, with one space between."""
    space = " " if len(words.encode([" a"])[0]) == 1 else ""
    start = np.array([words.end_of_text_id], np.int64)
    contexts = [context.rstrip() for context, _ in pairs]
    distinct = list(dict.fromkeys(context for context in contexts if context))
    ids = dict(zip(distinct, words.encode(distinct), strict=True))
    after = words.encode([("" if not c or text.startswith(" ") else space) + text for c, text in pairs])
    return Requests(
        contexts=tuple(np.asarray(ids[context], np.int64) if context else start for context in contexts),
        continuations=tuple(np.asarray(one, np.int64) for one in after),
    )


def pieces(context: np.ndarray, continuation: np.ndarray, max_len: int, request: int) -> Iterator[Piece]:
    """What goes into a model that reads `max_len` ids: the end of a long context; a long continuation in windows.

    One id more than `max_len` is in a piece, the last target; as lm-eval cuts where the continuation fits.
    """
    ids, at = np.concatenate([context, continuation]), len(context)
    while at < len(ids):
        end = min(at + max_len, len(ids))
        yield Piece(request, ids[max(0, end - max_len - 1) : end], end - at)
        at = end


def is_cut(context: np.ndarray, continuation: np.ndarray, max_len: int) -> bool:
    """True if a request does not fit the model as a whole: it is over-length, and counted."""
    return len(context) + len(continuation) > max_len + 1


def _write(path: Path, requests: Requests) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    both = [*requests.contexts, *requests.continuations]
    try:
        with open(tmp, "wb") as f:
            np.savez(f, ids=np.concatenate(both), sizes=np.array([len(ids) for ids in both], np.int64))
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)


def _read(path: Path) -> Requests | None:
    """The requests in a file; None if it is damaged: they are then tokenised again."""
    try:
        with np.load(path) as told:
            ids, sizes = told["ids"], told["sizes"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    both = np.split(ids, np.cumsum(sizes)[:-1])
    half = len(both) // 2
    return Requests(contexts=tuple(both[:half]), continuations=tuple(both[half:]))
