"""Several runs of one shape as one program: weights with a leading axis of runs, batched products, one pass for all.

Each member learns as it would alone, to float32's rounding: its own batches, clipping, guard and logbook. One that
diverges is frozen and says so; the others go on. A stack cannot be resumed: killed, its runs start again. Reads batches
from the loaders and writes what `loop.train` does into each run's directory, the checkpoint at the end only.
"""

# K members, B batch, T sequence, M tokens of a member, D d_model, V vocab, N heads, H head dim

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, gelu, layer_norm, pad

from mixlab.errors import ConfigError
from mixlab.model.attention import View, backend, resolve
from mixlab.model.loss import NO_TARGET, cross_entropy
from mixlab.model.mpt import MPT
from mixlab.train.captured import CapturedStep, own_stream
from mixlab.train.checkpoint import save_checkpoint
from mixlab.train.feed import Batches
from mixlab.train.guard import Guard
from mixlab.train.logbook import Logbook
from mixlab.train.loop import Evaluate
from mixlab.train.optim import ADAM_EPS, make_optimizer
from mixlab.train.process import pick_device, prepare_process
from mixlab.train.rates import learning_rate
from mixlab.train.recovery import NAN_STREAK, Recovery
from mixlab.types import TrainSpec
from mixlab.workspace import canonical

PARTS = ("norm_1", "attn.Wqkv", "attn.out_proj", "norm_2", "ffn.up_proj", "ffn.down_proj")


def train_stacked(
    models: Sequence[MPT],
    loaders: Sequence[Batches],
    spec: TrainSpec,
    outs: Sequence[Path],
    *,
    evaluate: Sequence[Evaluate],
    every_tokens: int,
    run_keys: Sequence[str],
) -> list[str | None]:
    """Trains the models in place, in lock-step; for each None, or why it was frozen.

    `evaluate` as in `loop.train`, one for each. Raises ConfigError for what cannot be stacked.
    """
    device = pick_device(spec)
    _check(models, loaders, spec)
    prepare_process(spec, device)
    for model in models:
        model.to(device).train()
    steps = loaders[0].steps
    first_KBT = _fetch(loaders, 0)
    per_step = first_KBT[0].numel()
    with own_stream(device), ExitStack() as open_books:
        stack = Stack(models, spec)
        books = [open_books.enter_context(Logbook(out, steps=steps, tokens_per_step=per_step)) for out in outs]
        on_gpu = device.type == "cuda"
        total = steps * per_step

        def set_rate(step: int) -> None:
            stack.lr.fill_(learning_rate(spec, step * per_step, total))

        do = CapturedStep(stack.step, lambda s: _fetch(loaders, s), set_rate, steps) if on_gpu else None
        streak: list[int] = [0] * len(models)
        why: list[str | None] = [None] * len(models)
        for step in range(steps + 1):
            tokens = step * per_step
            if step in (0, steps) or tokens // every_tokens > (tokens - per_step) // every_tokens:
                stack.hand_back(models)
                for k, model in enumerate(models):
                    if why[k] is None:
                        model.eval()
                        evaluate[k](model, step, tokens, step == steps)
                        model.train()
            if step == steps:
                break
            began = time.perf_counter()
            if do is None:
                set_rate(step)
            told_K3: Any = do(step) if do else stack.step(_fetch(loaders, step)).numpy(force=True).tolist()
            seconds = time.perf_counter() - began
            for k, (loss, norm, is_bad) in enumerate(told_K3):
                if why[k] is not None:
                    continue
                books[k].record(loss, float(stack.lr), norm, seconds, is_dropped=bool(is_bad))
                streak[k] = 0 if math.isfinite(loss) and math.isfinite(norm) else streak[k] + 1
                if streak[k] >= NAN_STREAK:
                    why[k] = f"diverged at step {step + 1}: loss {loss:.4f}, gradient norm {norm:.4f}"
                    stack.frozen_K[k] = 1.0
                    books[k].event("error", "diverged", f"{why[k]}; the other members of its stack go on")
                    books[k].status("failed", why[k])
        for k, book in enumerate(books):
            if why[k] is None:
                _save(book, models[k], spec, loaders[k], stack.guards[k], run_keys[k])
                book.status("finished")
    return why


