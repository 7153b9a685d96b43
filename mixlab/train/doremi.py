"""DoReMi's weights: group DRO on a small model (Xie et al., arXiv 2305.10429), as a baseline to compare advice with.

A proxy is trained on batches drawn alike from every source; a source on which it lags behind a reference model gains
weight in the loss. The answer is the mean of those weights over the steps. As its equation 1 says, the excess of a
token is cut off at 0 before it is averaged.
"""

# B batch, T sequence

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mixlab.model.mpt import MPT
from mixlab.train.loader import Loader
from mixlab.train.optim import apply_step, make_optimizer, set_lr
from mixlab.train.rates import learning_rate
from mixlab.types import TrainSpec

STEP_SIZE, SMOOTHING = 1.0, 1e-3  # eta and c of the paper's algorithm 1


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupDRO:
    """What the search found."""

    weights: dict[str, float]
    """Source -> mean weight over the steps."""
    trace: list[list[float]]
    """Weights after each step, sources in the plan's order."""


def group_dro(proxy: MPT, reference: MPT, loader: Loader, spec: TrainSpec) -> GroupDRO:
    """Trains `proxy` in place against a trained `reference`; the loader's plan should draw from every source alike."""
    sources = [d.source for d in loader.plan.draws]
    optimizer = make_optimizer(proxy, spec)
    weights = np.full(len(sources), 1 / len(sources))
    trace: list[list[float]] = []
    proxy.train()
    reference.eval()
    per_step = loader.plan.tokens // loader.steps
    for step in range(loader.steps):
        set_lr(optimizer, learning_rate(spec, step * per_step, loader.plan.tokens))
        ids_BT, source_B = loader.batch(step)
        parts = {s: torch.as_tensor(ids_BT[source_B == s]) for s in np.unique(source_B).tolist()}
        weights = _moved(weights, {s: _excess(proxy, reference, part) for s, part in parts.items()})
        loss = torch.zeros(())
        for s, part in parts.items():
            loss = loss + float(weights[s]) * proxy.losses(part)[0]
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(proxy.parameters(), spec.grad_clip or float("inf"))
        apply_step(proxy, optimizer, (~torch.isfinite(loss)).float(), 0.0)
        trace.append(weights.tolist())
    mean = np.mean(trace, axis=0)
    return GroupDRO(weights=dict(zip(sources, (mean / mean.sum()).tolist(), strict=True)), trace=trace)


def _moved(weights: np.ndarray, excess: dict[int, float]) -> np.ndarray:
    """Weights after one step: up by the exponent of the excess, then smoothed towards the even mix.

    >>> _moved(np.array([0.5, 0.5]), {0: 0.0, 1: 1.0}).round(3).tolist()
    [0.269, 0.731]
    """
    rise = np.array([excess.get(s, 0.0) for s in range(len(weights))])
    raised = weights * np.exp(STEP_SIZE * (rise - rise.max()))
    return (1 - SMOOTHING) * raised / raised.sum() + SMOOTHING / len(weights)


@torch.no_grad()
def _excess(proxy: MPT, reference: MPT, ids_BT: torch.Tensor) -> float:
    """Mean nats per token by which the proxy is behind the reference, never below 0 for any token."""
    return float((proxy.nats(ids_BT) - reference.nats(ids_BT)).clamp(min=0).mean())
