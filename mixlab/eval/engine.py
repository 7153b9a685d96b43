"""Log-likelihoods of requests, fast: sorted, packed to a token budget, shared contexts once, the head where it scores.

Knows a model as something with `hidden` and `logits` (mixlab's MPT fits), not its class. Reads and writes nothing. The
batch composition changes no score by more than 1e-5 in fp32: log-softmax is in fp32 and padding is never seen.
"""

# B rows, T ids of a row, M scored positions, D d_model, V vocab, G contexts, R requests, C ids of a context

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mixlab.eval.requests import Piece, Requests, is_cut, pieces

BATCH_TOKENS = {"cpu": 4096, "cuda": 131_072}
"""Ids per forward pass, padding included."""
HEAD_ELEMENTS = {"cpu": 2**22, "cuda": 2**28}
"""Logits per block of the output head: 16 MB and 1 GB of float32."""
LEAST_SHARED = 4
"""Ids of a context from which scoring it once pays for a second pass."""


class Body(Protocol):
    """The part of a language model that scoring needs."""

    training: bool

    @property
    def device(self) -> torch.device: ...  # noqa: D102
    def hidden(self, ids_BT: Tensor, doc_ids_BS: Tensor | None = None, cache: Any = None) -> Tensor: ...  # noqa: D102
    def logits(self, x_BTD: Tensor) -> Tensor: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What a model gives the requests, index by index."""

    logliks: np.ndarray
    """(R,) float64: sums in nats; not finite where the model diverged."""
    greedy: np.ndarray
    """(R,) bool: every token of the continuation is the likeliest one."""
    least: np.ndarray
    """(R,) float64: the smallest log-probability of a token of the continuation."""
    truncated: np.ndarray
    """(R,) bool: longer than the model reads; the end was scored."""
    tokens: int
    """Ids fed to the model."""


@torch.no_grad()
def score_requests(model: Body, requests: Requests, max_len: int, batch_tokens: int | None = None) -> Scored:
    """Sums of log p(continuation | context) for every request; equal requests are scored once."""
    n = len(requests.contexts)
    budget = batch_tokens or BATCH_TOKENS.get(model.device.type, 4096)
    found = _Sums(n)
    cut = [is_cut(c, t, max_len) for c, t in zip(requests.contexts, requests.continuations, strict=True)]
    first = _first_alike(requests)
    groups: dict[bytes, list[int]] = {}
    singles: list[Piece] = []
    for r in sorted(set(first)):
        if cut[r] or len(requests.contexts[r]) < LEAST_SHARED:
            singles += pieces(requests.contexts[r], requests.continuations[r], max_len, r)
        else:
            groups.setdefault(requests.contexts[r].tobytes(), []).append(r)
    shared = [rs for rs in groups.values() if len(rs) > 1]
    for rs in groups.values():
        if len(rs) == 1:
            singles += pieces(requests.contexts[rs[0]], requests.continuations[rs[0]], max_len, rs[0])
    was_training = model.training
    model.train(False)
    for batch in _batches(singles, budget):
        _score_rows(model, batch, found)
    for batch in _group_batches(shared, requests, budget):
        _score_shared(model, batch, requests, found)
    model.train(was_training)
    index = np.array(first, np.int64)
    return Scored(
        logliks=found.logliks[index],
        greedy=found.greedy[index],
        least=found.least[index],
        truncated=np.array(cut, np.bool_),
        tokens=found.tokens,
    )


class _Sums:
    """Sums per request while batches come in."""

    def __init__(self, n: int):
        self.logliks, self.least = np.zeros(n), np.zeros(n)
        self.greedy = np.ones(n, np.bool_)
        self.tokens = 0

    def add(self, requests: np.ndarray, logprobs: np.ndarray, greedy: np.ndarray) -> None:
        """Adds one log-probability a position; `requests` tells whose it is."""
        np.add.at(self.logliks, requests, logprobs)
        with np.errstate(invalid="ignore"):  # NaN stays NaN, which is meant
            np.minimum.at(self.least, requests, logprobs)
        np.logical_and.at(self.greedy, requests, greedy)


def _first_alike(requests: Requests) -> list[int]:
    """For each request the first one with the same ids."""
    seen: dict[tuple[bytes, bytes], int] = {}
    return [
        seen.setdefault((c.tobytes(), t.tobytes()), r)
        for r, (c, t) in enumerate(zip(requests.contexts, requests.continuations, strict=True))
    ]


def _batches(todo: Sequence[Piece], budget: int) -> Iterator[list[Piece]]:
    """Pieces, longest first, in batches whose padded size stays within the budget (or is one piece)."""
    batch: list[Piece] = []
    for piece in sorted(todo, key=lambda p: -len(p.ids)):
        if batch and (len(batch) + 1) * (len(batch[0].ids) - 1) > budget:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _score_rows(model: Body, batch: Sequence[Piece], found: _Sums) -> None:
    """One forward pass over whole rows, padded on the right, which a causal model does not see."""
    width = max(len(p.ids) for p in batch)
    ids_BT = np.zeros((len(batch), width), np.int64)
    for b, piece in enumerate(batch):
        ids_BT[b, : len(piece.ids)] = piece.ids
    rows = np.repeat(np.arange(len(batch)), [p.scored for p in batch])
    targets = np.concatenate([np.arange(len(p.ids) - p.scored, len(p.ids)) for p in batch])
    x_BTD = model.hidden(_to(ids_BT[:, :-1], model))
    x_MD = x_BTD[_to(rows, model), _to(targets - 1, model)]
    logprobs, greedy = _head(model, x_MD, _to(ids_BT[rows, targets], model))
    found.add(np.array([p.request for p in batch])[rows], logprobs, greedy)
    found.tokens += ids_BT[:, :-1].size


def _group_batches(groups: Sequence[list[int]], requests: Requests, budget: int) -> Iterator[list[list[int]]]:
    """Groups of requests with one context, longest first; contexts and continuations each stay within the budget."""
    longest = {id(g): max(len(requests.continuations[r]) for r in g) for g in groups}
    batch: list[list[int]] = []
    width = wide = rows = 0
    for group in sorted(groups, key=lambda g: (-len(requests.contexts[g[0]]), -longest[id(g)])):
        context = len(requests.contexts[group[0]])
        wider, more = max(wide, longest[id(group)]), rows + len(group)
        if batch and max((len(batch) + 1) * width, more * (wider + width // 4)) > budget:
            yield batch
            batch, wider, more = [], longest[id(group)], len(group)
        if not batch:
            width = context
        batch.append(group)
        wide, rows = wider, more
    if batch:
        yield batch


def _score_shared(model: Body, batch: Sequence[list[int]], requests: Requests, found: _Sums) -> None:
    """Contexts once, padded on the left; then each continuation after the keys of its context."""
    contexts = [requests.contexts[g[0]] for g in batch]
    width = max(map(len, contexts))
    ids_GC, docs_GC = np.zeros((len(batch), width), np.int64), np.zeros((len(batch), width), np.int64)
    for g, ids in enumerate(contexts):
        ids_GC[g, width - len(ids) :] = ids
        docs_GC[g, width - len(ids) :] = 1
    is_even = bool(docs_GC.all())
    cache: list[tuple[Tensor, Tensor]] = []
    last_GD = model.hidden(_to(ids_GC, model), None if is_even else _to(docs_GC, model), cache)[:, -1]
    of = np.repeat(np.arange(len(batch)), [len(g) for g in batch])
    rs = np.array([r for g in batch for r in g])
    firsts = np.array([requests.continuations[r][0] for r in rs])
    logprobs, greedy = _head(model, last_GD[_to(of, model)], _to(firsts, model))
    found.add(rs, logprobs, greedy)
    found.tokens += ids_GC.size
    longer = np.array([len(requests.continuations[r]) > 1 for r in rs])
    if longer.any():
        _continue(model, rs[longer], of[longer], requests, cache, None if is_even else docs_GC, found)


def _continue(
    model: Body,
    rs: np.ndarray,
    of: np.ndarray,
    requests: Requests,
    cache: list[tuple[Tensor, Tensor]],
    docs_GC: np.ndarray | None,
    found: _Sums,
) -> None:
    """The tokens of continuations after their first, each row after the keys of its context `of`."""
    lengths = np.array([len(requests.continuations[r]) - 1 for r in rs])
    ids_BT, targets_BT = np.zeros((len(rs), lengths.max()), np.int64), np.zeros((len(rs), lengths.max()), np.int64)
    for b, r in enumerate(rs):
        ids_BT[b, : lengths[b]] = requests.continuations[r][:-1]
        targets_BT[b, : lengths[b]] = requests.continuations[r][1:]
    index = _to(of, model)
    taken = [(k.index_select(0, index), v.index_select(0, index)) for k, v in cache]
    docs = None
    if docs_GC is not None:
        docs = _to(np.concatenate([docs_GC[of], np.ones_like(ids_BT)], 1), model)
    x_BTD = model.hidden(_to(ids_BT, model), docs, taken)
    rows = np.repeat(np.arange(len(rs)), lengths)
    at = np.concatenate([np.arange(n) for n in lengths])
    logprobs, greedy = _head(model, x_BTD[_to(rows, model), _to(at, model)], _to(targets_BT[rows, at], model))
    found.add(rs[rows], logprobs, greedy)
    found.tokens += ids_BT.size


def _head(model: Body, x_MD: Tensor, targets_M: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(log p of each target, whether it is the likeliest), a block of rows at a time; fp32."""
    logprobs, greedy = [], []
    size = 1
    at = 0
    while at < len(x_MD):
        logits_MV = model.logits(x_MD[at : at + size]).float()
        size_next = max(1, HEAD_ELEMENTS.get(x_MD.device.type, 2**22) // logits_MV.shape[1])
        targets_M1 = targets_M[at : at + size, None]
        chosen_M1, top_M1 = logits_MV.gather(1, targets_M1), logits_MV.amax(1, keepdim=True)
        total_M1 = logits_MV.sub_(top_M1).exp_().sum(1, keepdim=True)
        logprobs.append((chosen_M1 - top_M1 - total_M1.log())[:, 0])
        greedy.append((chosen_M1 >= top_M1)[:, 0])
        at, size = at + size, size_next
    return torch.cat(logprobs).double().cpu().numpy(), torch.cat(greedy).cpu().numpy()


def _to(values: np.ndarray, model: Body) -> Tensor:
    """An int64 tensor where the model is."""
    return torch.from_numpy(np.ascontiguousarray(values, np.int64)).to(model.device)
