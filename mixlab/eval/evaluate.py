"""Bits per byte of held-out documents: per source and macro, exact, with the noise of having few documents.

Reads held-out documents (any object with `ids, texts, bytes, tokens`) and asks a callable for log-probabilities; it
knows no model. Writes nothing: `score_rows` and `document_rows` make the lines of a run's JSON-lines files.
Shapes: B windows of a batch, T token ids of a window.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from mixlab.errors import ConfigError
from mixlab.eval.scoring import ratio
from mixlab.seeds import seed_of
from mixlab.types import Score

VERSION = 1
"""Raised when the same model would get another score."""
LogProbs = Callable[[np.ndarray], np.ndarray]
"""(B, T) int64 token ids -> (B, T-1) float64: log p(ids[:, t+1] given ids[:, :t+1]), in nats."""
BATCH_TOKENS = 4096
"""Token ids per call, padding included; more are no faster on a CPU."""


class HeldoutDocs(Protocol):
    """Held-out documents of one source, index by index."""

    @property
    def ids(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def texts(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def tokens(self) -> Sequence[np.ndarray]: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentScores:
    """Raw sums per document of one source: what bpb, its noise and paired comparisons are made of."""

    ids: tuple[str, ...]
    nats: np.ndarray
    """(docs,) float64: minus the sum of log-probabilities of a document's tokens; not finite if the model diverged."""
    bytes: np.ndarray
    """(docs,) int64: UTF-8 bytes of the raw text."""
    tokens: np.ndarray
    """(docs,) int64: tokens scored."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some held-out documents of a source."""

    ids: list[str]
    texts: list[str]
    tokens: list[np.ndarray]


@dataclass(frozen=True, slots=True)
class _Window:
    """A piece of a document: the ids that go in, of which the last `scored` are scored."""

    source: str
    doc: int
    ids: np.ndarray
    scored: int


