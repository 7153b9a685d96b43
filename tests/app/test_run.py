"""The page Run: one run, live, failed, finished, or gone."""

import json
import shutil

import pytest

from mixlab.app import lab as reader
from mixlab.app import one_run
from mixlab.workspace import append_line
from tests.app.driver import said, show
from tests.app.synthetic_lab import HOSTILE

FINISHED, LIVE, FAILED = "uniform-s0-aaaa0002", "code-x2-s0-aaaa0004", "broken-s0-aaaa0005"


@pytest.mark.parametrize("query", [{}, {"id": "gone-s0-00000000"}, {"id": "../../etc"}])
def test_without_a_run_the_page_links_back_and_names_the_command(lab, query):
    at = show("run", **query)
    assert "mixlab runs ls --archived" in said(at) and at.get("page_link")
    assert query.get("id", "") in said(at)


def test_an_empty_lab_says_what_to_do(project):
    assert "mixlab runs ls" in said(show("run"))


def test_a_finished_run_shows_curves_mixture_and_a_quiet_line(lab):
    at = show("run", id=FINISHED)
    assert len(at.get("vega_lite_chart")) == 2
    assert "nothing happened" in at.success[0].value
    assert {m.label: m.value for m in at.metric}["State"] == "finished"
    assert set(at.dataframe[0].value["source"]) == {"books", "code", "docs", "wiki"}


def test_a_live_run_tells_how_far_it_is(lab):
    at = show("run", id=LIVE)
    assert {m.label: m.value for m in at.metric}["Step"] == "120 of 200"
    assert 0 < one_run.seconds_left(one_run.facts(lab / "runs" / LIVE)) < 60


def test_a_failed_run_says_why(lab):
    at = show("run", id=FAILED)
    assert "loss is not finite" in at.warning[0].value and not at.success


@pytest.mark.parametrize(
    ("tab", "says"),
    [("Scores", f"mixlab runs eval {FINISHED}"), ("Samples", "Prompt (drawn at temperature 0.8): Once upon"),
     ("Settings", f"mixlab runs clone {FINISHED} seed=1"), ("Lineage", f"mixlab runs lineage {FINISHED}"),
     ("Events", "Nothing happened"), ("Log", f"mixlab runs tail {FINISHED}")],
)  # fmt: skip
def test_every_tab_shows_its_part_and_its_command(lab, tab, says):
    at = show("run", id=FINISHED, tab=tab)
    assert says in said(at), said(at)


def test_samples_are_text_with_their_controls_written_out(lab):
    at = show("run", id=FINISHED, tab="Samples")
    assert f"at step 200: {reader.visible(HOSTILE)}" in [c.value for c in at.code]
    assert HOSTILE not in "".join(m.value for m in at.markdown)


def test_events_that_need_a_person_stand_above_the_logbook(lab):
    run = lab / "runs" / FINISHED
    append_line(
        run / "events.jsonl", {"ts": 1.79e9, "step": 7, "level": "warning", "kind": "spike", "text": "\x1b[1mup"}
    )
    at = show("run", id=FINISHED, tab="Events")
    assert "step 7: <U+001B>[1mup" in said(at) and "Nothing happened" not in said(at)
    assert list(at.dataframe[0].value["kind"]) == ["spike"]


def test_the_log_is_the_jobs_own_and_without_colours(lab):
    run, job = lab / "runs" / FINISHED, lab / "jobs" / "j1"
    path, text = one_run.log(run)
    assert path == str(run / "metrics.jsonl") and "loss/train" in text
    job.mkdir(parents=True)
    (job / "log.txt").write_bytes(b"x" * 70_000 + b"\n\x1b[31mthe end\x1b[0m\n")
    (run / "job.json").write_text(json.dumps({"job": "j1"}))
    path, text = one_run.log(run)
    assert path == str(job / "log.txt") and text.endswith("the end\n") and len(text) <= 64 * 1024


def test_a_score_is_the_last_final_one(lab):
    told = one_run.scores(lab / "runs" / FINISHED)
    assert told["task"].iloc[0] == "bpb/macro" and len(told) == 5
    assert set(told["step"]) == {200} and all(told["is_final"])
    live = one_run.scores(lab / "runs" / LIVE)
    assert set(live["step"]) == {120} and not any(live["is_final"])


def test_a_run_deleted_under_the_page_is_no_error(lab):
    at = show("run", id=FINISHED)
    shutil.rmtree(lab / "runs" / FINISHED)
    at.run()
    assert not at.exception and "There is no such run" in said(at)
