"""Log-probabilities of chosen tokens, for scoring: each state's logits are made once and never leave the cache.

Training has its own loss (loss.py), which needs a gradient. Reads and writes nothing.
"""

# U states, M targets, D d_model, V vocab

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

ROWS, COLUMNS = 2048, 512  # a tile of logits on a CPU: 4 MB, and the weights of its columns stay at hand; measured
NARROW, NARROW_ROWS = 4096, 256  # up to this vocabulary a tile has all of it and fewer rows: no target is looked for
GPU_ELEMENTS = 2**28  # logits per block on a GPU: 1 GB of float32
LOG2_E = math.log2(math.e)
RANGE = 70.0  # of the largest logit of a state: e^88 is the end of float32, and V of them have to fit


@torch.no_grad()
def judge(
    x_UD: Tensor, wte_VD: Tensor, at_M: Tensor, targets_M: Tensor, *, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(log p of each target, whether it is the likeliest), (M,) float32 and bool; state `at_M` judges target `M`.

    One state may judge many targets: its logits are made once.
    """
    order_M = torch.argsort(at_M, stable=True)
    at_M, targets_M = at_M[order_M], targets_M[order_M]
    judged, on_cpu = list[tuple[Tensor, Tensor]](), x_UD.device.type == "cpu"
    rows = (ROWS if len(wte_VD) > NARROW else NARROW_ROWS) if on_cpu else max(16, GPU_ELEMENTS // len(wte_VD))
    starts = torch.arange(0, len(x_UD) + rows, rows, device=at_M.device)
    for tile, (lo, hi) in enumerate(_borders(at_M, starts)):
        x, of, targets = x_UD[tile * rows : (tile + 1) * rows], at_M[lo:hi] - tile * rows, targets_M[lo:hi]
        is_plain = on_cpu and x.dtype == wte_VD.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        found = _unshifted(x, wte_VD, of, targets, scale) if is_plain else None
        judged.append(_shifted(x, wte_VD, of, targets, scale) if found is None else found)
    logprobs_M, is_top_M = (torch.cat(parts) for parts in zip(*judged, strict=True))
    back_M = torch.argsort(order_M)
    return logprobs_M[back_M], is_top_M[back_M]


def _unshifted(
    x_UD: Tensor, wte_VD: Tensor, of_M: Tensor, targets_M: Tensor, scale: float
) -> tuple[Tensor, Tensor] | None:
    """As `_shifted`, without taking the largest logit off each: two passes over them less. None out of RANGE.

    Within it a power and the sum of V of them are normal float32 numbers, and no less exact.
    """
    x_UD = x_UD if scale == 1.0 else x_UD * scale
    columns = COLUMNS if len(wte_VD) > NARROW else len(wte_VD)
    top_U, total_U = x_UD.new_full((len(x_UD),), -math.inf), x_UD.new_zeros(len(x_UD))
    chosen_M = x_UD.new_zeros(len(targets_M))
    for tile, asked_M in enumerate(_by_tile(targets_M, len(wte_VD), columns)):
        logits = linear(x_UD, wte_VD[tile * columns : (tile + 1) * columns])
        chosen_M[asked_M] = logits[of_M[asked_M], targets_M[asked_M] - tile * columns]
        top_U = torch.maximum(top_U, logits.amax(1))
        total_U += logits.exp_().sum(1)
    if not (float(top_U.max()) < RANGE and float(top_U.min()) > -RANGE):  # NaN is in no range
        return None
    return chosen_M - total_U.log()[of_M], chosen_M >= top_U[of_M]


def _shifted(x_UD: Tensor, wte_VD: Tensor, of_M: Tensor, targets_M: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Log-softmax of some states, a tile of the vocabulary at a time, so that no logit leaves the cache."""
    columns = COLUMNS if x_UD.device.type == "cpu" else len(wte_VD)
    wide = torch.promote_types(x_UD.dtype, torch.float32)
    top_U1, total_U1 = x_UD.new_full((len(x_UD), 1), -math.inf, dtype=wide), x_UD.new_zeros(len(x_UD), 1, dtype=wide)
    chosen_M = x_UD.new_zeros(len(targets_M), dtype=wide)
    for tile, asked_M in enumerate(_by_tile(targets_M, len(wte_VD), columns)):
        logits = linear(x_UD, wte_VD[tile * columns : (tile + 1) * columns]).to(wide).mul_(scale * LOG2_E)
        chosen_M[asked_M] = logits[of_M[asked_M], targets_M[asked_M] - tile * columns]
        higher_U1 = torch.maximum(top_U1, logits.amax(1, keepdim=True))
        total_U1 = total_U1 * (top_U1 - higher_U1).exp2_() + logits.sub_(higher_U1).exp2_().sum(1, keepdim=True)
        top_U1 = higher_U1
    top_M = top_U1[of_M, 0]
    return (chosen_M - top_M - total_U1[of_M, 0].log2()) / LOG2_E, chosen_M >= top_M


def _by_tile(targets_M: Tensor, vocab: int, columns: int) -> list[Any]:
    """Which targets are in each tile of the vocabulary."""
    if columns >= vocab:
        return [slice(None)]
    order_M = torch.argsort(targets_M)
    starts = torch.arange(0, vocab + columns, columns, device=targets_M.device)
    return [order_M[lo:hi] for lo, hi in _borders(targets_M[order_M], starts)][: -(-vocab // columns)]


def _borders(values_M: Tensor, starts: Tensor) -> "itertools.pairwise[tuple[int, int]]":
    """From where to where the ascending values stand that belong to each start."""
    return itertools.pairwise(torch.searchsorted(values_M, starts).numpy(force=True).tolist())
