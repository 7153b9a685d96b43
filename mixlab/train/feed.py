"""What the loop asks of a loader, and what it takes from one: ids that the model knows, a rank's rows, documents; and
the gradient of what it took.

Reads and writes nothing.
"""

# B batch, T sequence

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mixlab.errors import ConfigError
from mixlab.model.mpt import MPT
from mixlab.seeds import seed_of
from mixlab.train.ranks import Ranks
from mixlab.types import TrainSpec


class Batches(Protocol):
    """What the loop asks of a loader; batch(step) depends on step alone."""

    @property
    def steps(self) -> int:
        """Optimizer steps in the run."""
        ...

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids int64 (B, T) of this step, and the source index of each row (B,).

        For several ranks also batch(step, rank, ranks): that rank's rows.
        """
        ...

    def ledger(self, step: int) -> Mapping[str, Any]:
        """What has been drawn from each source before this step: dataclasses or JSON."""
        ...


def size_of_step(model: MPT, loader: Batches, spec: TrainSpec) -> tuple[int, int]:
    """Tokens and rows of the first batch; refuses a loader or a micro-batch that does not fit."""
    if loader.steps < 1:
        raise ConfigError(f"train.tokens={spec.tokens} is less than one batch of {spec.batch_tokens} tokens.")
    if spec.save_every_tokens < 1:
        raise ConfigError(f"train.save_every_tokens={spec.save_every_tokens} must be at least 1.")
    ids_BT = checked(loader.batch(0)[0], model)
    seq_len = ids_BT.shape[1]
    if spec.micro_batch_tokens is not None and spec.micro_batch_tokens < seq_len:
        raise ConfigError(f"train.micro_batch_tokens={spec.micro_batch_tokens} is less than one sequence ({seq_len}).")
    return ids_BT.size, len(ids_BT)


def checked(ids_BT: np.ndarray, model: MPT) -> np.ndarray:
    """The batch, if the model's embedding has a row for each of its tokens."""
    if ids_BT.max() >= model.spec.vocab_size or ids_BT.min() < 0:
        raise ConfigError(
            f"a batch holds token {ids_BT.max()}, but model.vocab_size={model.spec.vocab_size}. Set it to the "
            "tokenizer's size."
        )
    return ids_BT


def rows_of(serve: Callable[..., Any], step: int, ranks: Ranks) -> Any:
    """What a loader serves this rank at a step; alone it is asked for the whole batch."""
    return serve(step) if ranks.ranks == 1 else serve(step, ranks.rank, ranks.ranks)


def documents(loader: Batches, step: int, ranks: Ranks) -> Tensor:
    """Document of each token (B, T), which only a loader that knows where documents end can tell."""
    doc_ids = getattr(loader, "doc_ids", None)
    if doc_ids is None:
        raise ConfigError("model.attn_uses_sequence_id=true needs a loader with `doc_ids`; this one has none.")
    return torch.as_tensor(rows_of(doc_ids, step, ranks))


def accumulate(model: MPT, loader: Batches, spec: TrainSpec, ids_BT: Tensor, step: int, ranks: Ranks) -> Tensor:
    """Leaves the gradient of these rows' mean loss in the parameters; returns the mean nats per token."""
    rows = len(ids_BT)
    if spec.micro_batch_tokens is not None:
        rows = max(1, spec.micro_batch_tokens // ids_BT.shape[1])
    docs_BT = documents(loader, step, ranks).to(model.device) if model.spec.attn_uses_sequence_id else None
    mean = torch.zeros((), device=model.device)
    for i, part_BT in enumerate(torch.split(ids_BT.to(model.device), rows)):
        if model.spec.resid_pdrop:
            seed = seed_of(model.seed, "dropout", step, i, ranks.rank)  # so that a resumed run drops the same units
            torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]  # torch does not type its arguments
        docs = None if docs_BT is None else docs_BT[i * rows : (i + 1) * rows]
        with torch.autocast(model.device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
            loss, nats = model.losses(part_BT, docs, spec.z_loss)
        share = len(part_BT) / len(ids_BT)
        torch.autograd.backward(loss * share)
        mean += nats.detach() * share
    return mean