class Stack:
    """The members' weights, AdamW's moments and guards; `step` is one optimizer step of all of them."""

    def __init__(self, models: Sequence[MPT], spec: TrainSpec):
        self.model, self.spec, device = models[0], spec, models[0].device
        self.members = len(models)
        names = [name for name, _ in self.model.named_parameters()]
        self.weights = {n: torch.stack([m.get_parameter(n).detach() for m in models]).requires_grad_() for n in names}
        self.moments = {n: (torch.zeros_like(w), torch.zeros_like(w)) for n, w in self.weights.items()}
        self.done_K = torch.zeros(self.members, device=device)
        self.frozen_K = torch.zeros(self.members, device=device)
        self.lr = torch.zeros((), device=device)
        self.guards = [Guard(device) for _ in models]
        self.block: Callable[..., Tensor] = torch.compile(self._block, dynamic=False) if spec.compile else self._block  # pyright: ignore[reportUnknownMemberType]  # its backend is a bare Callable
        self.adamw: Callable[..., None] = torch.compile(_adamw, dynamic=False) if spec.compile else _adamw  # pyright: ignore[reportUnknownMemberType]  # its backend is a bare Callable
        self._kept: Any = None

    def step(self, ids_KBT: Tensor) -> Tensor:
        """(loss, gradient norm before clipping, was it dropped) of each member, (K, 3) float64 on the device."""
        device = self.lr.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.spec.precision == "bf16"):
            loss_K, nats_K = self.losses(ids_KBT.to(device))
        weights = list(self.weights.values())
        grads = torch.autograd.grad(loss_K.sum(), weights)
        with torch.no_grad():
            norm_K = _length(torch.stack([_length(g.flatten(1), 1) for g in grads]), 0)
            bad_K = torch.stack([g.judge(nats_K[k], norm_K[k]) for k, g in enumerate(self.guards)])
            keep_K = (1 - bad_K) * (1 - self.frozen_K)
            self.done_K += keep_K
            clip = self.spec.grad_clip or math.inf
            factor_K = (clip / (norm_K + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
            for (name, w), g in zip(self.weights.items(), grads, strict=True):
                decay = self.spec.weight_decay if w.dim() > 2 else 0.0
                self.adamw(w, g, *self.moments[name], factor_K, keep_K, self.done_K, self.lr, self.spec.betas, decay)
            return torch.stack((nats_K.double(), norm_K.double(), bad_K.double()), 1)

    def losses(self, ids_KBT: Tensor) -> tuple[Tensor, Tensor]:
        """(loss to minimise, mean nats per next token) of each member, (K,); see MPT.losses."""
        model, (k, b, t) = self.model, ids_KBT.shape
        view = View(slopes=model.slopes, scale=model.scale, n_queries=t, n_keys=t, device=ids_KBT.device)
        self._kept = attend = backend(resolve(model.spec.attn_impl, ids_KBT.device, self.spec.precision), view)
        wte_KVD = self.weights["transformer.wte.weight"]
        offset_K1 = torch.arange(k, device=ids_KBT.device)[:, None] * wte_KVD.shape[1]
        x_KMD = embedding(ids_KBT.flatten(1) + offset_K1, wte_KVD.flatten(0, 1))
        for i in range(model.spec.n_layers):
            own = [self.weights[f"transformer.blocks.{i}.{part}.weight"] for part in PARTS]
            x_KMD = self.block(x_KMD, own, attend, t)
        x_KMD = _norm(x_KMD, self.weights["transformer.norm_f.weight"], model.spec.norm_eps)
        if x_KMD.device.type == "cuda":
            targets_KM = pad(ids_KBT[:, :, 1:], (0, 1), value=NO_TARGET).flatten(1)
        else:
            x_KMD, targets_KM = torch.unflatten(x_KMD, 1, (b, t))[:, :, :-1].flatten(1, 2), ids_KBT[:, :, 1:].flatten(1)
        scale = 1.0 if model.logit_scale is None else model.logit_scale
        both = [
            cross_entropy(x_MD, wte_VD, targets_M, scale=scale, z_loss=self.spec.z_loss)
            for x_MD, wte_VD, targets_M in zip(x_KMD.unbind(), wte_KVD.unbind(), targets_KM, strict=True)
        ]
        return torch.stack([loss for loss, _ in both]), torch.stack([nats for _, nats in both]).detach()

    @torch.no_grad()
    def hand_back(self, models: Sequence[MPT]) -> None:
        """Gives every model its member's weights."""
        for k, model in enumerate(models):
            for name, p in model.named_parameters():
                p.copy_(self.weights[name][k])

    def _block(self, x_KMD: Tensor, own: list[Tensor], attend: Any, t: int) -> Tensor:
        norm_1, qkv, out, norm_2, up, down = own
        eps, heads = self.model.spec.norm_eps, self.model.spec.n_heads
        qkv_KMD = _norm(x_KMD, norm_1, eps) @ qkv.transpose(1, 2)
        q, k, v = qkv_KMD.reshape(-1, t, 3, heads, qkv.shape[2] // heads).permute(2, 0, 3, 1, 4).unbind(0)
        ctx_KMD = attend(q, k, v).transpose(1, 2).reshape(x_KMD.shape)
        x_KMD = x_KMD + ctx_KMD @ out.transpose(1, 2)
        return x_KMD + gelu(_norm(x_KMD, norm_2, eps) @ up.transpose(1, 2)) @ down.transpose(1, 2)


def _norm(x_KMD: Tensor, weight_KD: Tensor, eps: float) -> Tensor:
    """MPT's low-precision LayerNorm with a weight for each member."""
    kind = x_KMD.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x_KMD.dtype
    with torch.autocast(kind, enabled=False):
        return layer_norm(x_KMD.to(dtype), x_KMD.shape[-1:], eps=eps) * weight_KD[:, None].to(dtype)


def _length(x: Any, dim: int) -> Tensor:
    """The 2-norm along a dimension (torch's own is untyped)."""
    return x.norm(dim=dim)


def _adamw(
    w: Tensor,
    grad: Tensor,
    mean: Tensor,
    square: Tensor,
    factor_K: Tensor,
    keep_K: Tensor,
    done_K: Tensor,
    lr: Tensor,
    betas: tuple[float, float],
    decay: float,
) -> None:
    """AdamW in place; a member whose `keep` is 0 stays as it is, whatever its gradient holds."""
    factor, keep, done = (x_K.view(-1, *[1] * (w.dim() - 1)) for x_K in (factor_K, keep_K, done_K))
    grad = torch.where(keep > 0, grad * factor, 0.0)
    mean.copy_(torch.lerp(mean, grad, (1 - betas[0]) * keep))
    square.copy_(torch.lerp(square, grad * grad, (1 - betas[1]) * keep))
    done = done.clamp(min=1)
    root = (square / (1 - betas[1] ** done)).sqrt() + ADAM_EPS
    w.copy_(w * (1 - lr * decay * keep) - lr * keep * (mean / (1 - betas[0] ** done)) / root)


def _fetch(loaders: Sequence[Batches], step: int) -> Tensor:
    """Every member's token ids of a step, (K, B, T), on the host."""
    return torch.stack([torch.as_tensor(loader.batch(step)[0]) for loader in loaders])


def _save(book: Logbook, model: MPT, spec: TrainSpec, loader: Batches, guard: Guard, run_key: str) -> None:
    """The checkpoint of a finished run: its weights, without moments."""
    state = {"step": book.steps, "ledger": canonical(loader.ledger(book.steps)), "logbook": book.state()}
    state |= {"guard": guard.state(), "recovery": Recovery().state()}
    save_checkpoint(book.out, model, make_optimizer(model, spec), state, run_key=run_key)


def _check(models: Sequence[MPT], loaders: Sequence[Batches], spec: TrainSpec) -> None:
    """Refuses what one program for all members does not do."""
    model = models[0].spec
    if any(m.spec != model for m in models) or len({loader.steps for loader in loaders}) != 1:
        raise ConfigError("runs are stacked only if they have one model shape and one number of steps.")
    plain = {
        "train.optimizer": (spec.optimizer, "adamw"),
        "train.micro_batch_tokens": (spec.micro_batch_tokens, None),
        "train.ema": (spec.ema, 0.0),
        "train.skip": (tuple(spec.skip), ()),
        "model.qk_ln": (model.qk_ln, False),
        "model.clip_qkv": (model.clip_qkv, None),
        "model.no_bias": (model.no_bias, True),
        "model.resid_pdrop": (model.resid_pdrop, 0.0),
        "model.attn_uses_sequence_id": (model.attn_uses_sequence_id, False),
    }
    for name, (found, needed) in plain.items():
        if found != needed:
            raise ConfigError(
                f"{name}={found} is not built for stacked runs, which need {needed}: train them one by one."
            )
