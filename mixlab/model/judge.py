"""Log-probabilities of chosen tokens, for scoring: each state's logits are made once and never leave the cache.

Training has its own loss (loss.py), which needs a gradient. Reads and writes nothing.
"""

# U states, M targets, D d_model, V vocab

import math

import torch
from torch import Tensor
from torch.nn.functional import linear

ROWS, COLUMNS = 2048, 512  # a tile of logits on a CPU: 4 MB, and the weights of its columns stay at hand; measured
GPU_ELEMENTS = 2**28  # logits per block on a GPU: 1 GB of float32
LOG2_E = math.log2(math.e)


@torch.no_grad()
def judge(
    x_UD: Tensor, wte_VD: Tensor, at_M: Tensor, targets_M: Tensor, *, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(log p of each target, whether it is the likeliest), (M,) float32 and bool; state `at_M` judges target `M`.

    One state may judge many targets: its logits are made once.
    """
    order_M = torch.argsort(at_M, stable=True)
    at_M, targets_M = at_M[order_M], targets_M[order_M]
    judged = []
    rows = ROWS if x_UD.device.type == "cpu" else max(16, GPU_ELEMENTS // len(wte_VD))
    for start in range(0, len(x_UD), rows):
        lo, hi = torch.searchsorted(at_M, torch.tensor([start, start + rows], device=at_M.device)).tolist()
        of, targets = at_M[lo:hi] - start, targets_M[lo:hi]
        x = x_UD[start : start + rows]
        judged.append(_judge_tiles(x, wte_VD, of, targets, scale))
    logprobs_M, is_top_M = (torch.cat(parts) for parts in zip(*judged, strict=True))
    back_M = torch.argsort(order_M)
    return logprobs_M[back_M], is_top_M[back_M]


def _judge_tiles(x_UD: Tensor, wte_VD: Tensor, of_M: Tensor, targets_M: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Log-softmax of some states, a tile of the vocabulary at a time, so that no logit leaves the cache."""
    columns = COLUMNS if x_UD.device.type == "cpu" else len(wte_VD)
    order_M = torch.argsort(targets_M)
    by_target_M = targets_M[order_M]
    borders = torch.searchsorted(
        by_target_M, torch.arange(0, len(wte_VD) + columns, columns, device=x_UD.device)
    ).tolist()
    wide = torch.promote_types(x_UD.dtype, torch.float32)
    top_U1, total_U1 = x_UD.new_full((len(x_UD), 1), -math.inf, dtype=wide), x_UD.new_zeros(len(x_UD), 1, dtype=wide)
    chosen_M = x_UD.new_zeros(len(targets_M), dtype=wide)
    for tile, start in enumerate(range(0, len(wte_VD), columns)):
        logits = linear(x_UD, wte_VD[start : start + columns]).to(wide).mul_(scale * LOG2_E)
        asked_M = order_M[borders[tile] : borders[tile + 1]]
        chosen_M[asked_M] = logits[of_M[asked_M], targets_M[asked_M] - start]
        higher_U1 = torch.maximum(top_U1, logits.amax(1, keepdim=True))
        total_U1 = total_U1 * (top_U1 - higher_U1).exp2_() + logits.sub_(higher_U1).exp2_().sum(1, keepdim=True)
        top_U1 = higher_U1
    top_M = top_U1[of_M, 0]
    return (chosen_M - top_M - total_U1[of_M, 0].log2()) / LOG2_E, chosen_M >= top_M
