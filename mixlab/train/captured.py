"""A GPU's training step as one CUDA graph: one launch instead of hundreds, which small models mostly wait for.

The kernels and their order are those of the step itself, so the numbers are, too. While the device works on one step,
the next batch is read and sent after it, and where the host has nothing to decide between two steps the second is
launched before the first one's numbers are read. Reads and writes nothing.
"""

# B batch, T sequence

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

WARM_UP = 3  # steps that run launch by launch before the capture, which must not meet anything for the first time


class CapturedStep:
    """Does a run's optimizer steps, in whatever order they are asked for."""

    def __init__(
        self,
        arithmetic: Callable[[Tensor], Tensor],
        fetch: Callable[[int], Tensor],
        prepare: Callable[[int], object],
        steps: int,
    ):
        """`arithmetic`: ids (B, T) on the device -> the step's numbers; `fetch`: ids (B, T) of a step, on the host.

        `prepare` tells the device whatever else is of this step alone (its learning rate).
        """
        self._arithmetic, self._fetch, self._prepare, self._steps = arithmetic, fetch, prepare, steps
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = 0
        self._told = torch.zeros(())
        self._ids_BT = torch.zeros((0, 0), dtype=torch.int64)
        self._placed: int | None = None
        """The step whose batch lies in `_ids_BT`."""
        self._ahead: tuple[Tensor, torch.cuda.Event] | None = None

    @property
    def is_ahead(self) -> bool:
        """True if the device does, or has done, a step that was not asked for yet: the weights are not at rest."""
        return self._ahead is not None

    def __call__(
        self, step: int, *, is_free: bool = False, meanwhile: Callable[[], None] = lambda: None
    ) -> list[float]:
        """The numbers of this step, once it is done; `meanwhile` is called while the device still works on it.

        `is_free`: the next call asks for the next step, whatever the numbers are, and nobody looks at the weights
        before; it is launched at once.
        """
        told, is_done = self._ahead or self._launch(step)
        self._ahead = self._launch(step + 1) if is_free else None
        meanwhile()
        is_done.synchronize()
        return told.numpy(force=True).tolist()

    def forget(self) -> None:
        """Makes the next steps run launch by launch again: what the graph has written down is no longer there."""
        self._graph, self._warm = None, 0

    def _launch(self, step: int) -> tuple[Tensor, torch.cuda.Event]:
        """Where the step's numbers will be on the host, and when; sends the batch of the step after it as well."""
        if self._placed != step:
            self._place(step)
        self._prepare(step)
        if self._graph is None and self._warm == WARM_UP:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream()):
                self._told = self._arithmetic(self._ids_BT)
        if self._graph is None:
            self._told = self._arithmetic(self._ids_BT)
            self._warm += 1
        else:
            self._graph.replay()
        told, is_done = torch.empty_like(self._told, device="cpu", pin_memory=True), torch.cuda.Event()
        told.copy_(self._told, non_blocking=True)
        is_done.record()
        if step + 1 < self._steps:
            self._place(step + 1)
        return told, is_done

    def _place(self, step: int) -> None:
        """Sends a step's batch after the work that is under way; another shape is another program."""
        ids_BT = self._fetch(step).pin_memory()
        if ids_BT.shape != self._ids_BT.shape:
            self.forget()
            self._ids_BT = torch.empty_like(ids_BT, device="cuda")
        self._ids_BT.copy_(ids_BT, non_blocking=True)
        self._placed = step


def own_stream(device: torch.device) -> AbstractContextManager[object]:
    """A stream for all of a run's work, since the default one cannot be captured; on a CPU nothing."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return torch.cuda.stream(stream)
