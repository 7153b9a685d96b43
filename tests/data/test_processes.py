"""Jobs come back in their order, whoever did them, and what goes wrong is said."""

import os
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from mixlab.data.processes import results


def done(n: int, seconds: float) -> tuple[int, int]:
    time.sleep(seconds)
    return n, os.getpid()


def die_elsewhere(parent: int) -> None:
    if os.getpid() != parent:
        os._exit(9)


def fail() -> None:
    raise ValueError("no such thing")


def test_jobs_come_back_in_order_and_this_process_does_some():
    jobs = [(done, n, 0.4 if n == 1 else 0.05) for n in range(8)]
    made = list(results(jobs, 2))
    assert [n for n, _ in made] == list(range(8))
    assert os.getpid() in {pid for _, pid in made}
    assert [pid for _, pid in results(jobs[2:4], 1)] == [os.getpid()] * 2


def test_a_process_that_dies_and_a_job_that_fails_are_told():
    with pytest.raises(BrokenProcessPool):
        list(results([(die_elsewhere, os.getpid())] * 3, 2))
    with pytest.raises(ValueError, match="no such thing"):
        list(results([(done, 0, 0.0), (fail,), (done, 2, 0.0)], 2))
    assert list(results([], 2)) == []
