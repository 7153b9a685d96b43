"""Runs side by side: seed bands, settings that differ, floors of tasks, and comparisons that are refused in words."""

import pandas as pd

from mixlab.results import versus
from mixlab.results.store import Store
from mixlab.workspace import append_line

SCORES = pd.DataFrame(
    [
        *(("a0", 100, "wiki", 2.0), ("a1", 100, "wiki", 2.2), ("a0", 200, "wiki", 1.0), ("a1", 200, "wiki", None)),
        *(("b0", 100, "wiki", 3.0), ("other", 100, "wiki", 9.0)),
    ],
    columns=["run_id", "tokens", "domain", "value"],
)


def test_a_band_spans_its_seeds_and_says_how_many_there_are_at_each_point():
    told = versus.bands(SCORES, {"a0": "A", "a1": "A", "b0": "B"})
    rows = told.drop(columns="domain").values.tolist()
    assert rows == [["A", 100, 2.1, 2.0, 2.2, 2], ["A", 200, 1.0, 1.0, 1.0, 1], ["B", 100, 3.0, 3.0, 3.0, 1]]


def test_no_scores_make_no_band():
    assert versus.bands(SCORES.iloc[:0], {}).empty


def test_settings_show_only_what_differs_and_leave_the_mixture_to_the_mix_table(ws, make_run):
    one, other = make_run("even", 0), make_run("even", 1)
    store = Store.open(ws)
    assert versus.settings(store, [one.name, other.name]).empty
    text = (other / "run.json").read_text().replace('"d_model": 64', '"d_model": 128')
    (other / "run.json").write_text(text)
    told = versus.settings(store, [one.name, other.name]).to_dict("records")
    assert told == [{"key": "model.d_model", one.name: "64", other.name: "128"}]


def test_two_mixes_are_told_whole(ws, make_run):
    a, b = make_run("even", 0, bpb=2.5), make_run("codeish", 0, weights={"code": 0.7, "wiki": 0.3}, bpb=2.4)
    told = versus.versus(ws, a.name, b.name)
    assert {s: round(p, 6) for s, p in told["points"].items()} == {"code": 20.0, "wiki": -20.0}
    assert [s["task"] for s in told["scores"]] == ["bpb/macro", "bpb/code", "bpb/wiki"]
    assert told["tasks"] == [] and told["refused"] is None
    assert set(told["domains"]) == {"a", "b"}
    make_run("even", 1, bpb=2.7)
    told = versus.versus(ws, a.name, b.name)
    assert round(told["domains"]["a"]["macro"], 6) == round(told["scores"][0]["a"], 6)  # of all its seeds


def test_task_scores_come_with_the_floors_of_the_untrained_and_of_the_text(ws, make_run):
    run = make_run("even", 0)
    about = {"ts": 1.0, "task": "quiz", "metric": "acc_char", "stderr": 0.05, "n": 9, "higher_is_better": True}
    about |= {"evals_key": "q", "detail": {"floors": {"longest": 0.4, "majority": 0.3}}}
    append_line(run / "scores.jsonl", {**about, "step": 0, "tokens": 0, "value": 0.25, "final": False})
    append_line(run / "scores.jsonl", {**about, "step": 3, "tokens": 300, "value": 0.5, "final": True})
    store = Store.open(ws)
    floors = versus.floors(store, [run.name], "acc_char").values.tolist()
    assert floors == [["quiz", "longest", 0.4], ["quiz", "majority", 0.3], ["quiz", "untrained", 0.25]]
    (score,) = versus.task_scores(store, [run.name], "acc_char").to_dict("records")
    assert (score["task"], score["value"], round(score["lo"], 3), round(score["hi"], 3)) == ("quiz", 0.5, 0.402, 0.598)
    assert versus.task_metrics(store, [run.name]) == ["acc_char"]


def test_metrics_in_which_all_runs_agree_come_last(ws, make_run):
    runs = [make_run("even", 0), make_run("odd", 0, weights={"code": 0.7, "wiki": 0.3})]
    about = {"ts": 1.0, "task": "samples", "stderr": None, "n": 9, "higher_is_better": True, "evals_key": "q"}
    for run, value in zip(runs, (0.1, 0.2), strict=True):
        for metric, told in (("copied", 0.0), ("distinct", value)):
            at = {"step": 3, "tokens": 300, "final": True, "detail": {}}
            append_line(run / "scores.jsonl", {**about, **at, "metric": metric, "value": told})
    assert versus.task_metrics(Store.open(ws), [r.name for r in runs]) == ["distinct", "copied"]
