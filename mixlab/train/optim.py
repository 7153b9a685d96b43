"""Optimizers and learning-rate schedules. Reads and writes nothing.

Weight decay is torch's: each step multiplies a matrix by 1 - lr * weight_decay. MPT's decoupled variants multiply by
1 - (lr / peak lr) * wd; they are the same with weight_decay = wd / peak lr (golden/mpt/optimizer_golden.json).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from mixlab.errors import ConfigError, nearest
from mixlab.types import TrainSpec

WSD_DECAY_FRAC = 0.1  # last share of a WSD run that decays (olmix, OLMo-core)
ADAM_EPS = 1e-8


def make_optimizer(model: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    """The optimizer of `spec` over the model's parameters; matrices are decayed, vectors (norms, biases) are not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    if spec.optimizer not in OPTIMIZERS:
        raise ConfigError(f"train.optimizer={spec.optimizer} is not known.{nearest(spec.optimizer, OPTIMIZERS)}")
    return OPTIMIZERS[spec.optimizer](groups, spec)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Gives every group this learning rate for its next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def learning_rate(spec: TrainSpec, tokens: int, total_tokens: int) -> float:
    """Learning rate of the step that starts after `tokens` of `total_tokens` have been seen.

    Warm-up is linear from zero, so the first step has rate 0 (as in MPT); the schedule's factor multiplies it after.

    >>> [learning_rate(TrainSpec(lr=1.0, warmup_tokens=10, schedule="constant"), t, 100) for t in (0, 5, 10, 99)]
    [0.0, 0.5, 1.0, 1.0]
    """
    if spec.schedule not in SCHEDULES:
        raise ConfigError(f"train.schedule={spec.schedule} is not known.{nearest(spec.schedule, SCHEDULES)}")
    if tokens < spec.warmup_tokens:
        return spec.lr * tokens / spec.warmup_tokens
    return spec.lr * SCHEDULES[spec.schedule](tokens, spec.warmup_tokens, total_tokens, spec.lr_final_frac)


def constant(tokens: int, warmup: int, total: int, final: float) -> float:
    """1."""
    return 1.0


def cosine(tokens: int, warmup: int, total: int, final: float) -> float:
    """From 1 at the end of warm-up to `final` at `total`, along half a cosine.

    >>> cosine(0, 0, 100, 0.1), round(cosine(50, 0, 100, 0.1), 6), round(cosine(100, 0, 100, 0.1), 6)
    (1.0, 0.55, 0.1)
    """
    share = min(1.0, (tokens - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share))


def wsd(tokens: int, warmup: int, total: int, final: float) -> float:
    """1, then a straight line over the last tenth down to `final` (warm-up, stable, decay).

    >>> [round(wsd(t, 0, 100, 0.1), 6) for t in (0, 90, 95, 100)]
    [1.0, 1.0, 0.55, 0.1]
    """
    decay = max(1.0, WSD_DECAY_FRAC * total)
    share = min(1.0, max(0.0, (tokens - (total - decay)) / decay))
    return 1 - (1 - final) * share


class Lion(torch.optim.Optimizer):
    """p *= 1 - lr wd;  p -= lr sign(lerp(m, g, 1 - b1));  m = lerp(m, g, 1 - b2)  (llm-foundry DecoupledLionW)."""

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float], weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                p.mul_(1 - lr * group["weight_decay"])
                p.add_(torch.lerp(state["exp_avg"], p.grad, 1 - beta1).sign_(), alpha=-lr)
                state["exp_avg"].lerp_(p.grad, 1 - beta2)


def _adamw(groups: list[dict[str, Any]], spec: TrainSpec) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, eps=ADAM_EPS, fused=True)


def _lion(groups: list[dict[str, Any]], spec: TrainSpec) -> torch.optim.Optimizer:
    return Lion(groups, lr=spec.lr, betas=spec.betas)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], TrainSpec], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "lion": _lion,
}

SCHEDULES: dict[str, Callable[[int, int, int, float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "wsd": wsd,
}
"""(tokens seen, warm-up tokens, total tokens, final factor) -> factor on the peak rate."""
