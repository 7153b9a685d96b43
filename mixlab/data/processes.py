"""Jobs done by several processes, of which this one is the first. Knows nothing of what they do.

This process begins at once, while the others start and import: nobody waits for a start, and there is no process that
only hands out work.
"""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from typing import Any

Job = tuple[Any, ...]
"""(function of a module, *arguments), as they go to another process."""


def results(jobs: Sequence[Job], workers: int) -> Iterator[Any]:
    """What the jobs return, in their order, done by this process and `workers` - 1 others.

    Raises what a job raises, and BrokenProcessPool if another process dies.
    """
    others = min(workers, len(jobs)) - 1
    if others < 1:
        yield from (job[0](*job[1:]) for job in jobs)
        return
    crew = _Crew(jobs, others)
    try:
        for told in crew.told:
            while not told.done() and (mine := crew.next()):
                job, future = mine
                future.set_result(job[0](*job[1:]))
            yield told.result()
    finally:
        crew.stop()


class _Crew:
    """The other processes, and the jobs that nobody has begun."""

    def __init__(self, jobs: Sequence[Job], others: int) -> None:
        self.told: list[Future[Any]] = [Future() for _ in jobs]
        self._waiting = deque(zip(jobs, self.told, strict=True))
        # spawned, not forked: this process may have threads
        self._pool = ProcessPoolExecutor(others, mp_context=multiprocessing.get_context("spawn"))
        for _ in range(others):
            self._hand_out()

    def next(self) -> tuple[Job, Future[Any]] | None:
        """The first job that nobody has begun, and what is to hold its result."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def stop(self) -> None:
        """Leaves undone what nobody has begun, and waits for the rest; not for processes to end that have no job."""
        self._waiting.clear()
        self._pool.shutdown(wait=not all(told.done() for told in self.told), cancel_futures=True)

    def _hand_out(self) -> None:
        if given := self.next():
            job, told = given
            try:
                self._pool.submit(*job).add_done_callback(partial(self._tell, told))
            except RuntimeError as e:  # broken, or stopped meanwhile
                told.set_exception(e)

    def _tell(self, told: Future[Any], done: Future[Any]) -> None:
        """Passes on what came of a job, in a thread of the pool, and hands out the next one."""
        if error := None if done.cancelled() else done.exception():
            told.set_exception(error)
        elif not done.cancelled():
            told.set_result(done.result())
            self._hand_out()
