"""The worker processes of a sweep: one a GPU, else one a group of CPU cores, each training one run after another.

A worker of a GPU sees no other (CUDA_VISIBLE_DEVICES); one of a core group is pinned to it. A worker keeps the shape of
its last run, so that runs of one shape go to the same worker and are compiled for once.
"""

import multiprocessing as mp
import os
import signal
import traceback
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from mixlab.errors import MixlabError
from mixlab.rehearsal import Rehearsal
from mixlab.requeue import PLEASE_REQUEUE
from mixlab.types import ModelSpec, RunSpec
from mixlab.workspace import Workspace

GRACE_S = 60.0
"""How long a worker may take to write its checkpoint once it is asked to stop."""
STOPPED = "stopped with a checkpoint; the same command continues it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a worker works: on one GPU, or on a group of cores."""

    gpu: str | None = None
    """As CUDA_VISIBLE_DEVICES names it."""
    cores: tuple[int, ...] = ()
    """Empty: any."""


def places(specs: Sequence[RunSpec], workers: int | None) -> list[Place]:
    """Where `workers` workers work; None: one a GPU if the runs are for GPUs and there are any, else one a core.

    Cores left over by the division go to the first groups; more workers than cores are not pinned.
    """
    from mixlab.train import process  # loads torch, which a sweep that only tells its price can do without

    found = process.gpus() if all(spec.train.device != "cpu" for spec in specs) else []
    if found:
        return [Place(gpu=found[i % len(found)]) for i in range(workers or len(found))]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    workers = workers or max(1, len(cores) // max((spec.train.threads for spec in specs), default=1))
    if not 0 < workers <= len(cores):
        return [Place()] * workers
    return [
        Place(cores=tuple(cores[i * len(cores) // workers : (i + 1) * len(cores) // workers])) for i in range(workers)
    ]


def refuse(specs: Iterable[RunSpec]) -> None:
    """ConfigError if this machine cannot train one of them: its GPU or its attention is not there."""
    from mixlab.model import attention
    from mixlab.train.process import pick_device

    kinds = {(spec.train.device, spec.train.precision, spec.model.attn_impl): spec for spec in specs}
    for spec in kinds.values():
        attention.resolve(spec.model.attn_impl, pick_device(spec.train), spec.train.precision)


class Worker:
    """A process that trains one run after another, paying imports once."""

    def __init__(self, root: Path, sweep: str, place: Place) -> None:
        context = mp.get_context("spawn")
        self.place = place
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, root, sweep, place), daemon=False)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: the parent decides what Ctrl-C means
        try:
            with _seeing(place):
                self.process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        self.task: Rehearsal | None = None
        self.shape: ModelSpec | None = None
        self.is_stopping = False

    def give(self, task: Rehearsal) -> None:
        """Hands it a run."""
        self.task, self.shape, self.is_stopping = task, task.spec.model, False
        self.pipe.send(task.spec)

    def is_alive(self) -> bool:
        """True while the process lives."""
        return self.process.is_alive()

    def stop(self) -> None:
        """Asks it, once, to write its checkpoint and leave its run."""
        if self.task and self.process.pid and self.is_alive() and not self.is_stopping:
            os.kill(self.process.pid, signal.SIGTERM)
        self.is_stopping = True

    def close(self, grace: float) -> None:
        """Ends it, by force after `grace` seconds."""
        self.pipe.close()
        self.process.join(timeout=grace)
        if self.process.is_alive():
            self.process.kill()


@contextmanager
def _seeing(place: Place) -> Generator[None]:
    """For the time of the block, children are born with the GPU of the place as their only one."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if place.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.gpu
    try:
        yield
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _serve(pipe: Connection, root: Path, sweep: str, place: Place) -> None:
    """A worker's life: a spec comes in, None or the reason of a failure goes out; ends when the parent is gone."""
    if place.cores:
        os.sched_setaffinity(0, place.cores)
    from mixlab import pipeline

    ws = Workspace.open(root)
    while True:
        try:
            spec: RunSpec = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipeline.run(spec, ws, sweep=sweep)
            answer = None
        except SystemExit as e:
            if e.code != PLEASE_REQUEUE:
                raise
            answer = STOPPED
        except MixlabError as e:
            answer = str(e)
        except Exception as e:  # noqa: BLE001  # reported with its trace by the parent; the other runs go on
            answer = f"{type(e).__name__}: {e}\n{traceback.format_exc()}"
        with suppress(OSError):  # the parent does not listen any more: the next recv ends us
            pipe.send(answer)
