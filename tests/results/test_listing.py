import os
import socket
import subprocess
import sys
import time

import pytest

from mixlab.results.health import health
from mixlab.results.listing import derive_state, list_runs, read_rows
from mixlab.results.store import Store, publish
from mixlab.workspace import append_line

HERE = {"host": socket.gethostname(), "pid": os.getpid()}


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize(
    "status, is_done, state",
    [
        ({"state": "running", "heartbeat": 100.0, **HERE}, True, "finished"),
        ({"state": "failed", "heartbeat": 0.0, **HERE}, False, "failed"),
        ({"state": "running", "heartbeat": 100.0, **HERE}, False, "running"),
        ({"state": "finished", "heartbeat": 100.0, **HERE}, False, "running"),  # its final scores are not written yet
        ({"state": "failed", "reason": "diverged at step 3", "heartbeat": 0.0, **HERE}, False, "diverged"),
        ({"state": "running", "heartbeat": 39.0, **HERE}, False, "stalled"),
        ({"state": "running", "heartbeat": 39.0, "stall_seconds": 90.0, **HERE}, False, "running"),
        ({"state": "queued", "heartbeat": 0.0, **HERE}, False, "queued"),  # stopped by SIGTERM, waits to be run again
        ({"state": "running", "heartbeat": 400.0, **HERE}, False, "running"),  # a clock that went back
        ({"state": "running", "heartbeat": 100.0, "host": "elsewhere", "pid": 1 << 30}, False, "running"),
        ({"state": "queued", "heartbeat": 100.0}, False, "queued"),
        ({}, False, "queued"),
    ],
)
def test_a_state_is_derived_and_not_believed(status, is_done, state):
    assert derive_state(status, is_done, created_at=100.0, now=100.0) == state


def test_a_run_whose_process_is_gone_is_killed():
    status = {"state": "running", "heartbeat": time.time(), "host": socket.gethostname(), "pid": dead_pid()}
    assert derive_state(status, False, None) == "killed"


def test_a_run_is_listed_with_its_last_final_scores(ws, make_run, write_step, began):
    path = make_run("even", 1, steps=2, sweep="demo")
    write_step(path, 9, bpb=0.1)  # a live score after a final one does not replace it
    make_run("wiki", 0, weights={"wiki": 1.0}, state="running")
    first, second = list_runs(ws)
    assert [first["name"], second["name"]] == ["wiki", "even"]  # oldest first
    assert second["run_id"] == path.name and second["sweep"] == "demo" and second["seed"] == 1
    assert second["state"] == "finished" and second["wall_s"] == 59.5 and second["started"] == began + 1
    assert (second["step"], second["steps"], second["tokens"], second["target_tokens"]) == (2, 2, 200, 200)
    assert second["bpb_macro"] == 3.0 and second["bpb"] == {"code": 3.0, "wiki": 3.0}
    assert second["weights"] == {"code": 0.5, "wiki": 0.5}
    assert first["state"] == "running" and set(first["bpb"]) == {"wiki"}
    assert first["bpb_macro"] == 2.5 + 1 / 3  # no final score: the last live one


def test_a_diverged_run_shows_no_score(ws, make_run, began):
    path = make_run()
    at = {"step": 3, "ts": began + 9, "task": "bpb/macro", "metric": "bpb", "final": True}
    append_line(path / "scores.jsonl", {**at, "value": float("nan")})
    assert list_runs(ws)[0]["bpb_macro"] is None


def test_a_damaged_run_is_shown_as_such_and_hides_no_other(ws, make_run):
    make_run("even")
    path = make_run("odd")
    (path / "run.json").write_text('{"name": "od')
    states = {run["name"]: run["state"] for run in list_runs(ws)}
    assert states == {"even": "finished", path.name: "damaged"}


def test_a_file_cut_anywhere_in_its_last_line_loses_only_that_line(tmp_path):
    path = tmp_path / "x.jsonl"
    append_line(path, {"step": 1, "text": "é"})
    kept = path.stat().st_size
    append_line(path, {"step": 2, "text": "é"})
    whole = path.read_bytes()
    for cut in range(kept, len(whole)):
        path.write_bytes(whole[:cut])
        assert [row["step"] for row in read_rows(path)] == ([1, 2] if cut == len(whole) - 1 else [1])


def test_damage_in_the_middle_is_logged(tmp_path, caplog):
    (tmp_path / "x.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    assert [row["step"] for row in read_rows(tmp_path / "x.jsonl")] == [1, 3]
    assert "line 2 is damaged" in caplog.text


def test_an_empty_lab_lists_nothing(ws):
    assert list_runs(ws) == []


def test_listing_needs_nothing_heavy():
    heavy = "{'pandas', 'duckdb', 'numpy', 'pyarrow', 'torch'}"
    code = f"import sys, mixlab.results.listing; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_a_run_at_less_than_half_of_its_usual_speed_is_slow_wherever_its_state_is_told(ws, make_run):
    path = make_run("even", 0, state="running")
    for step, speed in enumerate((100.0, 101.0, 99.0, 100.0, 30.0), 10):
        append_line(path / "metrics.jsonl", {"step": step, "tokens": step, "ts": 1e9, "m": {"tokens_per_s": speed}})
    publish(ws)
    assert list_runs(ws)[0]["state"] == health(path).state == Store.open(ws).runs()["state"].item() == "slow"
    append_line(path / "metrics.jsonl", {"step": 20, "tokens": 20, "ts": 1e9, "m": {"tokens_per_s": 80.0}})
    assert list_runs(ws)[0]["state"] == Store.open(ws).runs()["state"].item() == "running"