def domain_bpb(
    logprobs: LogProbs,
    heldout: Mapping[str, HeldoutDocs],
    end_of_text_id: int,
    seq_len: int,
    max_docs: int | None = None,
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> list[Score]:
    """Scores `bpb/<source>` by source name, then `bpb/macro`, their unweighted mean; see `summarise`."""
    return summarise(document_scores(logprobs, heldout, end_of_text_id, seq_len, max_docs, batch_tokens=batch_tokens))


def document_scores(
    logprobs: LogProbs,
    heldout: Mapping[str, HeldoutDocs],
    end_of_text_id: int,
    seq_len: int,
    max_docs: int | None = None,
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> dict[str, DocumentScores]:
    """Nats of every held-out document; each token is scored once, after end-of-text or what precedes it in its window.

    `seq_len`: positions the model reads at once; it is handed one id more, the last target. Windows are those of
    lm-eval's `loglikelihood_rolling`: the first predicts `seq_len` tokens from end-of-text on, later ones are
    right-aligned, so they read one token of context, the last one more. `max_docs`: the same random documents each
    time, chosen by a hash of their ids. Windows of all sources are sorted by length and padded on the right, which a
    causal model does not see: `batch_tokens` changes no score beyond rounding.
    """
    if seq_len < 1:
        raise ConfigError(f"seq_len is {seq_len}: a window holds at least one token.")
    chosen = {source: _by_hash(docs.ids)[:max_docs] for source, docs in sorted(heldout.items())}
    nats = {source: np.zeros(len(index)) for source, index in chosen.items()}
    windows = [
        _Window(source, at, ids, scored)
        for source, index in chosen.items()
        for at, doc in enumerate(index)
        for ids, scored in rolling_windows(np.asarray(heldout[source].tokens[doc]), end_of_text_id, seq_len)
    ]
    for batch in _batches(windows, batch_tokens):
        ids_bt = np.full((len(batch), max(len(w.ids) for w in batch)), end_of_text_id, np.int64)
        for row, window in enumerate(batch):
            ids_bt[row, : len(window.ids)] = window.ids
        found = np.asarray(logprobs(ids_bt), np.float64)
        assert found.shape == (ids_bt.shape[0], ids_bt.shape[1] - 1), (found.shape, ids_bt.shape)
        for row, window in enumerate(batch):
            end = len(window.ids) - 1
            nats[window.source][window.doc] -= found[row, end - window.scored : end].sum()
    return {source: _document_scores(heldout[source], index, nats[source]) for source, index in chosen.items()}


def take(heldout: HeldoutDocs, max_tokens: int) -> Chosen:
    """Whole documents with at most `max_tokens` tokens together: the same random ones each time.

    Goes through the documents by a hash of their ids and takes each that still fits, so very long ones are left out
    sooner than short ones; if none fits, the shortest is taken.
    """
    order, kept, left = _by_hash(heldout.ids), list[int](), max_tokens
    for at in order:
        if len(heldout.tokens[at]) <= left:
            kept.append(at)
            left -= len(heldout.tokens[at])
    kept = kept or sorted(order, key=lambda at: len(heldout.tokens[at]))[:1]
    return Chosen(
        ids=[heldout.ids[at] for at in kept],
        texts=[heldout.texts[at] for at in kept],
        tokens=[heldout.tokens[at] for at in kept],
    )


def rolling_windows(tokens: np.ndarray, end_of_text_id: int, seq_len: int) -> Iterator[tuple[np.ndarray, int]]:
    """(ids, how many of the last ids are scored) for each window of one document.

    >>> [(ids.tolist(), n) for ids, n in rolling_windows(np.array([1, 2, 3, 4, 5]), 0, seq_len=3)]
    [([0, 1, 2, 3], 3), ([2, 3, 4, 5], 2)]
    """
    if len(tokens) == 0:
        return
    first = min(seq_len, len(tokens))
    yield np.concatenate([[end_of_text_id], tokens[:first]]).astype(np.int64), first
    for start in range(first, len(tokens), seq_len):
        end = min(start + seq_len, len(tokens))
        yield tokens[end - seq_len - 1 : end].astype(np.int64), end - start


def summarise(documents: Mapping[str, DocumentScores]) -> list[Score]:
    """One Score a source and the macro mean: value in bits per byte, n in documents, raw sums in `detail`.

    The value is -sum of log-probabilities / (ln 2 * sum of bytes); its standard error treats documents as clusters.
    A source whose model gave anything not finite has value None, and then so has the macro mean. The macro standard
    error takes sources as independent. `detail["exam"]` is a hash over which documents were read, of what size: scores
    of other documents cannot be compared. ConfigError if a source has no bytes to score.
    """
    scores = [_source_score(source, documents[source]) for source in sorted(documents)]
    if not scores:
        raise ConfigError("there are no held-out documents to score: raise holdout.frac or holdout.min_docs.")
    values = [score.value for score in scores if score.value is not None]
    errors = [score.stderr for score in scores if score.stderr is not None]
    whole = len(values) == len(scores)
    totals = {name: sum(score.detail[name] for score in scores) for name in ("bytes", "tokens", "docs")}
    macro = Score(
        task="bpb/macro",
        metric="bpb",
        value=math.fsum(values) / len(scores) if whole else None,
        stderr=math.hypot(*errors) / len(scores) if whole and len(errors) == len(scores) else None,
        n=totals["docs"],
        detail={
            "nats": math.fsum(score.detail["nats"] for score in scores) if whole else None,
            **totals,
            "exam": _hash([f"{score.task} {score.detail['exam']}" for score in scores]),
        },
    )
    return [*scores, macro]


def nats_per_token(rows: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> float:
    """Of the held-out documents of these sources together, from the lines of scores.jsonl of one evaluation.

    An untrained MPT has about ln V + 1, one that knows nothing at all ln V. NaN where a source is missing.

    >>> nats_per_token([{"task": "bpb/a", "detail": {"nats": 6.0, "tokens": 2}}], ["a"])
    3.0
    """
    found = {row["task"].removeprefix("bpb/"): row["detail"] for row in rows if row["task"].startswith("bpb/")}
    if not sources or any(source not in found for source in sources):
        return math.nan
    return sum(found[s]["nats"] for s in sources) / max(1, sum(found[s]["tokens"] for s in sources))


def score_rows(scores: Sequence[Score], step: int, tokens: int, final: bool, evals_key: str) -> list[dict[str, Any]]:
    """The lines of scores.jsonl for one evaluation; `tokens` are those trained on so far."""
    about = {"step": step, "tokens": tokens, "ts": time.time()}
    return [{**about, **asdict(score), "final": final, "evals_key": evals_key} for score in scores]


def document_rows(documents: Mapping[str, DocumentScores], step: int) -> list[dict[str, Any]]:
    """The lines of documents.jsonl: raw sums per document, for paired comparisons of two runs."""
    return [
        {
            "step": step,
            "source": source,
            "id": scores.ids[at],
            "nats": _finite(scores.nats[at]),
            "bytes": int(scores.bytes[at]),
            "tokens": int(scores.tokens[at]),
        }
        for source, scores in sorted(documents.items())
        for at in range(len(scores.ids))
    ]


def _by_hash(ids: Sequence[str]) -> list[int]:
    """Indices in an order that depends on each id alone: any prefix is a random subset, the same one each time."""
    return sorted(range(len(ids)), key=lambda at: (seed_of(0, "heldout", ids[at]), ids[at]))


def _batches(windows: Sequence[_Window], batch_tokens: int) -> Iterator[list[_Window]]:
    """Windows, longest first, in batches whose padded size stays within the budget (or is one window)."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda w: -len(w.ids)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _document_scores(docs: HeldoutDocs, index: Sequence[int], nats: np.ndarray) -> DocumentScores:
    """Puts the sums of the chosen documents together."""
    return DocumentScores(
        ids=tuple(docs.ids[at] for at in index),
        nats=nats,
        bytes=np.array([len(docs.texts[at].encode()) for at in index], np.int64),
        tokens=np.array([len(docs.tokens[at]) for at in index], np.int64),
    )


def _source_score(source: str, documents: DocumentScores) -> Score:
    """bpb of one source."""
    if documents.bytes.sum() == 0:
        raise ConfigError(f"source '{source}' has no held-out text to score: raise holdout.frac or holdout.min_docs.")
    finite = bool(np.isfinite(documents.nats).all())
    value, stderr = ratio(documents.nats / math.log(2), documents.bytes) if finite else (None, None)
    return Score(
        task=f"bpb/{source}",
        metric="bpb",
        value=value,
        stderr=stderr,
        n=len(documents.ids),
        detail={
            "nats": math.fsum(documents.nats) if finite else None,
            "bytes": int(documents.bytes.sum()),
            "tokens": int(documents.tokens.sum()),
            "docs": len(documents.ids),
            "exam": _hash([f"{n} {i}" for i, n in zip(documents.ids, documents.bytes.tolist(), strict=True)]),
        },
    )


def _hash(parts: Sequence[str]) -> str:
    """8 hex digits over texts in any order."""
    return hashlib.sha256("\0".join(sorted(parts)).encode()).hexdigest()[:8]


def _finite(value: float) -> float | None:
    """The number, or None where it is none."""
    return float(value) if math.isfinite(value) else None
