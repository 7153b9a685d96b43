"""What training asks of its process: a device, threads, memory that is kept, and a word when it has to stop."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch

from mixlab.errors import ConfigError
from mixlab.types import TrainSpec

PROGRAMS = 64  # shapes that one function may be compiled for in one process; torch's own limit is 8
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def pick_device(spec: TrainSpec) -> torch.device:
    """The device of spec.device; `auto` is a GPU if there is one. Raises ConfigError for one that is not there."""
    has_gpu = torch.cuda.is_available()
    if spec.device == "cuda" and not has_gpu:
        raise ConfigError("train.device=cuda, but torch sees no GPU here. Use train.device=cpu or auto.")
    return torch.device("cuda" if has_gpu and spec.device != "cpu" else "cpu")


def gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them; none without CUDA."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in seen.split(",")] if seen else [str(i) for i in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


def prepare_process(spec: TrainSpec, device: torch.device) -> None:
    """Threads, repeatable kernels, and memory that is kept between steps."""
    torch.set_num_threads(spec.threads)
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # torchrun's: a GPU of its own for each process
        from torch._dynamo import config as dynamo_config  # seconds to load, GPU runs only

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore  # else torch writes each new tensor, to find bugs
        dynamo_config.recompile_limit = PROGRAMS
        dynamo_config.fail_on_recompile_limit_hit = True  # else torch goes on uncompiled: attention 25 times slower
    elif sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc; others have none, which costs 10-15 % of speed
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 32 << 20)  # else each step hands its memory back and faults it in again
            mallopt(M_TRIM_THRESHOLD, 1 << 30)


@contextmanager
def until_sigterm() -> Generator[Callable[[], bool]]:
    """A function that tells whether SIGTERM has come; only a main thread may ask for signals.

    A plain mark, no threading.Event: its lock, asked for again by a second signal inside the first one's handler, would
    never be given. And often two come at once, to the whole group and from the parent.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def take_note(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first is enough
        came.append(number)

    before = signal.signal(signal.SIGTERM, take_note)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)
