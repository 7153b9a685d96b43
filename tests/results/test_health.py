"""Any process can tell from the files how a run is doing."""

import json
import os
import socket
import subprocess
import sys

import pytest

from mixlab.alive import born
from mixlab.results.health import headline, health
from mixlab.results.listing import derive_state, read_object

NOW = 1_000_000.0


def write(run, *, speeds=(), events=(), done=None, **status):
    told = {"state": "running", "step": 7, "steps": 40, "heartbeat": NOW - 1, "pid": os.getpid()}
    told |= {"host": socket.gethostname(), "stall_seconds": 60.0, **status}
    (run / "status.json").write_text(json.dumps(told))
    (run / "metrics.jsonl").write_text("".join(json.dumps({"m": {"tokens_per_s": s}}) + "\n" for s in speeds))
    (run / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    if done:
        (run / "done.json").write_text(json.dumps(done))


def gone_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(("files", "state", "why"), [
    ({"speeds": [100, 101, 99, 100]}, "running", "step 7 of 40"),
    ({"speeds": [100, 101, 99, 100, 30]}, "slow", "30 tokens/s, where it mostly had 100"),
    ({"heartbeat": NOW - 61}, "stalled", "lives but has said nothing for 61 s"),
    ({"heartbeat": NOW - 61, "stall_seconds": 500.0}, "running", "step 7"),
    ({"heartbeat": NOW - 61, "host": "elsewhere"}, "stalled", "elsewhere has said nothing"),
    ({"pid": -1}, "killed", "is gone at step 7 of 40; the same command goes on"),
    ({"state": "failed", "reason": "diverged at step 7"}, "diverged", "diverged at step 7"),
    ({"state": "failed", "reason": "the disk is full"}, "failed", "the disk is full"),
    ({"state": "queued", "reason": "stopped by SIGTERM"}, "queued", "SIGTERM"),
    ({"done": {"steps": 40, "wall_s": 9.0}, "state": "finished"}, "finished", "40 steps in 9 s"),
])  # fmt: skip
def test_the_state_is_told_from_the_files(tmp_path, files, state, why):
    if files.get("pid") == -1:
        files = {**files, "pid": gone_pid()}
    write(tmp_path, **files)
    report = health(tmp_path, NOW)
    assert report.state == state and why in report.why


def test_a_process_that_is_gone_is_told_from_another_with_its_id_and_from_a_zombie(tmp_path):
    me = {"pid": os.getpid(), "born": born(os.getpid())}
    write(tmp_path, **me)
    assert (
        health(tmp_path, NOW).state == "running" == derive_state(read_object(tmp_path / "status.json"), False, 0, NOW)
    )
    write(tmp_path, **{**me, "born": "1"})
    assert health(tmp_path, NOW).state == "killed" == derive_state(read_object(tmp_path / "status.json"), False, 0, NOW)
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        write(tmp_path, pid=zombie.pid)
        assert health(tmp_path, NOW).state == "killed"


def test_a_run_without_a_status_is_queued(tmp_path):
    assert health(tmp_path, NOW).state == "queued"


def test_nothing_happened_is_one_line_and_a_rewind_is_named(tmp_path):
    write(tmp_path, done={"steps": 40, "wall_s": 9.0}, events=[{"level": "info", "kind": "resume"}])
    assert headline(health(tmp_path, NOW)) == "finished: 40 steps in 9 s; nothing happened"
    write(tmp_path, events=[{"level": "warning", "kind": k} for k in ("spike", "rewind", "spike")])
    assert headline(health(tmp_path, NOW)) == "finished: 40 steps in 9 s; 1 × rewind, 2 × spike"
