"""Home in an empty lab, in one as the demo leaves it, and in one where jobs and runs go on and have failed."""

import json
import os
import time
from pathlib import Path

import pytest

from mixlab import jobs
from mixlab.app import now
from mixlab.workspace import Workspace
from tests.app.driver import said, show


def make_job(
    lab: Path, name: str, words: list[str], *, code: int | None = None, progress: dict | None = None, pid: int = 1
) -> Path:
    """A job's folder as its keeper leaves it: alive (kept by this very process) where it has no exit code."""
    folder = lab / "jobs" / name
    folder.mkdir(parents=True)
    me = {"pid": os.getpid(), "born": jobs.born(os.getpid())}
    told = {"words": words, "cwd": str(lab), "created_at": time.time() - 3600, "key": None}
    files = {"job": told, "proc": {**jobs._here(), "keeper": me, "child": {**me, "pid": pid}}}
    files |= {} if code is None else {"exit": {"code": code, "ended_at": time.time() - 30}}
    files |= {} if progress is None else {"progress": {**progress, "at": time.time()}}
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "log.txt").write_text("\x1b[32mfirst\x1b[0m\nSourceError: wiki: <b>no such file</b>\n")
    return folder


def test_a_first_run_offers_the_demo_once_by_button_and_command(project, started):
    at = show("home")
    assert "Nothing has run in this lab yet" in said(at) and "mixlab demo" in said(at)
    at.button(key="launch-demo").click().run()
    at.button(key="launch-demo").click().run()
    assert started == [["demo"]] and not at.exception
    (job,) = jobs.jobs(Workspace.open())
    assert job["key"] == "demo" and job["job"] in said(at)  # it is shown as what runs


def test_a_job_tells_how_far_it_is_and_is_cancelled_by_name_after_a_question(lab):
    progress = {"what": "3/16 runs; demo-d01 5/10", "done": 3.5, "total": 16, "left_s": 240.0}
    folder = make_job(lab, "20260101-000000-abcdef", ["demo"], progress=progress)
    at = show("home")
    (bar,) = [b.proto for b in at.get("progress") if "3/16" in b.proto.text.replace("\\", "")]
    assert bar.value == 21 and "about 4 min left" in bar.text
    at.button(key=f"cancel-home-{folder.name}").click().run()
    assert folder.name in said(at) and f"mixlab runs cancel {folder.name}" in said(at)
    assert not (folder / "cancel").exists()
    assert f"mixlab runs cancel {folder.name}" in said(at.run())  # asked until it is answered, whatever is drawn anew
    at.button(key="keep-job").click().run()
    assert "mixlab runs cancel" not in said(at.run()) and not (folder / "cancel").exists()
    at.button(key=f"cancel-home-{folder.name}").click().run()
    at.button(key="stop-job").click().run()
    assert (folder / "cancel").exists() and not at.exception


def test_a_job_that_trains_one_run_is_as_far_as_the_run(lab):
    folder = make_job(lab, "20260101-000000-abcdef", ["run", "mixture=code-x2"], pid=os.getpid())
    told = now.progress_of(jobs.describe(folder), Workspace.open())  # the live run of the lab is of this process, too
    assert told and (told["what"], told["done"], told["total"]) == ("code-x2-s0-aaaa0004, step 120 of 200", 120, 200)
    assert told["left_s"] == pytest.approx(80 * (450_000 * 120 // 200) / 120 / 3e4)
    assert now.progress_of({**jobs.describe(folder), "pid": None}, Workspace.open()) is None


def test_a_failed_job_says_why_as_plain_text_and_what_to_type(lab):
    make_job(lab, "20260101-000000-abcdef", ["data", "prepare"], code=2)
    told = said(show("home"))
    assert "SourceError: wiki: <b>no such file</b>" in told and "mixlab data prepare" in told


def test_a_job_that_was_tried_again_gives_way_to_the_new_one(lab):
    for name, code in (("20260101-000000-aaaaaa", 2), ("20260101-000001-bbbbbb", 0), ("20260101-000002-cccccc", 1)):
        told = make_job(lab, name, ["demo"], code=code) / "job.json"
        told.write_text(json.dumps({**json.loads(told.read_text()), "key": "demo" if code != 1 else "other"}))
    got = [j["job"] for j in now.jobs_now(Workspace.open())]
    assert got == ["20260101-000002-cccccc", "20260101-000001-bbbbbb"]


def test_live_runs_have_their_health_and_time_left_and_warnings_are_listed(lab):
    (lab / "runs" / "broken-s0-aaaa0005" / "events.jsonl").write_text(
        json.dumps({"ts": time.time() - 60, "step": 40, "level": "error", "kind": "nan", "text": "loss **is** nan"})
        + "\n"
    )
    at = show("home")
    bars = [b.proto.text.replace("\\", "") for b in at.get("progress")]
    assert bars == ["code-x2 s0: 60%, about 6 s left"]
    assert "loss **is** nan" in [t.value for t in at.text] and "Last warnings" in said(at)


def test_a_lab_as_the_demo_leaves_it_has_no_live_part_and_three_ways_to_begin(demo_lab):
    at = show("home")
    assert {m.label: m.value for m in at.metric}["finished"] == "17"
    assert all(f"**{title}**" in said(at) for title in ("Look at the data", "Design a mix", "Plan a sweep"))
    assert not at.get("progress") and "Last warnings" not in said(at)
    assert not now.is_anything_live(Workspace.open(), now.alerts().assign(state=[]))
