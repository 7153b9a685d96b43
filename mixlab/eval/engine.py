"""Log-likelihoods of packed requests: shared beginnings once, the output head only on states that judge something.

Knows a model as something with `hidden` and `judge` (mixlab's MPT fits), not its class. Reads and writes nothing. The
batch composition changes no score by more than 1e-5 in fp32: log-softmax is in fp32 and padding is never seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mixlab.eval.packing import Batch, Packed, pack
from mixlab.eval.requests import Requests

# B rows, T ids of a row, U states, M scored positions, D d_model, R requests

BATCH_TOKENS = {"cpu": 1024, "cuda": 131_072}
"""Ids per forward pass, padding included. On a CPU small batches hold less padding (4,096 ids: 18 % more) and stay in
the cache."""


class Body(Protocol):
    """The part of a language model that scoring needs."""

    training: bool

    @property
    def device(self) -> torch.device: ...  # noqa: D102
    def hidden(self, ids_BT: Tensor, *, tree: tuple[Tensor, Tensor]) -> Tensor: ...  # noqa: D102
    def judge(self, x_UD: Tensor, at_M: Tensor, targets_M: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102
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


def score_requests(model: Body, requests: Requests, max_len: int, batch_tokens: int | None = None) -> Scored:
    """Sums of log p(continuation | context) for every request; equal requests are scored once."""
    return score_packed([model], pack(requests, max_len, batch_tokens or batch_tokens_of(model)))[0]


def batch_tokens_of(model: Body) -> int:
    """Ids per forward pass where the model is."""
    return BATCH_TOKENS.get(model.device.type, BATCH_TOKENS["cpu"])


@torch.no_grad()
def score_packed(models: Sequence[Body], packed: Packed) -> list[Scored]:
    """The same requests put to several checkpoints in one pass: each batch goes to each model in turn."""
    sums = [_Sums(len(packed.first)) for _ in models]
    were_training = [model.training for model in models]
    for model in models:
        model.train(False)
    for batch in packed.batches:
        for model, found in zip(models, sums, strict=True):
            found.add(batch.requests, *_judged(model, batch))
    for model, was_training in zip(models, were_training, strict=True):
        model.train(was_training)
    index = packed.first
    return [
        Scored(
            logliks=found.logliks[index],
            greedy=found.greedy[index],
            least=found.least[index],
            truncated=packed.truncated,
            tokens=packed.size,
        )
        for found in sums
    ]


class _Sums:
    """Sums per request while batches come in."""

    def __init__(self, n: int):
        self.logliks, self.least = np.zeros(n), np.zeros(n)
        self.greedy = np.ones(n, np.bool_)

    def add(self, requests: np.ndarray, logprobs: np.ndarray, greedy: np.ndarray) -> None:
        """Adds one log-probability a position; `requests` tells whose it is."""
        np.add.at(self.logliks, requests, logprobs)
        with np.errstate(invalid="ignore"):  # NaN stays NaN, which is meant
            np.minimum.at(self.least, requests, logprobs)
        np.logical_and.at(self.greedy, requests, greedy)


def _judged(model: Body, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(log p of each target, whether it is the likeliest), (M,) each."""
    tree = _to(batch.depths, model), _to(batch.ends, model)
    x_BTD = model.hidden(_to(batch.ids, model), tree=tree)
    x_UD = x_BTD[_to(batch.rows, model), _to(batch.cols, model)]
    logprobs_M, greedy_M = model.judge(x_UD, _to(batch.at, model), _to(batch.targets, model))
    return logprobs_M.double().cpu().numpy(), greedy_M.cpu().numpy()


def _to(values: np.ndarray, model: Body) -> Tensor:
    """An int64 tensor where the model is."""
    return torch.as_tensor(np.ascontiguousarray(values, np.int64)).to(model.device)
