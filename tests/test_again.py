"""What people do with a run that is there: stop it, go on with it, change it, say something of it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mixlab import again, claims, pipeline
from mixlab.compose import spec_of
from mixlab.errors import ConfigError, EnvironmentFault, MissingError
from mixlab.results.listing import describe
from mixlab.workspace import Workspace, read_json, write_json
from tests.conftest import TINY, documents, mixlab, write_source

LONG = (*TINY, "train.tokens=4000000", "train.max_epochs=500", "mixture=uniform", "evals.every_tokens=4000000")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with one finished run."""
    folder = tmp_path_factory.mktemp("again")
    for name in ("prose", "lists"):
        write_source(folder, name, documents(name, 60))
    told = mixlab("run", *TINY, "mixture=natural", cwd=folder)
    assert told.returncode == 0, told.stderr
    return folder


@pytest.fixture
def ws(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("MIXLAB_HOME", str(project / "lab"))
    return Workspace.open()


@pytest.fixture
def run(ws):
    return next(p for p in ws.runs() if p.name.startswith("natural"))


@pytest.mark.slow
def test_a_cancelled_run_leaves_a_checkpoint_and_retry_takes_it_from_there(ws, project):
    process = subprocess.Popen(
        [sys.executable, "-m", "mixlab.cli", "run", *LONG], cwd=project, stdout=subprocess.DEVNULL
    )
    try:
        out = _wait_for_step(ws, "uniform", process)
        told = mixlab("runs", "cancel", "uniform-s0", cwd=project)
        assert told.returncode == 0 and "runs retry" in told.stdout, told.stderr
        assert process.wait(60) == 75  # please run me again
    finally:
        process.kill()
    stopped = describe(out)["step"]
    assert stopped > 0 and (out / "checkpoint").is_dir()
    with pytest.raises(MissingError, match="nothing was cancelled"):
        claims.stop(ws, out.name)
    assert not read_json(out / "run.json")["spec"]["train"]["tokens"] < 4_000_000
    write_json(out / "failed.json", {"reason": "a test says so"})
    process = subprocess.Popen([sys.executable, "-m", "mixlab.cli", "runs", "retry", out.name], cwd=project)
    try:
        _wait_for_step(ws, "uniform", process, beyond=stopped)  # the same folder, not from the start
        assert not (out / "failed.json").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75
    finally:
        process.kill()
    assert describe(out)["step"] > stopped


def test_retrying_a_finished_run_does_no_work(ws, run):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.json*")}
    assert again.retry(run, ws) == run
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*.json*")} == before


def test_a_clone_differs_in_what_was_named_alone(ws, run, project):
    told = mixlab("runs", "clone", "natural", "seed=3", "name=other", "--dry-run", "--json", cwd=project)
    (facts,) = json.loads(told.stdout)
    assert (
        facts["run"].startswith("other-s3-") and facts["mixture"] == read_json(run / "run.json")["mixture"]["weights"]
    )
    spec = again.changed(run, ["train.tokens=2e4", "mixture.weights={lists: 1.0, prose: 0.0}"])
    assert spec.train.tokens == 20_000 and dict(spec.mixture.weights) == {"lists": 1.0, "prose": 0.0}
    same = pipeline.rehearse(again.changed(run, []), pipeline.prepare(spec, ws), ws)
    assert same.path == run
    fresh = spec_of([*TINY, "mixture=natural"], project)
    assert again.changed(run, []).evals == fresh.evals and again.changed(run, []).tokenizer == fresh.tokenizer


@pytest.mark.parametrize(
    ("override", "said"),
    [("seeds=1", "Did you mean 'seed'"), ("train.token=1", "'tokens'"), ("seed", "seed=1"), ("seed=[", "YAML"),
     ("seed=abc", "whole number"), ("seed.x=1", "no setting")],
)  # fmt: skip
def test_a_setting_that_a_run_does_not_have_is_named(ws, run, override, said):
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        again.changed(run, [override])


def test_a_run_of_another_machine_is_not_signalled(ws, run):
    ws.claims.mkdir(exist_ok=True)
    claim = ws.claims / f"{run.name}.0"
    write_json(claim, {"host": "elsewhere", "boot": "x", "pid": os.getpid(), "born": "1"})
    try:
        with pytest.raises(EnvironmentFault, match="elsewhere"):
            claims.stop(ws, run.name)
    finally:
        claim.unlink()


def test_remarks_are_said_listed_and_taken_back(ws, run, project):
    for words in (["star", "natural"], ["tag", "base,ref", "natural"], ["note", "natural", "the first"]):
        told = mixlab("runs", *words, cwd=project)
        assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == f"{run.name}: starred; tags base, ref; note: the first"
    rows = json.loads(mixlab("runs", "ls", "--tag", "ref", "--starred", "--json", cwd=project).stdout)
    assert [r["run_id"] for r in rows] == [run.name] and rows[0]["note"] == "the first"
    assert mixlab("runs", "archive", "natural", cwd=project).returncode == 0
    assert run.name not in mixlab("runs", "ls", "--json", cwd=project).stdout
    assert run.name in mixlab("runs", "ls", "--archived", "--json", cwd=project).stdout
    assert mixlab("runs", "archive", "natural", "--undo", cwd=project).returncode == 0
    assert mixlab("runs", "star", "nobody", cwd=project).returncode == 4


def _wait_for_step(ws, name, process, beyond=0):
    """The run's folder, once its logbook has passed a step."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, "it ended before it was asked to"
        for run in ws.runs():
            if (
                run.name.startswith(name)
                and (describe(run)["step"] or 0) > beyond
                and describe(run)["state"] == "running"
            ):
                return run
        time.sleep(0.1)
    pytest.fail("no step within 120 s")
