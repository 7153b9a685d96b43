"""Next-token cross entropy fused with the tied output matrix, a block of rows at a time.

On a CPU the (tokens, vocabulary) logits never exist as a whole: each block is made, turned into its gradient in place
and used up while it is in the last cache. A GPU has no such cache but a compiler: there a block is as large as memory
allows, in the type of the states, and one compiled program turns it into its gradient. Reads and writes nothing.
"""

# M tokens, D d_model, V vocab

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

BLOCK_ELEMENTS = {
    "cpu": 2**22,
    "cuda": 2**27,
}  # most logits per block: 16 MB float32, which malloc keeps from block to block (process.py); 0.5 GB on a GPU
BLOCK_ROWS = 512  # on a CPU: fewer make the products slower (40 % at 64), more are no faster
FUSED_ELEMENTS = (
    2**32
)  # logits per block while training on a GPU: 8 GB in bf16, and its gradient; smaller ones are slower
NO_TARGET = -1  # on a GPU: this token counts for nothing
LOG2_E = math.log2(math.e)


def cross_entropy(
    x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor, *, scale: float = 1.0, z_loss: float = 0.0
) -> tuple[Tensor, Tensor]:
    """(loss to minimise, mean nats per token); they differ by z_loss * mean(logsumexp^2). Zero for no tokens.

    The logits are scale * x wte^T. The second has no gradient. On a GPU a target may be NO_TARGET.
    """
    function = cast("Any", _FusedCrossEntropy if x_MD.device.type == "cuda" else _CrossEntropy)
    return function.apply(x_MD, wte_VD, targets_M, scale, z_loss)


@torch.no_grad()
def nats(x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor, *, scale: float = 1.0) -> Tensor:
    """-log p of each target, (M,) float32, without a gradient."""
    blocks = [_block(x, wte_VD, t, scale)[0] for x, t in _rows(x_MD, wte_VD, targets_M)]
    return torch.cat(blocks) if blocks else x_MD.new_zeros(0)


class _CrossEntropy(torch.autograd.Function):
    """The gradient is made on the way forward, as the softmax is at hand there; backward only scales it."""

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor, scale: float, z_loss: float) -> Any:
        count = max(1, len(targets_M))
        wte_cast_VD = wte_VD.to(x_MD.dtype)
        grad_x_MD = torch.empty_like(x_MD)
        grad_wte_VD = wte_VD.new_zeros(wte_VD.shape, dtype=torch.promote_types(x_MD.dtype, torch.float32))
        nats_sum, square_sum = grad_wte_VD.new_zeros(()), grad_wte_VD.new_zeros(())
        done = 0
        for x, targets in _rows(x_MD, wte_VD, targets_M):
            nats_M, lse_M, exp_MV, total_M1 = _block(x, wte_cast_VD, targets, scale)
            nats_sum += nats_M.sum()
            square_sum += lse_M.square().sum()
            if any(ctx.needs_input_grad):
                # d loss / d logit = softmax * (1 + 2 z lse) - onehot, over count; the softmax's 1 / total stays outside
                lift_M1 = 1 + 2 * z_loss * lse_M[:, None]
                exp_MV.scatter_add_(1, targets[:, None], -total_M1 / lift_M1)
                factor_M1 = lift_M1 * (scale / count) / total_M1
                exp_MV = exp_MV.to(x.dtype)
                grad_x_MD[done : done + len(x)] = (exp_MV @ wte_cast_VD) * factor_M1
                _add_product(grad_wte_VD, exp_MV.T, (x * factor_M1).to(x.dtype))
            done += len(x)
        ctx.save_for_backward(grad_x_MD, grad_wte_VD)
        mean = nats_sum / count
        ctx.mark_non_differentiable(mean)
        return mean + z_loss * square_sum / count, mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad_x_MD, grad_wte_VD = ctx.saved_tensors
        if grads[0] == 1:  # the rule: the whole batch at once. Two passes over memory less
            return grad_x_MD, grad_wte_VD, None, None, None
        return grad_x_MD * grads[0].to(grad_x_MD.dtype), grad_wte_VD * grads[0], None, None, None


