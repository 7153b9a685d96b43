"""Trackers are told of a run by a process of their own: in order, once, and whatever they do, the run goes on."""

import json
import os
import time

import pytest

from mixlab import pipeline, trackers
from mixlab.compose import spec_of
from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.results.health import health
from mixlab.workspace import Workspace, append_line, read_lines, write_json
from tests.conftest import TINY

SAY = """
import json, os
def say(*words):
    with open(os.environ["TOLD"], "a") as f:
        f.write(json.dumps(words) + "\\n")
"""
FAKES = {
    "wandb": SAY
    + """
class Run:
    def log(self, data, step=None): say("log", data, step)
    def finish(self): say("finish")
def init(project=None, name=None, id=None, config=None, resume=None, **more):
    say("init", project, name, config, id, resume)
    return Run()
""",
    "trackio": SAY
    + """
def init(project, name=None, config=None, resume="never"): say("init", project, name, config, resume)
def log(metrics, step=None): say("log", metrics, step)
def finish(): say("finish")
""",
    "mlflow": SAY
    + """
class Info: run_id = "m1"
class Active: info = Info()
def set_experiment(name): say("experiment", name)
def start_run(run_id=None, run_name=None): say("init", run_id, run_name); return Active()
def log_params(params): say("params", params)
def log_metrics(metrics, step=None): say("log", metrics, step)
def end_run(): say("finish")
""",
}
"""The public calls of each tracker as its documentation tells them, writing down what it is told."""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a module of this name where Python finds it; what it was told, row by row."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    monkeypatch.setenv("TOLD", str(tmp_path / "told.jsonl"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep))
    monkeypatch.syspath_prepend(str(folder))
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)

    def put(name, text):
        (folder / f"{name}.py").write_text(text)
        return lambda: read_lines_of(tmp_path / "told.jsonl")

    return put


def read_lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def run(tmp_path):
    """A run that has ended: two logged steps, one of them evaluated."""
    out = tmp_path / "run-s0-0123abcd"
    out.mkdir()
    write_json(out / "run.json", {"spec": {"train": {"lr": 0.1}}})
    for step in (1, 2):
        append_line(
            out / "metrics.jsonl", {"step": step, "tokens": 10 * step, "ts": 0.0, "m": {"loss/train": 3.0 - step}}
        )
    score = {"step": 2, "tokens": 20, "task": "bpb/code", "metric": "bpb", "value": 1.5, "final": True}
    append_line(out / "scores.jsonl", score)
    write_json(out / "done.json", {"steps": 2})
    return out


def told_by(run, name, grace_s=60.0):
    """Exit code of the process that tells the tracker of the run."""
    (process,) = trackers.start(run, [name], grace_s)
    return process.wait(timeout=120)


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_each_line_is_told_once_in_order_and_a_second_time_goes_on(name, fake, run):
    told = fake(name, FAKES[name])
    assert told_by(run, name) == 0
    rows = told()
    logged = [row[1:] for row in rows if row[0] == "log"]
    assert logged == [
        [{"loss/train": 2.0, "tokens": 10.0}, 1],
        [{"loss/train": 1.0, "tokens": 20.0, "final/bpb/code": 1.5}, 2],
    ]
    assert rows[-1] == ["finish"] and {"train.lr": "0.1"} in [x for row in rows for x in row]
    append_line(run / "metrics.jsonl", {"step": 3, "tokens": 30, "ts": 0.0, "m": {"loss/train": 0.5}})
    assert told_by(run, name) == 0
    assert [row[2] for row in told() if row[0] == "log"] == [1, 2, 3]
    assert not (run / "events.jsonl").exists()


def test_a_tracker_that_raises_leaves_one_event_and_the_step_it_came_to(fake, run):
    failing = 'def log(self, data, step=None):\n        if step > 1: raise OSError("no\\nnetwork")'
    fake("wandb", FAKES["wandb"].replace('def log(self, data, step=None): say("log", data, step)', failing))
    assert told_by(run, "wandb") == 1
    (event,) = read_lines(run / "events.jsonl")
    assert event["text"] == "tracker wandb: OSError: no network: not logged after step 1"
    assert event["kind"] == "tracker" and event["level"] == "warning"


def test_a_tracker_that_hangs_is_left_behind(fake, run):
    fake("trackio", "import threading\ndef init(**_): threading.Event().wait()\n")
    assert told_by(run, "trackio", grace_s=0.1) == 1
    (event,) = read_lines(run / "events.jsonl")
    assert event["text"] == "tracker trackio: no answer 0.1 s after the end of the run: not logged"


def test_a_tracker_changes_nothing_of_a_run(project, fake):
    fake("wandb", "raise SystemExit(3)")
    ws = Workspace.open(project / "lab")
    out = pipeline.run(spec_of([*TINY, "mixture=uniform", "train.tokens=1024", "train.trackers=[wandb]"], project), ws)
    for _ in range(600):  # at most a minute: the process is nobody's to wait for
        if events := [e for e in read_lines(out / "events.jsonl") if e["kind"] == "tracker"]:
            break
        time.sleep(0.1)
    assert [e["text"] for e in events] == ["tracker wandb: SystemExit: 3: not logged"]
    assert (out / "done.json").exists() and health(out).state == "finished"
    assert pipeline.run(spec_of([*TINY, "mixture=uniform", "train.tokens=1024"], project), ws) == out


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_made(project, monkeypatch):
    monkeypatch.setattr(trackers, "is_there", lambda name: False)
    ws = Workspace.open(project / "lab")
    with pytest.raises(
        EnvironmentFault, match=r"train\.trackers asks for wandb, which is not installed: pip install wandb"
    ):
        pipeline.run(spec_of([*TINY, "train.trackers=[wandb]"], project), ws)
    assert not list((project / "lab").iterdir())
    with pytest.raises(ConfigError, match="wandb"):
        spec_of([*TINY, "train.trackers=[wandbb]"], project)
