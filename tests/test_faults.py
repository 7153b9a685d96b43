"""What goes wrong on real machines: afterwards the same command ends, nothing is lost, and the lab is whole."""

import json
import multiprocessing as mp
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mixlab import claims, jobs, pipeline, sweep
from mixlab.advise import ledger
from mixlab.alive import is_alive
from mixlab.compose import spec_of
from mixlab.results import annotations, store
from mixlab.results.check import check
from mixlab.results.health import health
from mixlab.results.listing import list_runs, read_object, read_rows
from mixlab.results.schema import lab_rows
from mixlab.results.store import Store, publish
from mixlab.workspace import Workspace, append_line, is_complete, read_json, read_lines, write_json
from tests.conftest import TINY

CONTEXT = mp.get_context("fork")


@pytest.mark.slow
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


def _sweep(root: str, told: list[pipeline.Rehearsal]) -> None:
    sweep.run_all(told, Workspace(Path(root)), name="x", workers=1)


@pytest.mark.slow
def test_a_killed_sweep_leaves_its_worker_to_end_its_run_which_nobody_does_twice(project):
    ws = Workspace.open(project / "lab")
    typed = [*TINY, "mixture=uniform", "train.tokens=32768", "train.max_epochs=100"]
    told = sweep.rehearse_all([spec_of([*typed, f"seed={seed}"], project) for seed in (0, 1)], ws)
    parent = CONTEXT.Process(target=_sweep, args=(str(ws.root), told))
    parent.start()
    first = told[0].path / "status.json"
    while read_object(first).get("step", 0) < 8:
        assert parent.is_alive()
        time.sleep(0.02)
    parent.kill()
    parent.join()
    orphan = read_json(first)["pid"]
    state = sweep.run_all(told, ws, name="x", workers=1)
    assert not state.failed and state.done == 2 and check(ws) == [] and not list(ws.claims.iterdir())
    assert read_json(first)["pid"] == orphan != read_json(told[1].path / "status.json")["pid"]
    assert "resume" not in [e["kind"] for t in told for e in read_lines(t.path / "events.jsonl")]  # none begun twice
    deadline = time.monotonic() + 30
    while is_alive(orphan):  # with no parent it has nothing more to do
        assert time.monotonic() < deadline
        time.sleep(0.1)


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
        return [*curve, *((r["step"], r["task"], r["value"]) for r in read_lines(run / "scores.jsonl"))]

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


def furnished(project) -> tuple[Workspace, list, dict[Path, Callable[[], object]]]:
    """A lab with one file of every kind beside a run's own, and for each a reader that is fast."""
    ws = Workspace.open(project / "lab")
    told = sweep.rehearse_all([spec_of([*TINY, "mixture=uniform"], project)], ws)
    run = pipeline.run(told[0].spec, ws)
    told = sweep.rehearse_all([told[0].spec], ws)
    sweep.run_all(told, ws, name="x", workers=1)
    annotations.tag(run, "kept")
    annotations.tag(run, "last")
    append_line(run / "samples.jsonl", {"step": 1, "prompt_id": 0, "prompt": "Once", "output": "upon", "seed": 1})
    mix = {"lists": 0.5, "prose": 0.5}
    for gain in (0.1, 0.2):
        append_line(ws.ledger, {"recipe": "r", "mixture": mix, "natural": mix, "factors": {}, "predicted": gain})
    fit = {"metrics": ["bpb_lists"], "method": "gp", "n_runs": 5, "mixture": {"weights": mix}, "predicted": {"mean": 1}}
    write_json(ws.verdict, fit)
    assert claims.Watching(ws).take("somebody")
    job = ws.jobs / "20260101-000000-aaaaaa"
    job.mkdir(parents=True)
    for name in ("job", "proc", "exit", "progress"):
        write_json(job / f"{name}.json", {"words": ["doctor"], "code": 0, "created_at": 1.0, "host": "h", "pid": 1})
    publish(ws)
    readers: dict[Path, Callable[[], object]] = {p: partial(jobs.jobs, ws) for p in sorted(job.glob("*.json"))}
    readers |= {p: partial(lab_rows, ws) for p in (ws.verdict, ws.sweeps / "x.json")}
    readers |= {p: partial(is_complete, p.parent) for p in sorted(ws.root.glob("*/*/manifest.json"))}
    readers[ws.claims / "somebody.0"] = lambda: claims.Watching(ws).is_taken("somebody")
    readers[ws.ledger] = lambda: ledger.settled(ws.ledger, [])
    readers |= {run / "annotations.jsonl": partial(annotations.remarks, run)}
    readers |= {run / "samples.jsonl": partial(read_rows, run / "samples.jsonl")}
    return ws, told, readers


def test_every_file_beside_a_runs_own_is_read_around_and_mended_wherever_it_is_cut(project):
    """As a power cut does it. Reading is tried at every byte of the last record; mending, and the store, in its middle.

    A run's own files: test_sweep.py.
    """
    ws, told, readers = furnished(project)
    kinds = {p.parent.parent.name if p.name == "manifest.json" else p.name for p in readers}
    assert kinds >= {"raw", "clean", "tokens", "split", "tokenizer", "ledger.jsonl", "x.json", "verdict.json"}
    for file, read in readers.items():
        whole = file.read_bytes()
        last = whole[:-1].rfind(b"\n") + 1 if file.suffix == ".jsonl" else 0
        for cut in range(last, len(whole)):
            file.write_bytes(whole[:cut])
            read()
        file.write_bytes(whole[: (last + len(whole)) // 2])
        assert Store.open(ws).runs()["state"].tolist() == ["finished"] and check(ws) == [], file
        if file.name == "manifest.json":
            pipeline.run(told[0].spec, ws)
            assert is_complete(file.parent), file
        elif file.parent == ws.sweeps:
            sweep.run_all(told, ws, name="x", workers=1)
            assert told[0].path.name in read_json(file)["runs"]
        elif file.suffix == ".jsonl":
            n = len(read_lines(file))
            append_line(file, json.loads(whole.splitlines()[-1]))
            assert len(read_lines(file)) == n + 1 and file.read_bytes() == whole
        elif file.parent == ws.claims:
            assert claims.Watching(ws).take("somebody")  # nobody holds what nobody can read
        else:
            file.write_bytes(whole)
        publish(ws)
        assert check(ws) == [], file


def test_an_index_that_is_cut_anywhere_is_read_around_and_built_anew(project):
    ws = Workspace.open(project / "lab")
    pipeline.run(spec_of([*TINY, "mixture=uniform"], project), ws)
    publish(ws)
    rows, whole = len(Store.open(ws).metrics()), ws.database.read_bytes()
    for cut in (0, 1, 100, 4096, 12288, len(whole) // 2, len(whole) - 1):
        ws.database.write_bytes(whole[:cut])
        assert len(Store.open(ws).metrics()) == rows, cut
    ws.database.write_bytes(whole[: len(whole) // 2])
    assert [p.path for p in check(ws)] in ([], [ws.database])
    publish(ws)
    assert check(ws) == [] and len(Store.open(ws).metrics()) == rows
