"""Sweeps that are interrupted, killed, preempted, shared: afterwards the same command ends as if nothing had been."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from mixlab import claims, crew, halving, jobs, pipeline, sweep
from mixlab.compose import spec_of
from mixlab.errors import ConfigError, MissingError
from mixlab.results.check import check
from mixlab.results.health import health
from mixlab.results.listing import describe
from mixlab.results.store import publish
from mixlab.train import process
from mixlab.workspace import Workspace, read_json, read_lines
from tests.conftest import TINY, mixlab

LONG = (
    "mixture=uniform",
    "train.tokens=524288",
    "train.max_epochs=1000",
    "train.save_every_tokens=32768",
    "evals.every_tokens=262144",
)
"""A thousand quick steps: long enough to be met at work on a fast machine."""


def start(ws: Workspace, *typed: str) -> subprocess.Popen[bytes]:
    """A sweep in a process group of its own, as a terminal starts it."""
    command = [sys.executable, "-m", "mixlab.cli", *typed]
    env = {**os.environ, "MIXLAB_HOME": str(ws.root)}
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what a script's `&` starts is deaf to Ctrl-C
    )  # fmt: skip


def wait_for(ws: Workspace, pattern: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not list(ws.root.glob(pattern)):
        assert time.monotonic() < deadline, f"{pattern} did not come"
        time.sleep(0.02)


def curve(run: Path) -> list[tuple[int, float]]:
    return [(r["step"], r["m"]["loss/train"]) for r in read_lines(run / "metrics.jsonl")]


@pytest.mark.slow
def test_interrupted_preempted_and_killed_it_goes_on_to_the_same_bits(project):
    """Ctrl-C once: checkpoints and 130. SIGTERM: the same and 75. Ctrl-C twice: at once. kill -9 of a worker: told."""
    ws = Workspace.open(project / "lab")
    typed = ("sweep", "seed=0,1", *TINY, *LONG, "--workers", "1")
    for sent, code in (([signal.SIGINT], 130), ([signal.SIGTERM], 75), ([signal.SIGINT, signal.SIGINT], 130)):
        before = {p: p.stat().st_mtime_ns for p in ws.root.glob("runs/*/checkpoint/state.json")}
        process = start(ws, *typed)
        wait_for(ws, "runs/*/metrics.jsonl")
        while not [p for p in ws.root.glob("runs/*/status.json") if read_status(p).get("pid") in children(process.pid)]:
            assert process.poll() is None
            time.sleep(0.02)
        sizes = [metrics_bytes(ws)]  # a step of this very process: from its first on, SIGTERM asks for a checkpoint
        while metrics_bytes(ws) <= min(sizes):
            assert process.poll() is None
            sizes.append(metrics_bytes(ws))
            time.sleep(0.02)
        began = time.monotonic()
        for s in sent:
            os.killpg(process.pid, s)
            time.sleep(0.05)
        _, told = process.communicate(timeout=2 * sweep.GRACE_S)
        assert process.returncode == code, told.decode()
        assert b"Traceback" not in told or len(sent) == 2
        if sent == [signal.SIGINT]:
            assert b"stopping with a checkpoint" in told and b"interrupted: what is finished is kept" in told
        if len(sent) == 2:
            assert time.monotonic() - began < sweep.GRACE_S / 2
        else:
            after = {p: p.stat().st_mtime_ns for p in ws.root.glob("runs/*/checkpoint/state.json")}
            assert after and after != before
    told = mixlab(*typed, "--json", env={"MIXLAB_HOME": str(ws.root)})
    assert told.returncode == 0 and check(ws) == [], told.stderr
    assert not any(claims.Watching(ws).is_taken(run.name) for run in ws.runs())
    calm = Workspace.open(project / "calm")
    out = pipeline.run(spec_of([*TINY, *LONG, "seed=1"], project), calm)
    assert curve(ws.root / "runs" / out.name) == curve(out)
    weights = Path("checkpoint") / "model.safetensors"
    assert (ws.root / "runs" / out.name / weights).read_bytes() == (out / weights).read_bytes()


def metrics_bytes(ws: Workspace) -> int:
    return sum(p.stat().st_size for p in ws.root.glob("runs/*/metrics.jsonl"))


def read_status(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def children(pid: int) -> set[int]:
    return {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.mark.slow
def test_a_file_cut_anywhere_in_its_last_record_is_mended_by_the_same_run(project):
    """As a power cut does it. Reading is tried at every byte, running again at three of them."""
    ws = Workspace.open(project / "lab")
    spec = spec_of([*TINY, "mixture=uniform"], project)
    out = pipeline.run(spec, ws)
    publish(ws)
    scores = sorted((r["task"], r["value"]) for r in read_lines(out / "scores.jsonl") if r["final"])
    for name in ("run.json", "plan.json", "status.json", "done.json", "metrics.jsonl", "scores.jsonl", "events.jsonl"):
        file = out / name
        if not file.exists():
            continue
        whole = file.read_bytes()
        last = whole[:-1].rfind(b"\n") + 1 if name.endswith("jsonl") else 0
        for cut in range(last, len(whole)):
            file.write_bytes(whole[:cut])
            assert describe(out)["run_id"] == out.name and health(out).why  # reading never fails, wherever the cut is
        for cut in {last, (last + len(whole)) // 2, len(whole) - 1}:
            file.write_bytes(whole[:cut])
            check(ws)
            if name == "done.json":
                (out / "run.json").write_text("{")
                (out / "plan.json").write_text("")
            if name in ("run.json", "plan.json", "metrics.jsonl"):
                (out / "done.json").unlink(missing_ok=True)  # a power cut before the run was done
            pipeline.run(spec, ws)
            publish(ws)
            assert sorted((r["task"], r["value"]) for r in read_lines(out / "scores.jsonl") if r["final"]) == scores
        if (
            name == "metrics.jsonl"
        ):  # its lines are on the disk before a checkpoint is: lost with one there, it is damage
            assert [p.path.name for p in check(ws)] == [name] and "delete" in check(ws)[0].remedy
            shutil.rmtree(out)
            pipeline.run(spec, ws)
            publish(ws)
        assert name == "status.json" or name == "events.jsonl" or check(ws) == [], name
        file.write_bytes(whole) if name in ("status.json", "events.jsonl") else None


@pytest.mark.slow
def test_what_failed_for_good_is_told_and_tried_again_only_when_asked(project):
    ws = Workspace.open(project / "lab")
    bad = [*TINY, "mixture=uniform", "train.lr=1e30"]
    told = sweep.rehearse_all([spec_of(bad, project), spec_of([*bad, "seed=1"], project)], ws)
    state = sweep.run_all(told, ws, name="x", workers=1, fail_fast=True)
    assert len(state.failed) == 1
    state = sweep.run_all(told[:1], ws, name="x", workers=1)
    assert "--retry-failed" in str(state.failed)
    state = sweep.run_all(told[:1], ws, name="x", workers=1, retry_failed=True)
    assert len(state.failed) == 1 and "--retry-failed" not in str(state.failed)


def test_a_worker_that_does_not_stop_is_named(project, monkeypatch, caplog):
    """SIGTERM is deaf to it, as in a write to a disk that hangs: no word of a checkpoint, and it is ended."""
    monkeypatch.setattr(sweep, "GRACE_S", 0.1)
    told = sweep.rehearse_all([spec_of([*TINY, "mixture=uniform"], project)], Workspace.open(project / "lab"))
    stuck = crew.Worker(project / "lab", "x", crew.Place())
    stuck.stop = stuck.pipe.close  # it is never asked
    stuck.task = told[0]
    sweep._stop([stuck])
    assert f"{told[0].path.name} wrote no checkpoint within 0.1 s" in caplog.text
    stuck.process.join(60)
    assert stuck.process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_halving_leaves_the_worse_half_behind_and_trains_the_rest_to_the_same_bits(project):
    """Lock-step: all to a quarter of the tokens, two to the half, one to the end; asked again, nothing is done."""
    ws, calm = Workspace.open(project / "lab"), Workspace.open(project / "calm")
    typed = [*TINY, "train.max_epochs=1000", "train.tokens=262144", "evals.every_tokens=65536", "mixture=weights"]
    mixes = [f"mixture.weights={{prose: {p}, lists: {1 - p}}}" for p in (0.0, 0.3, 0.5, 0.9)]
    told = sweep.rehearse_all([spec_of([*typed, mix], project) for mix in mixes], ws)
    for _ in range(2):
        halved = halving.run_halving(told, ws, eta=2, name="x", workers=1)
        assert not halved.failed and sorted(halved.left.values()) == [0.25, 0.25, 0.5]
        assert any("slowly" in told for told in halved.sentences())
    at = {t.path.name: halving.score_at(t.path, 65536) for t in told}
    assert all(at.values())
    assert {n for n, f in halved.left.items() if f == 0.25} == set(sorted(at, key=lambda n: at[n] or 0)[2:])
    (best,) = [t for t in told if t.is_done]
    assert best.path.name not in halved.left
    assert curve(best.path) == curve(pipeline.run(best.spec, calm))
    for name in halved.left:
        assert (ws.root / "runs" / name / "checkpoint" / "state.json").exists()
    assert not list(ws.claims.glob(".*"))
    with pytest.raises(ConfigError, match="same point"):
        longer = sweep.rehearse_all([spec_of([*typed, mixes[0], "train.tokens=131072"], project)], ws)
        halving.run_halving([*told, *longer], ws, eta=2, name="x", workers=1)


@pytest.mark.parametrize("typed", ["train.device=cuda", "model.attn_impl=flex"])
def test_what_this_machine_cannot_train_is_told_once_and_before_anything_runs(project, typed):
    if torch.cuda.is_available():
        pytest.skip("this machine can")
    ws = Workspace.open(project / "lab")
    told = sweep.rehearse_all([spec_of([*TINY, typed, f"seed={seed}"], project) for seed in (0, 1)], ws)
    with pytest.raises(ConfigError, match=typed):
        sweep.run_all(told, ws, name="x", workers=1)
    assert not (ws.root / "runs").exists()


def test_a_worker_has_its_own_gpu_or_its_own_cores(project, monkeypatch):
    spec = spec_of([*TINY], project)
    monkeypatch.setattr(process, "gpus", lambda: ["3", "5"])
    assert crew.places([replace(spec, train=replace(spec.train, device="cpu"))], 1)[0].gpu is None
    on_gpu = [replace(spec, train=replace(spec.train, device="auto"))]
    assert [p.gpu for p in crew.places(on_gpu, None)] == ["3", "5"]
    assert [p.gpu for p in crew.places(on_gpu, 3)] == ["3", "5", "3"]
    monkeypatch.setattr(process, "gpus", list)
    monkeypatch.setattr(crew.os, "sched_getaffinity", lambda pid: set(range(5)))
    assert [p.cores for p in crew.places(on_gpu, 2)] == [(0, 1), (2, 3, 4)]
    assert len(crew.places(on_gpu, None)) == 5 and crew.places(on_gpu, 9) == [crew.Place()] * 9
    monkeypatch.undo()
    core = min(os.sched_getaffinity(0))
    worker = crew.Worker(project / "lab", "x", crew.Place(gpu="7", cores=(core,)))
    try:
        assert worker.process.pid is not None
        deadline = time.monotonic() + 60
        while os.sched_getaffinity(worker.process.pid) != {core}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert b"CUDA_VISIBLE_DEVICES=7" in Path(f"/proc/{worker.process.pid}/environ").read_bytes().split(b"\0")
        assert os.environ.get("CUDA_VISIBLE_DEVICES") != "7"
    finally:
        worker.close(crew.GRACE_S)


class Instant:
    """A worker that trains nothing: what it is given is done at once. `seen`: (GPU, d_model) of each run."""

    seen: ClassVar[list[tuple[str | None, int]]] = []

    def __init__(self, root: Path, name: str, place: crew.Place) -> None:
        self.place, self.is_stopping = place, False
        self.task: Any = None
        self.shape: Any = None
        self.pipe, self.far = Pipe()
        self.process = SimpleNamespace(sentinel=Pipe()[0])

    def give(self, task: pipeline.Rehearsal) -> None:
        self.task, self.shape = task, task.spec.model
        self.seen.append((self.place.gpu, task.spec.model.d_model))
        self.far.send(None)

    def is_alive(self) -> bool:
        return True

    def close(self, grace: float) -> None:
        self.pipe.close()


def test_runs_of_one_shape_go_to_the_gpu_that_had_it(project, monkeypatch):
    ws = Workspace.open(project / "lab")
    spec = spec_of([*TINY, "train.device=auto"], project)
    told: list[Any] = [
        SimpleNamespace(path=ws.root / "runs" / f"r{i}", spec=s, is_done=False, failure=None)
        for i, s in enumerate([replace(spec, model=replace(spec.model, d_model=d)) for d in (16, 32) * 3])
    ]
    monkeypatch.setattr(process, "gpus", lambda: ["3", "5"])
    monkeypatch.setattr(Instant, "seen", [])
    monkeypatch.setattr(sweep, "Worker", Instant)
    state = sweep.run_all(told, ws, name="x", workers=None)
    assert state.done == 6 and not state.failed
    assert sorted(Instant.seen) == [("3", 16)] * 3 + [("5", 32)] * 3  # each shape is compiled for once


@pytest.mark.slow
def test_a_detached_sweep_is_found_followed_and_cancelled(project):
    ws = Workspace.open(project / "lab")
    started = mixlab("sweep", "seed=0,1,2", *TINY, *LONG, "--workers", "1", "--detach")
    assert started.returncode == 0, started.stderr
    (job,) = started.stdout.split()
    assert f"mixlab runs cancel {job}" in started.stderr
    wait_for(ws, "runs/*/metrics.jsonl")
    (row,) = jobs.jobs(ws)
    assert row["job"] == job and row["state"] == "running"
    assert "0/3 runs; " in jobs.how_far(row)
    assert mixlab("runs", "tail", job).stderr.startswith("running: 0/3 runs; ")
    assert mixlab("runs", "cancel", job).returncode == 0
    wait_for(ws, f"jobs/{job}/exit.json")
    assert jobs.jobs(ws)[0]["state"] == "cancelled" and read_json(ws.jobs / job / "exit.json")["code"] == 130
    assert list(ws.root.glob("runs/*/checkpoint/state.json"))
    told = json.loads(mixlab("runs", "status", "--json").stdout)
    assert told["jobs"][0]["state"] == "cancelled" and told["runs"]
    assert "loss/train" in mixlab("runs", "tail", "uniform-s0").stdout
    with pytest.raises(MissingError):
        jobs.cancel(ws, "nosuch")