class _FusedCrossEntropy(torch.autograd.Function):
    """As _CrossEntropy, through logits in the type of x: three products and one compiled pass in between."""

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor, scale: float, z_loss: float) -> Any:
        count = (targets_M != NO_TARGET).sum().clamp(min=1)
        wte_cast_VD, wide = wte_VD.to(x_MD.dtype), torch.promote_types(x_MD.dtype, torch.float32)
        told_2 = torch.zeros(2, device=x_MD.device, dtype=wide)
        grad_x_MD, grad_wte_VD = torch.empty_like(x_MD), torch.zeros_like(wte_VD)
        rows = max(16, FUSED_ELEMENTS // len(wte_VD))
        for at in range(0, len(x_MD), rows):
            x = x_MD[at : at + rows]
            more_2, grad_MV = _compiled_gradient()(x @ wte_cast_VD.T, targets_M[at : at + rows], count, scale, z_loss)
            told_2 += more_2
            grad_x_MD[at : at + rows] = grad_MV @ wte_cast_VD
            grad_wte_VD += grad_MV.T @ x
        ctx.save_for_backward(grad_x_MD, grad_wte_VD)
        total, mean = told_2[0].clone(), told_2[1].clone()
        ctx.mark_non_differentiable(mean)
        return total, mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad_x_MD, grad_wte_VD = ctx.saved_tensors
        return grad_x_MD * grads[0].to(grad_x_MD.dtype), grad_wte_VD * grads[0], None, None, None


def logits_to_gradient(
    logits_MV: Tensor, targets_M: Tensor, count: Tensor, scale: float, z_loss: float
) -> tuple[Tensor, Tensor]:
    """((sum of losses, sum of nats) / count, its gradient in the logits' own type), rows with NO_TARGET being zero."""
    wide_MV = logits_MV.to(torch.promote_types(logits_MV.dtype, torch.float32)) * scale
    share_M = (targets_M != NO_TARGET) / count
    lse_M = torch.logsumexp(wide_MV, 1)
    nats_M = lse_M - wide_MV.gather(1, targets_M.clamp(min=0)[:, None])[:, 0]
    mean = (nats_M * share_M).sum()
    total = mean + z_loss * (lse_M.square() * share_M).sum()
    is_target_MV = torch.arange(logits_MV.shape[1], device=logits_MV.device)[None] == targets_M[:, None]
    softmax_MV = torch.exp(wide_MV - lse_M[:, None]) * (1 + 2 * z_loss * lse_M)[:, None]
    grad_MV = (softmax_MV - is_target_MV.to(softmax_MV.dtype)) * (share_M * scale)[:, None]
    return torch.stack((total, mean)), grad_MV.to(logits_MV.dtype)


@lru_cache(maxsize=1)
def _compiled_gradient() -> Callable[..., tuple[Tensor, Tensor]]:
    """Compiled once per process, and again for each shape."""
    return torch.compile(  # pyright: ignore[reportUnknownMemberType]  # torch leaves what a backend returns open
        logits_to_gradient, dynamic=False
    )


def _block(x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(nats_M, logsumexp_M, exp(logit - max)_MV, its row sums_M1), float32 or wider; exp2 is twice as fast as exp."""
    logits_MV = x_MD @ wte_VD.to(x_MD.dtype).T
    logits_MV = logits_MV.to(torch.promote_types(logits_MV.dtype, torch.float32))
    target_M1 = logits_MV.gather(1, targets_M[:, None])
    top_M1 = logits_MV.amax(1, keepdim=True)
    torch.add(top_M1 * (-scale * LOG2_E), logits_MV, alpha=scale * LOG2_E, out=logits_MV)
    exp_MV = logits_MV.exp2_()
    total_M1 = exp_MV.sum(1, keepdim=True)
    lse_M1 = total_M1.log() + scale * top_M1
    return (lse_M1 - scale * target_M1)[:, 0], lse_M1[:, 0], exp_MV, total_M1


def _rows(x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of (x, targets) whose logits fit the cache; none for no targets."""
    elements = BLOCK_ELEMENTS["cuda" if x_MD.device.type == "cuda" else "cpu"]
    rows = max(16, elements // wte_VD.shape[0])
    if x_MD.device.type == "cpu":
        rows = min(rows, BLOCK_ROWS)
    for at in range(0, len(targets_M), rows):
        yield x_MD[at : at + rows], targets_M[at : at + rows]


def _add_product(sum_VD: Tensor, a_VM: Tensor, b_MD: Tensor) -> None:
    """sum += a b, without a temporary where the types agree."""
    if a_VM.dtype == sum_VD.dtype:
        sum_VD.addmm_(a_VM, b_MD)
    else:
        sum_VD += a_VM @ b_MD
