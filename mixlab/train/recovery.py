"""The second line: go back to a snapshot, leave out the data that did harm, and write down which.

Keeps two snapshots in memory, and in each checkpoint, so that a run that was killed in between recovers as one that was
not. A run that is given the same ranges from the start (train.skip) has the same curve to the last bit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mixlab.train.optim import Optimizer

SNAPSHOT_STEPS = 32  # costs one copy of weights and moments; what a rewind loses is about as much
RING = 2
NAN_STREAK = 2  # updates dropped in a row for a loss that is not finite: then it is the weights, not the batch
SPIKE_STREAK = 5  # the same for a loss or gradient far out (llm-foundry KillLossSpike: more than 4 in a row)
MAX_REWINDS = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a run is at one step."""

    step: int
    tensors: Mapping[str, Tensor]
    told: Mapping[str, Any]
    """State of logbook and guard, as JSON."""


class Copy(NamedTuple):
    """Weights and optimizer state as they were."""

    tensors: Mapping[str, Tensor]
    is_sound: Tensor
    """Whether every weight is a finite number."""


class Recovery:
    """Decides when to go back, and to where. Its state is JSON but for the snapshots' tensors."""

    def __init__(self, skip: Sequence[tuple[int, int]] = ()):
        self.asked: list[tuple[int, int]] = [(first, last) for first, last in skip]
        self.skips: list[tuple[int, int]] = []
        self.ring: list[Snapshot] = []
        self.nan_streak = self.spike_streak = self.rewinds = 0
        self.level_at: int | None = None
        """Step at which a jump was taken as the new level and has not proved to be one yet."""

    def is_skipped(self, step: int) -> bool:
        """True if the batch of this step is left out."""
        return any(first <= step <= last for first, last in [*self.asked, *self.skips])

    @property
    def is_wary(self) -> bool:
        """True if the very next step may send the run back or end it: the last was bad, or a new level is on trial."""
        return bool(self.nan_streak or self.spike_streak) or self.level_at is not None

    def see(self, is_bad: bool, is_finite: bool) -> str | None:
        """`nan` or `spike` if the run has to go back after this step."""
        self.nan_streak = 0 if is_finite else self.nan_streak + 1
        self.spike_streak = self.spike_streak + 1 if is_bad and is_finite else 0
        if self.nan_streak >= NAN_STREAK:
            return "nan"
        return "spike" if self.spike_streak >= SPIKE_STREAK else None

    def remember(self, snapshot: Snapshot) -> None:
        """Puts a snapshot into the ring; the oldest leaves it."""
        self.ring = [*(s for s in self.ring if s.step < snapshot.step), snapshot][-RING:]

    def back(self, step: int) -> Snapshot | None:
        """The snapshot to go back to when the batch of `step` did harm; None if going back has been tried enough.

        All batches from the snapshot to `step` are skipped from now on. Going back to where the last rewind went would
        start from the same weights, so then it is the one before, if there is one.
        """
        self.nan_streak = self.spike_streak = 0
        if self.rewinds >= MAX_REWINDS or not self.ring:
            return None
        if len(self.ring) > 1 and any(first == self.ring[-1].step for first, _ in self.skips):
            self.ring.pop()
        target = self.ring[-1]
        self.rewinds += 1
        self.skips.append((target.step, step))
        return target

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON, without the tensors."""
        return {
            "skips": [list(r) for r in self.skips],
            "streaks": [self.nan_streak, self.spike_streak],
            "rewinds": self.rewinds,
            "level_at": self.level_at,
            "ring": [{"step": s.step, "told": s.told} for s in self.ring],
        }

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of every snapshot as `<step>:<name>`."""
        return {f"{s.step}:{name}": t for s in self.ring for name, t in s.tensors.items()}

    def resume(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Goes on from `state()` and `tensors()`."""
        self.skips = [(first, last) for first, last in state["skips"]]
        self.nan_streak, self.spike_streak = state["streaks"]
        self.rewinds = state["rewinds"]
        self.level_at = state.get("level_at")
        self.ring = [Snapshot(s["step"], _of(s["step"], tensors), s["told"]) for s in state["ring"]]


def _of(step: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one snapshot."""
    return {name.partition(":")[2]: t for name, t in tensors.items() if name.startswith(f"{step}:")}


def ranges_of(skips: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The ranges merged and in order, as train.skip takes them.

    >>> ranges_of([(64, 70), (32, 40), (41, 50)])
    [[32, 50], [64, 70]]
    """
    merged: list[list[int]] = []
    for first, last in sorted(skips):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(last, merged[-1][1])
        else:
            merged.append([first, last])
    return merged


@torch.no_grad()
def is_sound(model: nn.Module) -> Tensor:
    """True, on the device, if every weight is a finite number."""
    largest = torch._foreach_norm(list(model.parameters()), math.inf)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  # torch has no public name for all tensors at once
    return torch.stack(largest).isfinite().all()


def copy_of(model: nn.Module, optimizer: Optimizer) -> Copy:
    """A copy of weights and optimizer state, on the device they are on; the host waits for nothing."""
    found = {n: t.detach() for n, t in tensors_of(model, optimizer).items()}
    copies = [torch.empty_like(t) for t in found.values()]
    torch._foreach_copy_(copies, list(found.values()))  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  # torch has no public name for all tensors at once
    return Copy(dict(zip(found, copies, strict=True)), is_sound(model))


@torch.no_grad()
def restore(snapshot: Snapshot, model: nn.Module, optimizer: Optimizer) -> None:
    """Weights and optimizer state as they were; the snapshot stays as it is."""
    for name, p in model.named_parameters():
        p.copy_(snapshot.tensors[f"weight/{name}"])
        p.grad = None
    optimizer_state(model, optimizer, snapshot.tensors, torch.clone)


def tensors_of(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """`weight/<name>` and `<what>/<name>` for the optimizer's, the tensors themselves."""
    weights: dict[str, Tensor] = {f"weight/{n}": p for n, p in model.named_parameters()}
    return weights | {f"{k}/{n}": v for n, p in model.named_parameters() for k, v in optimizer.state[p].items()}


def optimizer_state(
    model: nn.Module,
    optimizer: Optimizer,
    tensors: Mapping[str, Tensor],
    taken: Callable[[Tensor], Tensor],
) -> None:
    """Gives the optimizer the state in `tensors`, each through `taken`; a parameter without any starts afresh."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        what, _, name = key.partition("/")
        found.setdefault(name, {})[what] = value
    for name, p in model.named_parameters():
        ours = {what: taken(t) for what, t in found.get(name, {}).items() if what != "weight"}
        optimizer.state[p] = ours
