"""Jobs outlive whoever started them, are found again, are stopped by a file, and start once for one piece of work."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mixlab import jobs
from mixlab.errors import MissingError
from mixlab.workspace import Workspace, write_json

WAIT_S = 60.0
SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(300)"
STUBBORN = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEPER


@pytest.fixture
def ws(tmp_path, monkeypatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace.open(tmp_path / "lab")


@pytest.fixture
def keeper(ws):
    """Starts the keeper of a job that runs this Python text; what is left of it is ended after the test."""
    started: list[tuple[Path, subprocess.Popen]] = []

    def start(code: str, hard_s: float = 30.0, name: str = "j1") -> tuple[Path, subprocess.Popen]:
        folder = ws.jobs / name
        folder.mkdir(parents=True)
        told = {"words": ["sleep"], "argv": [sys.executable, "-c", code], "hard_s": hard_s, "cwd": str(ws.root)}
        write_json(folder / "job.json", {**told, "created_at": time.time(), "key": None})
        env = {**os.environ, jobs.VARIABLE: str(folder)}
        with open(folder / "log.txt", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mixlab.jobs", str(folder)],
                stdout=log, stderr=log, env=env, start_new_session=True,
            )  # fmt: skip
        started.append((folder, process))
        return folder, process

    yield start
    for folder, process in started:
        process.kill()
        process.wait()
        child = json.loads((folder / "proc.json").read_bytes())["child"] if (folder / "proc.json").exists() else None
        if child and jobs.born(child["pid"]) == child["born"] is not None:
            os.killpg(child["pid"], signal.SIGKILL)


def until(true) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def is_up(folder: Path) -> bool:
    return b"up" in (folder / "log.txt").read_bytes()


def test_a_job_tells_its_words_its_end_and_its_log(ws):
    job = jobs.launch(ws, ["version"])
    until(lambda: jobs.state_of(ws, job) not in jobs.LIVE)
    (told,) = jobs.jobs(ws)
    assert (told["job"], told["words"], told["state"], told["code"]) == (job, ["version"], "finished", 0)
    assert told["ended_at"] >= told["created_at"] and jobs.tail(Path(told["log"])).strip()


def test_a_command_that_fails_is_failed_and_its_work_may_be_tried_again(ws):
    job, is_new = jobs.launch_once(ws, ["runs", "show", "nosuch"], "show-1")
    assert is_new
    until(lambda: jobs.state_of(ws, job) not in jobs.LIVE)
    assert not jobs.cancel(ws, job) and jobs.state_of(ws, job) == "failed"  # how it ended stays as it is
    assert jobs.found(ws, "show-1") == job
    other, is_new = jobs.launch_once(ws, ["version"], "show-1")
    assert is_new and other != job and jobs.found(ws, "show-1") == other
    until(lambda: jobs.state_of(ws, other) == "finished")
    assert jobs.launch_once(ws, ["version"], "show-1") == (other, False)
    third, is_new = jobs.launch_once(ws, ["version"], "show-1", again=True)
    assert is_new and third != other
    until(lambda: jobs.state_of(ws, third) == "finished")


def test_many_launches_of_one_key_start_one_job(ws, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "_start", lambda ws, folder: started.append(folder.name))
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: jobs.launch_once(ws, ["version"], "once"), range(32)))
    assert len(started) == 1 and {job for job, _ in got} == set(started) and sum(new for _, new in got) == 1
    assert [j["job"] for j in jobs.jobs(ws)] == started  # the folders of those that came late are gone


def test_cancel_is_what_ctrl_c_means_and_takes_the_command_with_it(ws, keeper):
    folder, process = keeper(SLEEPER)
    until(lambda: is_up(folder))
    assert jobs.describe(folder)["state"] == "running"
    assert jobs.cancel(ws, folder.name)
    process.wait(WAIT_S)
    told = jobs.describe(folder)
    assert told["state"] == "cancelled" and told["code"] != 0 and "KeyboardInterrupt" in jobs.tail(folder / "log.txt")
    assert jobs.born(json.loads((folder / "proc.json").read_bytes())["child"]["pid"]) is None
    with pytest.raises(MissingError):
        jobs.cancel(ws, "nosuch")
    with pytest.raises(MissingError):
        jobs.cancel(ws, "../jobs/" + folder.name)


def test_a_command_that_does_not_stop_is_killed_after_its_grace(ws, keeper):
    folder, process = keeper(STUBBORN, hard_s=0.2)
    until(lambda: is_up(folder))
    jobs.cancel(ws, folder.name)
    process.wait(WAIT_S)
    assert jobs.describe(folder)["code"] == -signal.SIGKILL


def test_a_job_whose_keeper_was_killed_is_seen_and_can_be_stopped(ws, keeper):
    folder, process = keeper(SLEEPER)
    until(lambda: is_up(folder))
    process.kill()
    process.wait()
    assert jobs.describe(folder)["state"] == "running"
    jobs.cancel(ws, folder.name)
    until(lambda: jobs.describe(folder)["state"] == "lost")


def test_a_job_of_another_life_of_this_machine_is_lost_however_its_pid_is_used(ws):
    folder = ws.jobs / "old"
    folder.mkdir(parents=True)
    write_json(folder / "job.json", {"words": ["demo"], "created_at": 0.0})
    assert jobs.describe(folder)["state"] == "lost"  # its process never came
    me = {"pid": os.getpid(), "born": jobs.born(os.getpid())}
    here = jobs._here()
    write_json(folder / "proc.json", {**here, "keeper": me, "child": me})
    assert jobs.describe(folder)["state"] == "running"
    write_json(folder / "proc.json", {**here, "keeper": {**me, "born": "1"}, "child": None})
    assert jobs.describe(folder)["state"] == "lost"
    write_json(folder / "proc.json", {**here, "boot": "another", "keeper": me, "child": me})
    assert jobs.describe(folder)["state"] == "lost"
    write_json(folder / "proc.json", {**here, "host": "elsewhere", "keeper": me, "child": me})
    assert jobs.describe(folder)["state"] == "running"  # a fresh heartbeat
    os.utime(folder / "proc.json", (1.0, 1.0))
    assert jobs.describe(folder)["state"] == "lost"


def test_progress_is_written_by_a_job_only(ws, monkeypatch):
    monkeypatch.delenv(jobs.VARIABLE, raising=False)
    jobs.report("nothing", 1, 2)
    folder = ws.jobs / "j1"
    folder.mkdir(parents=True)
    write_json(folder / "job.json", {"words": [], "created_at": time.time()})
    assert jobs.describe(folder)["progress"] is None
    monkeypatch.setenv(jobs.VARIABLE, str(folder))
    jobs.report("cleaning wiki", 1, 4, 12.5)
    told = jobs.describe(folder)["progress"]
    assert (told["what"], told["done"], told["total"], told["left_s"]) == ("cleaning wiki", 1, 4, 12.5)


def test_a_key_of_work_hangs_on_the_words_the_place_and_the_contents(ws, monkeypatch, tmp_path):
    one = jobs.work_key(["run", "mixture=a"], "w: 1")
    assert one == jobs.work_key(["run", "mixture=a"], "w: 1") and one.startswith("run-")
    assert len({one, jobs.work_key(["run", "mixture=a"], "w: 2"), jobs.work_key(["run", "mixture=b"], "w: 1")}) == 3
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert jobs.work_key(["run", "mixture=a"], "w: 1") != one
