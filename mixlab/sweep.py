"""Many runs: rehearsed all at once, then trained by worker processes; a finished run is never trained again.

Writes `sweeps/<name>.json` (which runs the sweep asked for). A worker that dies takes only its own run with it.
"""

import logging
import multiprocessing as mp
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from filelock import FileLock

from mixlab import claims, jobs, pipeline
from mixlab.errors import MixlabError
from mixlab.mix.speed import Speed
from mixlab.pipeline import Rehearsal
from mixlab.results.listing import read_object
from mixlab.types import Corpus, ModelSpec, RunSpec
from mixlab.workspace import Workspace, write_json

logger = logging.getLogger(__name__)
POLL_S = 0.5
GRACE_S = 20.0
"""How long a worker may take to write its checkpoint once it is asked to stop."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """State of a sweep while it goes on, handed to whoever watches."""

    total: int
    done: int = 0
    cached: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Run directory name -> why."""
    running: dict[str, float] = field(default_factory=dict)
    """Run directory name -> share of its steps that are done."""


Watch = Callable[[Progress], None]


def rehearse_all(
    specs: Sequence[RunSpec],
    ws: Workspace,
    watch: pipeline.Watch | None = None,
    *,
    device: str = "cpu",
    speeds: Sequence[Speed] = (),
) -> list[Rehearsal]:
    """What each run would be; prepares the data, and raises the first error of any run before one has cost anything."""
    corpora: dict[tuple[object, ...], Mapping[str, Corpus]] = {}
    told = []
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
            corpora[pool] = pipeline.prepare(spec, ws, watch)
        told.append(pipeline.rehearse(spec, corpora[pool], ws, device=device, speeds=speeds))
    return told


def run_all(
    told: Sequence[Rehearsal],
    ws: Workspace,
    *,
    name: str,
    workers: int,
    watch: Watch | None = None,
    fail_fast: bool = False,
    retry_failed: bool = False,
) -> Progress:
    """Trains what is not finished yet, `workers` at a time, and says how it went; failures do not stop the others.

    A run that another machine trains is left to it until it is done or given up. One that failed for good is told as
    failed and not trained again, unless `retry_failed`; `fail_fast` stops at the first failure, with checkpoints.
    Raises KeyboardInterrupt after the running ones have written their checkpoints; a second one ends them at once.
    """
    _list(ws, name, [t.path.name for t in told])
    todo = list({t.path.name: t for t in told if not t.is_done}.values())
    state = Progress(total=len(told), cached=len(told) - len(todo), done=len(told) - len(todo))
    for task in [] if retry_failed else [t for t in todo if t.failure]:
        todo.remove(task)
        state.failed[task.path.name] = f"{task.failure} (it failed before; --retry-failed tries again)"
    crew = [_Worker(ws.root, name) for _ in range(min(workers, len(todo)))]
    watching, grace = claims.Watching(ws), GRACE_S
    try:
        while todo or any(w.task for w in crew):
            _hand_out(crew, todo, state, watching, lambda: _Worker(ws.root, name))
            _collect(crew, state)
            state.running = {w.task.path.name: _share(w.task.path) for w in crew if w.task}
            if watch:
                watch(state)
            if fail_fast and state.failed:
                _stop(crew)
                break
            if jobs.is_cancelled():
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        grace = 0.0  # should a second one come while they stop
        _stop(crew)
        raise
    finally:
        for worker in crew:
            worker.close(grace)
    return state


def _hand_out(
    crew: list["_Worker"],
    todo: list[Rehearsal],
    state: Progress,
    watching: claims.Watching,
    hire: Callable[[], "_Worker"],
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
            crew[i] = worker = hire()
        todo.remove(task)
        worker.give(task)


class _Worker:
    """A process that trains one run after another, paying imports once."""

    def __init__(self, root: Path, sweep: str) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, root, sweep), daemon=False)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: the parent decides what Ctrl-C means
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        self.task: Rehearsal | None = None
        self.shape: ModelSpec | None = None

    def give(self, task: Rehearsal) -> None:
        self.task, self.shape = task, task.spec.model
        self.pipe.send(task.spec)

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def close(self, grace: float) -> None:
        self.pipe.close()
        self.process.join(timeout=grace)
        if self.process.is_alive():
            self.process.kill()


def _serve(pipe: Connection, root: Path, sweep: str) -> None:
    """A worker's life: a spec comes in, None or the reason of a failure goes out; ends when the parent is gone."""
    ws = Workspace.open(root)
    while True:
        try:
            spec: RunSpec = pipe.recv()
        except EOFError:
            return
        try:
            pipeline.run(spec, ws, sweep=sweep)
            pipe.send(None)
        except MixlabError as e:
            pipe.send(str(e))
        except Exception as e:  # noqa: BLE001  # reported with its trace by the parent; the other runs go on
            pipe.send(f"{type(e).__name__}: {e}\n{traceback.format_exc()}")


def _collect(crew: Sequence[_Worker], state: Progress) -> None:
    """Waits a moment for any worker to report or to die."""
    busy = [w for w in crew if w.task]
    if not busy:
        time.sleep(POLL_S)
        return
    ready = wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout=POLL_S)
    for worker in busy:
        assert worker.task is not None
        name = worker.task.path.name
        if worker.pipe in ready:
            try:
                reason = worker.pipe.recv()
            except EOFError:
                worker.process.join()
                reason = f"its process ended with exit code {worker.process.exitcode}"
        elif worker.process.sentinel in ready:
            worker.process.join()
            reason = (
                f"its process was killed (exit code {worker.process.exitcode}); run the same command to continue it"
            )
        else:
            continue
        worker.task = None
        if reason is None:
            state.done += 1
        else:
            state.failed[name] = reason
            logger.error("run %s failed: %s", name, reason)


def _stop(crew: Sequence[_Worker]) -> None:
    """Asks every busy worker to write its checkpoint and end."""
    for worker in crew:
        if worker.task and worker.process.pid and worker.is_alive():
            os.kill(worker.process.pid, signal.SIGTERM)
    for worker in crew:
        worker.process.join(timeout=GRACE_S)


def _share(run: Path) -> float:
    """Share of a run's steps that its status file reports."""
    status = read_object(run / "status.json")
    return status.get("step", 0) / max(1, status.get("steps", 1))


def _list(ws: Workspace, name: str, runs: Sequence[str]) -> None:
    """Writes down which runs a sweep asked for, beside those it asked for before."""
    ws.sweeps.mkdir(parents=True, exist_ok=True)
    path = ws.sweeps / f"{name}.json"
    with FileLock(ws.sweeps / f".{name}.lock"):
        before = {"runs": [], "created_at": time.time(), **read_object(path)}
        both = list(dict.fromkeys([*before["runs"], *runs]))
        write_json(path, {"name": name, "created_at": before["created_at"], "runs": both})
