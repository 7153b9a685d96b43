"""Many runs: rehearsed all at once, then trained by worker processes; a finished run is never trained again.

Each is on the list of its sweep (roster.py) before it starts. A worker that dies takes only its own run with it.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from mixlab import claims
from mixlab.crew import GRACE_S, STOPPED, Place, Worker, places, refuse
from mixlab.data.prepare import Watch as StageWatch
from mixlab.data.prepare import prepare
from mixlab.mix.speed import Speed
from mixlab.rehearsal import Rehearsal, rehearse
from mixlab.results.listing import describe
from mixlab.roster import enlist
from mixlab.types import Corpus, RunSpec
from mixlab.workspace import Workspace

logger = logging.getLogger(__name__)
POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """How far a run is: steps done and in all, and its last bits per byte."""

    step: int
    steps: int
    bpb_macro: float | None


@dataclass(kw_only=True, slots=True)
class Progress:
    """State of a sweep while it goes on, handed to whoever watches."""

    total: int
    done: int = 0
    cached: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Run directory name -> why."""
    running: dict[str, Running] = field(default_factory=dict[str, Running])
    """Run directory name -> how far it is."""


Watch = Callable[[Progress], None]


def rehearse_all(
    specs: Sequence[RunSpec],
    ws: Workspace,
    watch: StageWatch | None = None,
    *,
    device: str = "cpu",
    speeds: Sequence[Speed] = (),
) -> list[Rehearsal]:
    """What each run would be; prepares the data, and raises the first error of any run before one has cost anything."""
    corpora: dict[tuple[object, ...], Mapping[str, Corpus]] = {}
    told = list[Rehearsal]()
    for spec in specs:
        pool = (
            spec.sources,
            repr(spec.cleaning),
            spec.dedup,
            spec.decontamination,
            spec.spans,
            spec.holdout,
            spec.tokenizer,
        )
        pool = tuple(map(repr, pool))
        if pool not in corpora:
            corpora[pool] = prepare(spec, ws, watch)
        told.append(rehearse(spec, corpora[pool], ws, device=device, speeds=speeds))
    return told


def run_all(
    told: Sequence[Rehearsal],
    ws: Workspace,
    *,
    name: str,
    workers: int | None,
    watch: Watch | None = None,
    fail_fast: bool = False,
    retry_failed: bool = False,
    enough: Callable[[Path], bool] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Progress:
    """Trains what is not finished yet, `workers` at a time, and says how it went; failures do not stop the others.

    `workers` None: one a GPU, else one a core (crew.py). A run that has `enough` stops with its checkpoint, as done.
    `about`: what `sweeps/<name>.json` tells beside its runs: `kind` (grid, design, halving, optimize), `asked`.

    A run that another machine trains is left to it until it is done or given up. One that failed for good is told as
    failed and not trained again, unless `retry_failed`; `fail_fast` stops at the first failure, with checkpoints.
    ConfigError, before any, for a run that this machine cannot train.
    Raises KeyboardInterrupt after the running ones have written their checkpoints; a second one ends them at once.
    """
    enlist(ws, name, [t.path.name for t in told], about)
    todo = list({t.path.name: t for t in told if not t.is_done and not (enough and enough(t.path))}.values())
    state = Progress(total=len(told), cached=len(told) - len(todo), done=len(told) - len(todo))
    for task in [] if retry_failed else [t for t in todo if t.failure]:
        todo.remove(task)
        state.failed[task.path.name] = f"{task.failure} (it failed before; --retry-failed tries again)"
    refuse(t.spec for t in todo)
    where = places([t.spec for t in todo], workers and min(workers, len(todo)))
    crew = [Worker(ws.root, name, place) for place in where[: len(todo)]]
    watching, grace = claims.Watching(ws), GRACE_S
    try:
        while todo or any(w.task for w in crew):
            _hand_out(crew, todo, state, watching, lambda place: Worker(ws.root, name, place))
            _collect(crew, state)
            state.running = {w.task.path.name: _state(w.task.path) for w in crew if w.task}
            for worker in [w for w in crew if enough and w.task and enough(w.task.path)]:
                worker.stop()
            if watch:
                watch(state)
            if fail_fast and state.failed:
                _stop(crew)
                break
    except KeyboardInterrupt:
        grace = 0.0  # should a second one come while they stop
        if busy := sum(w.task is not None for w in crew):
            logger.warning("stopping with a checkpoint of each run (%d at work); asked again, they end at once", busy)
        _stop(crew)
        raise
    finally:
        for worker in crew:
            worker.close(grace)
    return state


def _hand_out(
    crew: list[Worker],
    todo: list[Rehearsal],
    state: Progress,
    watching: claims.Watching,
    hire: Callable[[Place], Worker],
) -> None:
    """Gives every idle worker a run that no other machine has, of the shape it had before if there is one."""
    for task in [t for t in todo if t.is_done]:  # by another machine
        todo.remove(task)
        state.done += 1
    for i, worker in enumerate(crew):
        if worker.task is not None:
            continue
        free = (
            t for t in sorted(todo, key=lambda t: t.spec.model != worker.shape) if not watching.is_taken(t.path.name)
        )
        if (task := next(free, None)) is None:
            continue
        if not worker.is_alive():
            crew[i] = worker = hire(worker.place)
        todo.remove(task)
        worker.give(task)


def _collect(crew: Sequence[Worker], state: Progress) -> None:
    """Waits a moment for any worker to report or to die."""
    busy = [w for w in crew if w.task]
    if not busy:
        time.sleep(POLL_S)
        return
    ready = wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout=POLL_S)
    for worker in busy:
        assert worker.task is not None
        name = worker.task.path.name
        if worker.pipe not in ready and worker.process.sentinel not in ready:
            continue
        try:
            reason = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            code = worker.process.exitcode
            reason = f"its process ended with exit code {code} (-9: it was killed, often for want of memory)"
            reason += "; the same command continues it"
        worker.task = None
        if reason is None or (reason == STOPPED and worker.is_stopping):
            state.done += 1
        else:
            state.failed[name] = reason
            logger.error("run %s failed: %s", name, reason)


def _stop(crew: Sequence[Worker]) -> None:
    """Asks every busy worker to write its checkpoint and end; who has not after GRACE_S, in all, is named and ended."""
    for worker in crew:
        worker.stop()
        worker.pipe.close()
    until = time.monotonic() + GRACE_S
    for worker in crew:
        worker.process.join(timeout=max(0.0, until - time.monotonic()))
        if worker.task and worker.is_alive():
            name = worker.task.path.name
            logger.warning("%s wrote no checkpoint within %g s: it goes on from the one before", name, GRACE_S)
            worker.process.kill()


def _state(run: Path) -> Running:
    """How far a run is, by its own files."""
    told = describe(run)
    return Running(step=told["step"] or 0, steps=told["steps"] or 0, bpb_macro=told["bpb_macro"])
