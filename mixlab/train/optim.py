"""Optimizers. Reads and writes nothing.

Weight decay is torch's: each step multiplies a matrix by 1 - lr * weight_decay. MPT's decoupled variants multiply by
1 - (lr / peak lr) * weight_decay; they are the same as torch's with weight_decay / peak lr.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from mixlab.errors import ConfigError, nearest
from mixlab.train.rates import peak_lr
from mixlab.types import TrainSpec

ADAM_EPS = 1e-8
AVERAGE = "ema"  # name of the averaged weights in the optimizer's state, where checkpoints find them

Group = dict[str, Any]
"""Weights that are moved alike: `params`, `weight_decay`, `lr` (a number, or on a GPU a tensor), `betas`."""
Rule = Callable[[Sequence[Tensor], Sequence[dict[str, Tensor]], Group, Tensor | None], None]
"""(weights with a gradient, what is remembered of each, their group, is_bad) -> moves them in place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """Weights in groups, the rule that moves them by their gradients, and what it remembers of each.

    The parts of `torch.optim.Optimizer` that a run needs. To be made, that class loads torch's compiler: 1.7 s of CPU
    for each run.
    """

    param_groups: list[Group]
    rule: Rule
    is_capturable: bool
    """True if a step is the same work on a GPU each time, rate and moments in the same places."""
    state: defaultdict[Tensor, dict[str, Tensor]] = field(default_factory=lambda: defaultdict(dict))

    @torch.no_grad()
    def step(self, is_bad: Tensor | None = None) -> None:
        """Moves every weight that has a gradient; none where `is_bad`, a scalar on their device, is 1.0."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            self.rule(moved, [self.state[p] for p in moved], group, is_bad)


def make_optimizer(model: nn.Module, spec: TrainSpec) -> Optimizer:
    """The optimizer of `spec` over the model's parameters; matrices are decayed, vectors (norms, biases) are not."""
    if spec.optimizer not in OPTIMIZERS:
        raise ConfigError(f"train.optimizer={spec.optimizer} is not known.{nearest(spec.optimizer, OPTIMIZERS)}")
    parameters, rule, lr = list(model.parameters()), OPTIMIZERS[spec.optimizer], peak_lr(spec)
    decay = spec.weight_decay / lr if spec.optimizer.startswith("decoupled_") else spec.weight_decay
    is_capturable = rule is _adamw
    device = parameters[0].device  # a rate that lies on a GPU can be told to a captured step
    rate = torch.tensor(lr, device=device) if is_capturable and device.type == "cuda" else lr
    groups: list[Group] = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay, "lr": rate, "betas": spec.betas},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0, "lr": rate, "betas": spec.betas},
    ]
    return Optimizer(param_groups=groups, rule=rule, is_capturable=is_capturable)


@torch.no_grad()
def apply_step(model: nn.Module, optimizer: Optimizer, is_bad: Tensor, ema: float) -> None:
    """Updates the weights unless `is_bad` is 1.0, decided on the device; clears gradients; moves the average on."""
    optimizer.step(is_bad)
    model.zero_grad(set_to_none=True)
    if not ema:
        return
    for p in model.parameters():
        state = optimizer.state[p]
        if AVERAGE not in state:
            state[AVERAGE] = p.detach().clone()
        state[AVERAGE].lerp_(p, 1 - ema)


@torch.no_grad()
def swap_average(model: nn.Module, optimizer: Optimizer) -> None:
    """Puts the averaged weights in the place of the weights and the other way round; twice is nothing."""
    for p in model.parameters():
        average = optimizer.state[p].get(AVERAGE)
        if average is not None:
            kept = p.detach().clone()
            p.copy_(average)
            average.copy_(kept)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Gives every group this learning rate for its next step; on a GPU in the number's own place on the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def _adamw(weights: Sequence[Tensor], states: Sequence[dict[str, Tensor]], group: Group, is_bad: Tensor | None) -> None:
    """torch's fused AdamW (1711.05101). As `decoupled_adamw` the decay is not multiplied by the rate, as in MPT."""
    for p, state in zip(weights, states, strict=True):
        if "exp_avg" not in state:
            state["step"] = torch.zeros((), device=p.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
    adamw(
        list(weights),
        [p.grad for p in weights if p.grad is not None],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        fused=True,
        found_inf=is_bad,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=ADAM_EPS,
        maximize=False,
    )


def _lion(weights: Sequence[Tensor], states: Sequence[dict[str, Tensor]], group: Group, is_bad: Tensor | None) -> None:
    """Lion (2302.06675). As `decoupled_lion` the decay is not multiplied by the rate (llm-foundry's DecoupledLionW).

    p *= 1 - lr wd;  p -= lr sign(lerp(m, g, 1 - b1));  m = lerp(m, g, 1 - b2)
    """
    lr, (beta1, beta2) = group["lr"], group["betas"]
    for p, state in zip(weights, states, strict=True):
        assert p.grad is not None
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(p)
        average = state["exp_avg"]
        moved = p * (1 - lr * group["weight_decay"])
        moved.add_(torch.lerp(average, p.grad, 1 - beta1).sign_(), alpha=-lr)
        remembered = torch.lerp(average, p.grad, 1 - beta2)
        p.copy_(moved if is_bad is None else torch.where(is_bad == 0, moved, p))
        average.copy_(remembered if is_bad is None else torch.where(is_bad == 0, remembered, average))


OPTIMIZERS: dict[str, Rule] = {"adamw": _adamw, "lion": _lion, "decoupled_adamw": _adamw, "decoupled_lion": _lion}
