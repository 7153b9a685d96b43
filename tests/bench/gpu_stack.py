"""K models of one shape trained as one program, against one after the other: both as CUDA graphs of a whole step.

Stacked weights (K, out, in) and batched products; attention sees K x rows sequences, the head is computed a member at a
time. d256, 2 layers, vocabulary 8,192 (mpt-1m). `tokens/s` is over all members.
"""

# K members, M tokens of one member, D d_model, N heads, H head dim, V vocab

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from mixlab.mix.budget import flops
from mixlab.model.attention import backend
from mixlab.model.mpt import MPT
from mixlab.types import ModelSpec
from tests.bench.gpu_entropy import fused
from tests.bench.gpu_kernels import PEAK, device, fresh, need_gpu
from tests.bench.gpu_steps import BASE, Step, whole_view

SPEC = ModelSpec(d_model=256, n_layers=2, n_heads=4, vocab_size=8192, max_seq_len=1024, attn_impl="flex")
TABLE = [(1, 4), (4, 4), (16, 4), (1, 19), (4, 19), (16, 19), (1, 64), (4, 64)]  # members, rows of each


def rows() -> list[dict[str, str]]:
    need_gpu()
    return list(stacked())


def stacked(spec: ModelSpec = SPEC, table: list[tuple[int, int]] | None = None) -> Iterator[dict[str, str]]:
    for members, n_rows in table or TABLE:
        what = f"{members} of d{spec.d_model} L{spec.n_layers} V{spec.vocab_size}, {n_rows}x{spec.max_seq_len} each"
        for variant, make in (("stacked", StackedStep), ("in turn", InTurn)):
            if variant == "in turn" and members > 1:
                continue  # a member in turn costs what one alone costs
            fresh()
            try:
                step = make(spec, members, n_rows)
                seconds = step.seconds()
            except RuntimeError as e:
                yield _row(what, variant, "-", "", "", f"{type(e).__name__}: {str(e).strip()[:90]}")
                continue
            rate = members * n_rows * spec.max_seq_len / seconds
            share = f"{rate * flops(spec, 1).total / PEAK:.1%}"
            yield _row(what, variant, f"{1e3 * seconds:.2f}", f"{rate / 1e6:.3f} M", share, f"loss {step.losses()}")
            del step


def _row(what: str, variant: str, ms: str, rate: str, share: str, note: str) -> dict[str, str]:
    return {"what": what, "variant": variant, "ms": ms, "tokens/s": rate, "of peak": share, "note": note}


class InTurn(Step):
    """One member as in gpu_steps."""

    def __init__(self, spec: ModelSpec, members: int, n_rows: int):
        super().__init__(spec, n_rows, replace(BASE, attn=spec.attn_impl, graph=True))


class StackedStep(Step):
    """K members in one program; gradients are clipped a member at a time."""

    def __init__(self, spec: ModelSpec, members: int, n_rows: int):
        torch.manual_seed(0)
        self.spec, self.members, self.n_rows = spec, members, n_rows
        models = [MPT(spec, seed=k) for k in range(members)]
        names = [name for name, _ in models[0].named_parameters()]
        self.weights = {
            name: nn.Parameter(torch.stack([m.get_parameter(name).detach() for m in models]).to(device()))
            for name in names
        }
        self.attend = backend(spec.attn_impl, whole_view(spec))
        self.block = torch.compile(self._block, dynamic=False)
        self.ids_KM = torch.randint(spec.vocab_size, (members, n_rows * spec.max_seq_len), device=device())
        last = torch.arange(1, n_rows * spec.max_seq_len + 1, device=device()) % spec.max_seq_len == 0
        self.targets_KM = self.ids_KM.roll(-1, 1).masked_fill(last, -1)
        on_gpu = torch.cuda.is_available()
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=torch.tensor(1e-3, device=device()), fused=True, capturable=on_gpu
        )
        self.run = self._captured()

    def _step(self) -> Tensor:
        w = {
            name: p.to(torch.bfloat16) if p.dim() == 3 and "wte" not in name else p for name, p in self.weights.items()
        }
        wte_KVD = self.weights["transformer.wte.weight"]
        offset_K1 = torch.arange(self.members, device=device())[:, None] * self.spec.vocab_size
        x_KMD = nn.functional.embedding(self.ids_KM + offset_K1, wte_KVD.flatten(0, 1))
        for i in range(self.spec.n_layers):
            own = [w[f"transformer.blocks.{i}.{part}.weight"] for part in PARTS]
            x_KMD = self.block(x_KMD, own)
        x_KMD = _norm(x_KMD, w["transformer.norm_f.weight"])
        nats = [fused(x_KMD[k], wte_KVD[k], self.targets_KM[k]) for k in range(self.members)]
        torch.stack(nats).sum().backward()
        self._clip()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.stack(nats).mean().detach()

    def _block(self, x_KMD: Tensor, own: list[Tensor]) -> Tensor:
        norm_1, qkv, out, norm_2, up, down = own
        heads = self.spec.n_heads
        qkv_KMD = _norm(x_KMD, norm_1) @ qkv.transpose(1, 2)
        shape = (self.members * self.n_rows, self.spec.max_seq_len, 3, heads, -1)
        q, k, v = qkv_KMD.reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        ctx_KMD = self.attend(q, k, v).transpose(1, 2).reshape(x_KMD.shape)
        x_KMD = x_KMD + ctx_KMD @ out.transpose(1, 2)
        return x_KMD + gelu(_norm(x_KMD, norm_2) @ up.transpose(1, 2)) @ down.transpose(1, 2)

    @torch.no_grad()
    def _clip(self) -> None:
        grads = [p.grad for p in self.weights.values() if p.grad is not None]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in grads]).norm(dim=0)
        keep_K = (1.0 / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(grads, [keep_K.view(-1, *[1] * (g.dim() - 1)) for g in grads])


PARTS = ("norm_1", "attn.Wqkv", "attn.out_proj", "norm_2", "ffn.up_proj", "ffn.down_proj")


def _norm(x_KMD: Tensor, weight_KD: Tensor) -> Tensor:
    """LayerNorm with a weight of each member, out in bf16."""
    scaled_KMD = layer_norm(x_KMD.float(), x_KMD.shape[-1:]) * weight_KD[:, None].float()
    return scaled_KMD.to(torch.bfloat16)
