"""The page Runs: what its table shows, and what can be done with the chosen runs."""

import json
import subprocess
import sys

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from mixlab import claims, jobs
from mixlab.app import actions
from mixlab.app import lab as reader
from mixlab.cli import app
from mixlab.errors import ConfigError, MissingError
from mixlab.results import annotations
from mixlab.workspace import Workspace, write_json
from tests.app.driver import said, show

ONE = "uniform-s0-aaaa0002"
OTHER = "natural-s0-aaaa0001"


def dialog(verb: str, *runs: str) -> AppTest:
    """The inside of a dialog as a page: AppTest reruns whole pages, on which a dialog closes."""
    at = AppTest.from_string(f"from mixlab.app import actions; actions._body({verb!r}, {list(runs)!r})")
    return at.run(timeout=60)


def test_a_table_tells_the_last_lowest_or_highest_of_a_runs_evaluations(lab):
    runs = reader.runs().set_index("run_id")
    scores = reader.scores([ONE])
    macro = scores.loc[scores["domain"] == "macro", "value"]
    for rule, told in (("last", macro.iloc[-1]), ("lowest", macro.min()), ("highest", macro.max())):
        got = reader.summarised(runs.reset_index(), rule).set_index("run_id")
        assert got.loc[ONE, "bpb_macro"] == pytest.approx(told)
        assert got["w_code"].equals(runs["w_code"])
    with pytest.raises(ConfigError, match="lowest"):
        reader.summarised(runs.reset_index(), "low")
    assert show("runs", rule="highest").dataframe[0].value["bpb_macro"].min() > macro.iloc[0] - 0.1


def test_archived_runs_are_left_out_until_they_are_asked_for(lab):
    annotations.archive(lab / "runs" / ONE)
    annotations.tag(lab / "runs" / OTHER, "baseline")
    at = show("runs")
    told = at.dataframe[0].value
    assert ONE not in set(told["run_id"]) and len(told) == 4
    assert {"tags", "is_archived"} & set(at.dataframe[0].proto.column_order) == {"tags"}
    at.toggle(key="archived").set_value(True).run()
    assert len(at.dataframe[0].value) == 5
    at.text_input(key="q").set_value("baseline").run()
    assert list(at.dataframe[0].value["run_id"]) == [OTHER]


def test_what_is_done_with_runs_is_asked_in_a_dialog_that_names_them(lab):
    at = show("runs", run=[ONE, OTHER])
    at.button(key="runs-archive").click().run()
    assert f"{ONE}\n{OTHER}" in said(at) and f"mixlab runs archive {ONE} {OTHER}" in said(at)
    assert not annotations.remarks(lab / "runs" / ONE)["is_archived"]  # the first click asks
    at = dialog("archive", ONE, OTHER)
    at.button(key="do-archive").click().run()
    assert all(annotations.remarks(lab / "runs" / run)["is_archived"] for run in (ONE, OTHER))
    at.checkbox(key="undo-archive").check().run()
    assert f"mixlab runs archive {ONE} {OTHER} --undo" in said(at)
    at.button(key="do-archive").click().run()
    assert not annotations.remarks(lab / "runs" / ONE)["is_archived"]


def test_a_note_is_of_one_run_and_a_tag_has_a_name(lab):
    assert "choose one" in said(dialog("note", ONE, OTHER))
    at = dialog("tag", ONE)
    assert at.button(key="do-tag").disabled
    at.text_input(key="text-tag").set_value("a,b").run()
    at.button(key="do-tag").click().run()
    assert "This was not done" in said(at) and "is no tag" in said(at)


def test_without_a_chosen_run_nothing_can_be_done(lab):
    assert all(show("runs").button(key=f"runs-{verb}").disabled for verb in actions.VERBS)


def test_every_verb_shows_the_command_that_does_the_same(lab):
    run = lab / "runs" / ONE
    actions.do("tag", [ONE], "good")
    actions.do("star", [ONE])
    actions.do("note", [ONE], "see issue")
    before = annotations.remarks(run)
    assert before == {"is_starred": True, "is_archived": False, "tags": ["good"], "note": "see issue"}
    actions.do("star", [ONE], undo=True)
    assert not annotations.remarks(run)["is_starred"]
    words = actions.VERBS["tag"].words([ONE], "again")
    assert CliRunner().invoke(app, words).exit_code == 0
    assert annotations.remarks(run)["tags"] == ["again", "good"]


def test_cancelling_what_does_not_run_is_told_in_words(lab):
    with pytest.raises(MissingError, match="nothing was cancelled"):
        actions.do("cancel", [ONE])
    at = dialog("cancel", ONE)
    at.button(key="do-cancel").click().run()
    assert "This was not done" in said(at) and "nothing was cancelled" in said(at)


def test_cancel_signals_the_process_that_holds_the_run(lab):
    code = "import signal, time; signal.signal(15, lambda *_: exit(75)); print('ready', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        ws = Workspace.open()
        ws.claims.mkdir(exist_ok=True)
        told = {**claims._me(), "pid": process.pid, "born": claims.born(process.pid)}
        write_json(ws.claims / f"{ONE}.0", told)
        assert ONE in actions.do("cancel", [ONE])
        assert process.wait(30) == 75
        write_json(ws.claims / f"{ONE}.0", {**told, "born": "0"})  # the id belongs to somebody else by now
        with pytest.raises(MissingError):
            actions.do("cancel", [ONE])
    finally:
        process.kill()
        process.communicate()


def test_retry_is_a_job_and_a_second_click_finds_it(lab, monkeypatch):
    started = []
    monkeypatch.setattr(
        jobs, "_start", lambda ws, folder: started.append(json.loads((folder / "job.json").read_text()))
    )
    first = actions.do("retry", ["broken-s0-aaaa0005"])
    assert "trains them" in first and "at it already" in actions.do("retry", ["broken-s0-aaaa0005"])
    assert [job["words"] for job in started] == [["runs", "retry", "broken-s0-aaaa0005"]]


def test_a_stopped_run_is_not_looked_at_again_and_again(lab):
    runs = reader.runs().set_index("run_id")
    assert reader.is_live(runs.reset_index())
    status = lab / "runs" / "code-x2-s0-aaaa0004" / "status.json"
    told = json.loads(status.read_text())
    status.write_text(json.dumps({**told, "state": "queued", "reason": "stopped by SIGTERM; the same command goes on"}))
    assert not reader.is_live(reader.runs())
    status.write_text(json.dumps({**told, "state": "queued", "reason": None}))
    assert reader.is_live(reader.runs())
