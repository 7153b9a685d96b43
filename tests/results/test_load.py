"""Eight runs that write, a publisher and a reader, each a process: no error, no row lost, none twice."""

import multiprocessing as mp
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from mixlab.results.check import check
from mixlab.results.store import Store, publish
from mixlab.workspace import Workspace, append_line

LINES, WRITERS, PUBLISHES = 2000, 8, 50


def _write(path: Path, first: int) -> None:
    for step in range(first, LINES + 1):
        append_line(path / "metrics.jsonl", {"step": step, "tokens": step, "ts": 1.7e9 + step, "m": {"lr": 1.0 / step}})


def _read(root: Path, over: Event) -> None:
    store, seen = Store.open(Workspace(root)), 0
    while not over.is_set():
        found = store.sql("SELECT count(*) AS n, count(DISTINCT (run_id, step)) AS d FROM metric_line").iloc[0]
        assert found["n"] == found["d"] >= seen
        seen = int(found["n"])
        time.sleep(0.25)
    assert seen > WRITERS


@pytest.mark.slow
def test_writers_publisher_and_reader_at_once(ws, make_run):
    runs = [make_run("even", seed, state="running", steps=1) for seed in range(WRITERS)]
    context = mp.get_context("spawn")
    over = context.Event()
    crew = [context.Process(target=_write, args=(run, 2)) for run in runs]
    crew.append(context.Process(target=_read, args=(ws.root, over)))
    for process in crew:
        process.start()
    for _ in range(PUBLISHES):
        publish(ws)
    over.set()
    for process in crew:
        process.join()
        assert process.exitcode == 0
    publish(ws)
    counts = Store.open(ws).sql("SELECT run_id, count(*) AS n FROM metric_line GROUP BY run_id")
    assert counts["n"].tolist() == [LINES] * WRITERS and check(ws) == []
