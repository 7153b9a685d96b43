"""Several processes as one trainer: each takes its slice of every batch, and gradients are summed over all.

Started by torchrun, which tells each process its rank. No wrapper around the model: one sum of one flat buffer a step
is the same arithmetic on every rank, so all of them stay equal to the bit.
"""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mixlab.errors import ConfigError

PATIENCE = timedelta(hours=2)  # the others wait while rank 0 evaluates; NCCL's own ten minutes would end the run


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this one is. Rank 0 alone writes files."""

    rank: int = 0
    ranks: int = 1

    @property
    def leads(self) -> bool:
        """True for the process that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Returns once every rank has come here."""
        if self.ranks > 1:
            dist.barrier()  # pyright: ignore[reportUnknownMemberType]  # torch does not type its arguments

    def any(self, flag: bool, device: torch.device) -> bool:
        """True on every rank if it is true on one."""
        if self.ranks == 1:
            return flag
        told = torch.tensor(float(flag), device=device)
        dist.all_reduce(told, dist.ReduceOp.MAX)  # pyright: ignore[reportUnknownMemberType]  # torch does not type its arguments
        return bool(told.item())

    @torch.no_grad()
    def average(self, model: nn.Module, loss: Tensor, rows: int) -> Tensor:
        """The whole batch's loss; every rank's gradients become the whole batch's. `rows`: of this rank."""
        if self.ranks == 1:
            return loss
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([*(g.flatten() for g in grads), loss.reshape(1).to(grads[0].dtype)]) * rows
        flat = torch.cat((flat, flat.new_tensor([float(rows)])))
        dist.all_reduce(flat)  # pyright: ignore[reportUnknownMemberType]  # torch does not type its arguments
        flat /= flat[-1].clone()
        done = 0
        for g in grads:
            g.copy_(flat[done : done + g.numel()].view_as(g))
            done += g.numel()
        return flat[done]


def asked() -> Ranks:
    """What torchrun asked this process to be; one alone without torchrun."""
    return Ranks(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def join(device: torch.device, rows: int) -> Ranks:
    """The ranks, able to speak to each other (gloo on CPUs, nccl on GPUs); `rows` of a batch must be enough for all."""
    here = asked()
    if here.ranks > rows:
        raise ConfigError(
            f"torchrun started {here.ranks} processes, but a batch has {rows} sequences: raise train.batch_tokens or "
            "start fewer."
        )
    if here.ranks > 1 and not dist.is_initialized():
        if device.type == "cuda":  # the GPU is named, lest NCCL guess it by the rank: wrong on a second machine
            gpu = torch.device("cuda", torch.cuda.current_device())
            dist.init_process_group("nccl", timeout=PATIENCE, device_id=gpu)
        else:
            dist.init_process_group("gloo", timeout=PATIENCE)
    return here
