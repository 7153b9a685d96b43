"""What goes wrong on real machines: afterwards the same command ends, nothing is lost, and the lab is whole."""

import json
import multiprocessing as mp
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from mixlab import claims, pipeline, sweep
from mixlab.compose import spec_of
from mixlab.results import store
from mixlab.results.check import check
from mixlab.results.health import health
from mixlab.results.listing import list_runs
from mixlab.results.store import Store, publish
from mixlab.workspace import Workspace, read_lines
from tests.conftest import TINY

CONTEXT = mp.get_context("fork")


def test_a_killed_worker_takes_only_its_own_run_with_it(project):
    ws = Workspace.open(project / "lab")
    typed = [*TINY, "mixture=uniform", "train.tokens=65536", "train.max_epochs=100"]
    told = sweep.rehearse_all([spec_of([*typed, f"seed={seed}"], project) for seed in (0, 1)], ws)
    killed: list[int] = []

    def kill_the_first(state: sweep.Progress) -> None:
        for name, run in state.running.items():
            if run.step > 8 and not killed:
                killed.append(json.loads((ws.root / "runs" / name / "status.json").read_text())["pid"])
                os.kill(killed[0], signal.SIGKILL)

    state = sweep.run_all(told, ws, name="x", workers=1, watch=kill_the_first)
    assert len(killed) == len(state.failed) == 1 and state.done == 1
    assert "same command" in next(iter(state.failed.values()))
    publish(ws)
    finished = {p: p.stat().st_mtime_ns for p in ws.root.glob("runs/*/done.json")}
    state = sweep.run_all(told, ws, name="x", workers=1)
    assert not state.failed and state.done == 2 and check(ws) == [] and not list(ws.claims.iterdir())
    assert all(p.stat().st_mtime_ns == at for p, at in finished.items())


def _publish_and_die(root: str) -> None:
    store.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    publish(Workspace(Path(root)))


def test_a_publisher_killed_before_its_file_is_swapped_in_leaves_the_one_before(project):
    ws = Workspace.open(project / "lab")
    pipeline.run(spec_of([*TINY, "mixture=uniform"], project), ws)
    publish(ws)
    pipeline.run(spec_of([*TINY, "mixture=uniform", "seed=1"], project), ws)
    before = ws.database.read_bytes()
    child = CONTEXT.Process(target=_publish_and_die, args=(str(ws.root),))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL and ws.database.read_bytes() == before
    assert len(Store.open(ws).runs()) == 2 and check(ws) == []
    publish(ws)
    assert check(ws) == [] and not list(ws.root.glob("*.tmp-*"))


def _claim(root: str, host: str, runs: list[str], together, won) -> None:
    claims.socket.gethostname = lambda: host
    ws = Workspace(Path(root))
    together.wait()
    for run in runs:
        if claims.Watching(ws).take(run) is not None:
            won.put(run)
    together.wait()


def test_of_two_hosts_that_claim_at_once_one_wins(tmp_path):
    won, together = CONTEXT.Queue(), CONTEXT.Barrier(4)
    runs = [f"run{i:02d}" for i in range(50)]
    crew = [CONTEXT.Process(target=_claim, args=(str(tmp_path), f"host{i % 2}", runs, together, won)) for i in range(4)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    assert sorted(won.get(timeout=5) for _ in runs) == runs and won.empty()


def test_a_clock_that_goes_backwards_changes_no_number(project, monkeypatch):
    spec = spec_of([*TINY, "mixture=uniform"], project)
    calm, ws = pipeline.run(spec, Workspace.open(project / "calm")), Workspace.open(project / "lab")
    now = [2e9]

    def backwards() -> float:
        now[0] -= 1.0
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    out = pipeline.run(spec, ws)
    monkeypatch.undo()

    def numbers(run: Path) -> list[object]:
        curve = [(r["step"], r["m"]["loss/train"]) for r in read_lines(run / "metrics.jsonl")]
        return curve + [(r["step"], r["task"], r["value"]) for r in read_lines(run / "scores.jsonl")]

    assert numbers(out) == numbers(calm)
    for _ in range(2):
        assert check(ws) == [] and health(out).state == "finished" and list_runs(ws)[0]["state"] == "finished"
        scored = Store.open(ws).sql("SELECT bpb_macro FROM run_wide")["bpb_macro"].tolist()
        assert scored == [pytest.approx(list_runs(ws)[0]["bpb_macro"])]
        publish(ws)


def test_runs_that_are_deleted_under_a_reader_only_leave(project):
    ws = Workspace.open(project / "lab")
    kept = pipeline.run(spec_of([*TINY, "mixture=uniform"], project), ws)
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            there = ws.root / "runs" / "gone-s0-00000000"
            shutil.copytree(kept, there)
            time.sleep(0.2)
            shutil.rmtree(there)
            time.sleep(0.2)

    coming = threading.Thread(target=come_and_go)
    coming.start()
    try:
        for _ in range(8):
            assert kept.name in [r["run_id"] for r in list_runs(ws)]
            assert kept.name in set(Store.open(ws).runs()["run_id"])
            assert kept.name in set(Store.open(ws).metrics()["run_id"])
        publish(ws)
    finally:
        over.set()
        coming.join()
    publish(ws)
    assert Store.open(ws).runs()["run_id"].tolist() == [kept.name] and check(ws) == []
