"""One function over many files: inline, by a pool of processes, or by Ray. Files in, files out.

An output appears by rename, so that one that is there is whole: it is not made again, whatever killed the run before.
The result does not depend on the back end, on the number of workers or on who died on the way.
"""

import importlib
import multiprocessing
import os
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal

from mixlab.errors import ConfigError, EnvironmentFault

Executor = Literal["process", "ray"]
Work = Callable[[Path, Path], None]
POOL_BYTES = 200_000_000  # input from which a pool of processes is worth its start, when nobody says how many
RETRIES = 5  # of a shard whose Ray node died


def map_shards(
    work: Work,
    shards: Sequence[tuple[Path, Path]],
    *,
    executor: Executor = "process",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """The outputs of `work(input, output)` over pairs of files, in their order; those that exist are left alone.

    `work` can be pickled (a function of a module, or a `functools.partial` of one) and writes the path it is given.
    `workers` None: one per core if there is much to read, else none but this process. executor `ray`: every node sees
    the same files; it joins the cluster of $RAY_ADDRESS, or starts one here. An error of `work` is raised as it is.
    """
    if executor not in ("process", "ray"):
        raise ConfigError(f"executor '{executor}' is not known; there are 'process' and 'ray'.")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers = {workers}: at least one process is needed.")
    todo = [(source, made) for source, made in shards if not made.exists()]
    done = len(shards) - len(todo)
    for parent in {made.parent for _, made in todo}:
        parent.mkdir(parents=True, exist_ok=True)
    for _ in _results(work, todo, executor, workers):
        done += 1
        if progress:
            progress(done, len(shards))
    return [made for _, made in shards]


def make(work: Work, source: Path, made: Path) -> None:
    """One shard: whole or absent."""
    tmp = made.with_name(f".{made.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        work(source, tmp)
        with open(tmp, "rb") as file:
            os.fsync(file.fileno())
        tmp.replace(made)
    finally:
        tmp.unlink(missing_ok=True)


def _results(work: Work, todo: Sequence[tuple[Path, Path]], executor: Executor, workers: int | None) -> Any:
    """Yields once per finished shard."""
    if executor == "ray" and todo:
        return _by_ray(work, todo)
    if workers is None:
        is_much = sum(source.stat().st_size for source, _ in todo) > POOL_BYTES
        workers = (os.cpu_count() or 1) if is_much else 1
    if min(workers, len(todo)) > 1:
        return _by_processes(work, todo, min(workers, len(todo)))
    return (make(work, *pair) for pair in todo)


def _by_processes(work: Work, todo: Sequence[tuple[Path, Path]], workers: int) -> Any:
    # spawned, not forked: this process may have threads
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        for future in as_completed([pool.submit(make, work, *pair) for pair in todo]):
            yield future.result()
    except BrokenProcessPool as e:
        raise EnvironmentFault(
            f"a worker process died (killed, or out of memory) while {len(todo)} shards were made. Those that are "
            "finished are kept: run the same command again, with fewer workers if memory is short."
        ) from e
    finally:
        pool.shutdown(cancel_futures=True)


def _by_ray(work: Work, todo: Sequence[tuple[Path, Path]]) -> Any:
    try:
        ray = importlib.import_module("ray")
    except ImportError as e:
        raise EnvironmentFault(
            "executor=ray needs Ray: pip install 'mixlab[ray]', or use executor=process, which gives the same result."
        ) from e
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    remote = ray.remote(make).options(max_retries=RETRIES)
    waiting = [remote.remote(work, *pair) for pair in todo]
    while waiting:
        ready, waiting = ray.wait(waiting)
        try:
            yield ray.get(ready[0])
        except ray.exceptions.RayTaskError as e:
            raise e.cause from e
