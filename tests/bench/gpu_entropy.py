"""The tied head on a GPU, alone: milliseconds of cross entropy with gradients for states and embedding, each way.

bf16, 32,768 tokens a pass. `of peak` counts the three products against 989 TFLOP/s.
"""

# M tokens, D d_model, V vocab

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mixlab.model import loss
from tests.bench.gpu_kernels import TOKENS, device, fresh, line, milliseconds, need_gpu

Way = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_MD, wte_VD, targets_M) -> mean nats."""


def rows() -> list[dict[str, str]]:
    need_gpu()
    return list(entropy())


def entropy(
    sizes: tuple[tuple[int, int], ...] = ((256, 8192), (256, 50_368), (768, 50_368)), tokens: int = TOKENS
) -> Iterator[dict[str, str]]:
    """Mean nats of the tied head with gradients for both factors, each way."""
    for d, v in sizes:
        x_MD = torch.randn(tokens, d, device=device(), dtype=torch.bfloat16).requires_grad_()
        wte_VD = (torch.randn(v, d, device=device()) * d**-0.5).requires_grad_()
        targets_M = torch.randint(v, (tokens,), device=device())
        with torch.no_grad():
            some = slice(0, 512)
            exact = cross_entropy(x_MD[some].double() @ wte_VD.double().T, targets_M[some])
        for name, way in ENTROPY.items():
            fresh()
            try:
                error = abs(float(way(x_MD[some], wte_VD, targets_M[some]).detach()) - float(exact))
                ms = milliseconds(partial(both, way, x_MD, wte_VD, targets_M))
            except (RuntimeError, TypeError) as e:
                yield line(f"entropy d{d} V{v}", name, None, f"{type(e).__name__}: {str(e).splitlines()[0][:60]}")
                continue
            yield line(f"entropy d{d} V{v}", name, ms, f"error {error:.1e} nats", 6 * d * v * tokens)


def both(way: Way, x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor) -> tuple[Tensor, ...]:
    """Forward and backward."""
    return torch.autograd.grad(way(x_MD, wte_VD, targets_M), (x_MD, wte_VD))


def materialised(x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor) -> Tensor:
    """Every logit in float32."""
    return cross_entropy((x_MD @ wte_VD.to(x_MD.dtype).T).float(), targets_M)


def package(x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor) -> Tensor:
    """mixlab's."""
    return loss.cross_entropy(x_MD, wte_VD, targets_M)[0]


class Fused(torch.autograd.Function):
    """bf16 logits become their own gradient in one compiled pass; two products follow. Target -1: no target."""

    @staticmethod
    def forward(ctx, x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor, rows: int, wide: bool) -> Tensor:
        cast_VD, nats = wte_VD.to(x_MD.dtype), x_MD.new_zeros((), dtype=torch.float32)
        count = (targets_M >= 0).sum()
        grad_x_MD, grad_wte_VD = torch.empty_like(x_MD), None
        for at in range(0, len(x_MD), rows):
            x = x_MD[at : at + rows]
            part, grad_MV = compiled_gradient()(x @ cast_VD.T, targets_M[at : at + rows], count)
            nats = nats + part
            torch.mm(grad_MV, cast_VD, out=grad_x_MD[at : at + rows])
            more_VD = torch.mm(grad_MV.T, x, out_dtype=torch.float32) if wide else (grad_MV.T @ x).float()
            grad_wte_VD = more_VD if grad_wte_VD is None else grad_wte_VD.add_(more_VD)
        ctx.save_for_backward(grad_x_MD, grad_wte_VD)
        return nats

    @staticmethod
    def backward(ctx, *grads: Tensor):
        grad_x_MD, grad_wte_VD = ctx.saved_tensors
        return grad_x_MD * grads[0].to(grad_x_MD.dtype), grad_wte_VD * grads[0], None, None, None


def gradient(logits_MV: Tensor, targets_M: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of nats / count, gradient of it in the logits' own type)."""
    wide_MV, counts_M = logits_MV.float(), targets_M >= 0
    lse_M = torch.logsumexp(wide_MV, 1)
    nats_M = lse_M - wide_MV.gather(1, targets_M.clamp(min=0)[:, None])[:, 0]
    is_target_MV = torch.arange(logits_MV.shape[1], device=logits_MV.device)[None] == targets_M[:, None]
    grad_MV = (torch.exp(wide_MV - lse_M[:, None]) - is_target_MV.float()) * (counts_M / count)[:, None]
    return (nats_M * counts_M).sum() / count, grad_MV.to(logits_MV.dtype)


def compiled(fn: Callable[..., object]) -> Callable[[], Callable[..., Tensor]]:
    """`fn` compiled once, when first asked for."""
    kept: list[Callable[..., Tensor]] = []

    def get() -> Callable[..., Tensor]:
        if not kept:
            kept.append(torch.compile(fn, dynamic=False))
        return kept[0]

    return get


compiled_gradient, compiled_materialised = compiled(gradient), compiled(materialised)


def fused(x_MD: Tensor, wte_VD: Tensor, targets_M: Tensor, rows: int = 2**20, wide: bool = False) -> Tensor:
    return Fused.apply(x_MD, wte_VD, targets_M, rows, wide)


ENTROPY: dict[str, Way] = {
    "materialised": materialised,
    "mixlab": package,
    "materialised, compiled": lambda x, w, t: compiled_materialised()(x, w, t),
    "fused": fused,
    "fused, float32 sums": partial(fused, wide=True),
    "fused, 8,192 rows": partial(fused, rows=8192),
}
