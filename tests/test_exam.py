"""A suite put to a finished run: rows, hashes, floors, views, and that nothing is asked twice."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mixlab import exam
from mixlab.eval.scoring import choice_metrics
from mixlab.results.court import parts_of
from mixlab.results.floors import tasks_of
from mixlab.results.store import Store, publish
from mixlab.workspace import Workspace, read_lines
from tests.conftest import TINY, documents, mixlab, write_source

ROWS = [
    {"query": f"the {a} and the", "choices": [a, b, "ébène"], "gold": i % 3}
    for i, (a, b) in enumerate([("ab", "cde"), ("fgh", "ijkl"), ("mm", "mm"), ("dd ee", "k")])
]
YAML = "label: mine\ndataset_uri: mine.jsonl\nicl_task_type: multiple_choice\nunconditional: true\n"


def write_suite(folder: Path) -> Path:
    folder.mkdir()
    (folder / "mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS), encoding="utf-8")
    (folder / "mine.yaml").write_text(YAML)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A lab with one small run, and what `mixlab run --json` said; copied by each test that writes to it."""
    folder = tmp_path_factory.mktemp("exam")
    for name in ("prose", "lists"):
        write_source(folder, name, documents(name, 60))
    settings = ("train.tokens=2048", "evals=quiet", "evals.unprompted=8", "evals.prompts=[Once]")
    made = mixlab("run", *TINY, *settings, "--json", env={"MIXLAB_HOME": str(folder / "lab")}, cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder / "lab", json.loads(made.stdout)


@pytest.fixture
def run(project, trained):
    shutil.copytree(trained[0], project / "lab")
    return Workspace.open(project / "lab").runs()[0]


def test_a_finished_run_is_evaluated_without_training_and_a_new_task_costs_only_itself(project, run):
    ws, suite = Workspace.open(project / "lab"), write_suite(project / "suite")
    weights = (run / "checkpoint" / "model.safetensors").read_bytes()
    told = mixlab("runs", "eval", run.name, "--suite", str(suite), "--json")
    assert told.returncode == 0, told.stderr
    scores = json.loads(told.stdout)["scores"]
    assert all(s["suite_hash"] and s["prompt_hash"] and s["tokenizer_hash"] and s["suite"] == "suite" for s in scores)
    assert {"acc_char", "gold_bpb", "acc_pmi", "ece", "brier"} <= {s["metric"] for s in scores}
    assert (run / "checkpoint" / "model.safetensors").read_bytes() == weights

    before, items = read_lines(run / "scores.jsonl"), read_lines(run / "items.jsonl")
    assert len(items) == len(ROWS)
    assert {r["metric"] for r in before if r["task"] == "mine" and r["step"] == 0} == {s["metric"] for s in scores}
    exam.sit(run, ws, str(suite))
    assert read_lines(run / "scores.jsonl") == before  # nothing was asked again
    assert mixlab("runs", "compare", run.name, run.name, "--json").returncode == 0

    (suite / "also.yaml").write_text(YAML.replace("label: mine", "label: also"))
    exam.sit(run, ws, str(suite))
    after = read_lines(run / "scores.jsonl")
    assert after[: len(before)] == before and {r["task"] for r in after[len(before) :]} == {"also"}
    assert len(list(ws.requests.glob("*.npz"))) == 2

    publish(ws)
    for _ in range(2):  # from the published file, then with the rows of a file that changed
        same_as_scoring(Store.open(ws), {r["item"]: r for r in items}, scores)
        (run / "items.jsonl").touch()
    floors = Store.open(ws).sql("SELECT * FROM score_floor WHERE task = 'mine' AND metric = 'acc_char'")
    assert set(floors["floor"]) == {"untrained", "shortest", "longest", "chance", "majority"}


def test_the_final_evaluation_looks_at_samples_and_tells_its_cost(trained):
    _, told = trained
    assert [s["temperature"] for s in told["samples"]] == [0.0, 0.8]  # greedy and drawn, with log-probabilities
    assert all(len(s["logprobs"]) == s["tokens"] for s in told["samples"])
    shares = told["unprompted"]["shares"]
    assert set(shares) == {"lists", "prose"} and sum(s["realised"] for s in shares.values()) == pytest.approx(1)
    assert sum(s["intended"] for s in shares.values()) == pytest.approx(1)
    assert {"repetition", "distinct_2", "stopped", "logprob"} <= set(told["unprompted"]["metrics"])
    cost = told["evaluation"]
    assert cost["train_s"] > 0 and cost["final_s"] > 0 and cost["live_frac"] == cost["live_s"] / cost["train_s"]


def test_floors_of_the_untrained_start_stand_beside_every_score(project, run):
    exam.sit(run, Workspace.open(project / "lab"), str(write_suite(project / "suite")))
    (task,) = tasks_of(read_lines(run / "scores.jsonl"))
    rows = {(r["step"], r["metric"]): r["value"] for r in read_lines(run / "scores.jsonl") if r["task"] == "mine"}
    for name, metric in task["metrics"].items():
        assert metric["value"] == rows[task["step"], name] and metric["untrained"] == rows[0, name]
    assert task["step"] > 0 and set(task["floors"]) == {"shortest", "longest", "chance", "majority"}
    told = mixlab("runs", "compare", run.name, run.name, "--json")
    assert told.returncode == 0, told.stderr
    for line in json.loads(told.stdout)["tasks"]:
        bpb = line["metric"] == "gold_bpb"
        known = [rows[0, line["metric"]], *([] if bpb else task["floors"].values())]
        assert line["floor"] == (min if bpb else max)(known) and (not bpb or line["floor_of"] == "untrained")


def test_an_item_that_stands_in_a_training_document_is_a_part_of_its_own(project, run):
    held = {r["id"] for r in read_lines(run / "documents.jsonl")}
    seen = [d["text"].split() for d in documents("prose", 60) if d["id"] not in held][:3]
    items = [(" ".join(ws[5:25]), " " + " ".join(ws[25:32])) for ws in seen]
    items += [(f"nobody wrote sentence {n} of these before", f" and so number {n} is new to us") for n in range(4)]
    (project / "suite").mkdir()
    rows = [json.dumps({"context": c, "continuation": t}) for c, t in items]
    (project / "suite" / "said.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (project / "suite" / "said.yaml").write_text(
        "label: said\ndataset_uri: said.jsonl\nicl_task_type: language_modeling\n"
    )
    searched = mixlab("data", "contamination", *TINY, "--tasks", str(project / "suite"), "--json")
    assert searched.returncode == 0, searched.stderr
    ws = Workspace.open(project / "lab")
    exam.sit(run, ws, str(project / "suite"))
    (found,) = (ws.root / "contamination").glob("*/items.parquet")
    (told,) = parts_of(Store.open(ws), [run.name], found)["tasks"]
    bpb = [-r["logliks"][0] / (math.log(2) * r["n_bytes"][0]) for r in read_lines(run / "items.jsonl")]
    assert (told["n"], told["n_dirty"]) == (7, 3)
    assert told["dirty"] == pytest.approx(np.mean(bpb[:3])) and told["clean"] == pytest.approx(np.mean(bpb[3:]))
    assert told["dirty_minus_clean"]["mean"] == pytest.approx(told["dirty"] - told["clean"])


def test_mbpps_own_file_is_scored_by_its_solutions(project, run):
    folder = project / "tasks" / "mbpp"
    folder.mkdir(parents=True)
    rows = [
        {"text": f"Write a function to add {n}.", "code": f"def f(x):\r\n    return x + {n}", "task_id": n}
        | {"test_setup_code": "", "test_list": [f"assert f(1) == {n + 1}"], "challenge_test_list": []}
        for n in range(3)
    ]
    (folder / "mbpp.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    scores = exam.sit(run, Workspace.open(project / "lab"), "mbpp", project / "tasks")
    (bpb,) = [s for s in scores if s["metric"] == "gold_bpb"]
    assert bpb["n"] == 3 and bpb["value"] > 0 and bpb["detail"]["status"] == "scored"
    (item, *_) = read_lines(run / "items.jsonl")
    assert item["n_bytes"] == [len(rows[0]["code"].encode())]


def test_a_finished_run_answers_and_a_run_that_began_alike_is_not_asked_untrained_again(project, run):
    suite = project / "suite"
    suite.mkdir()
    rows = [{"context": f"Question: {n} and one", "answer": str(n + 1)} for n in range(3)]
    (suite / "sums.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    (suite / "sums.yaml").write_text(
        "label: sums\ndataset_uri: sums.jsonl\nicl_task_type: generation_task_with_answers\nmax_new_tokens: 5\n"
    )
    ws, twin = Workspace.open(project / "lab"), run.with_name("twin-s0-00000000")
    shutil.copytree(run, twin)
    told = exam.sit(run, ws, str(suite))
    (mark,) = [s for s in told if s["metric"] == "exact_match"]
    assert mark["n"] == 3 and 0 <= mark["value"] <= 1 and {s["metric"] for s in told} > {"gold_bpb", "f1"}
    assert all(len(r["output"]) <= 5 for r in read_lines(run / "items.jsonl"))
    view = Store.open(ws).sql("SELECT value FROM task_mark WHERE metric = 'exact_match'")
    assert view["value"].tolist() == [mark["value"]]
    exam.sit(twin, ws, str(suite))
    (start, copied) = (
        [r for r in read_lines(p / "scores.jsonl") if r["task"] == "sums" and not r["step"]] for p in (run, twin)
    )
    assert [r["value"] for r in start] == [r["value"] for r in copied] and copied[0]["detail"]["seconds"] == 0
    assert [r["metric"] for r in start] == [s["metric"] for s in told]


def test_unprompted_samples_tell_the_mix_they_come_from(project, run):
    told = mixlab("runs", "samples", run.name, "--count", "12", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert set(found["shares"]) == {"lists", "prose"}
    assert sum(s["realised"] for s in found["shares"].values()) == pytest.approx(1)
    assert all(s["intended"] > 0 and s["told_right"] > 0.9 for s in found["shares"].values())  # made of other letters
    rows = read_lines(run / "unprompted.jsonl")
    assert len(rows) == 12 and len({r["output"] for r in rows}) > 1
    assert all(len(r["logprobs"]) == r["tokens"] and max(r["logprobs"], default=-1) < 0 for r in rows)
    metrics = {r["metric"] for r in read_lines(run / "scores.jsonl") if r["task"] == "samples"}
    assert {"share/prose", "repetition", "distinct_2", "stopped", "logprob"} <= metrics


def same_as_scoring(store, items, scores):
    marks = store.sql("SELECT * FROM item_mark WHERE task = 'mine' ORDER BY item")
    for found in marks.to_dict("records"):
        row = items[found["item"]]
        expected = choice_metrics(ROWS[found["item"]]["choices"], row["logliks"], row["n_tokens"], row["gold"])
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-15), name
    means = store.sql("SELECT metric, value FROM task_mark WHERE task = 'mine'").set_index("metric")["value"]
    for score in scores:
        if score["metric"] != "ece":
            assert means[score["metric"]] == pytest.approx(score["value"], rel=1e-12, abs=1e-15), score["metric"]
    ece = store.sql("SELECT ece FROM task_calibration WHERE task = 'mine'")["ece"][0]
    assert ece == pytest.approx(next(s["value"] for s in scores if s["metric"] == "ece"), abs=1e-12)


def test_a_missing_log_likelihood_is_null_in_every_view(project, run):
    ws, suite = Workspace.open(project / "lab"), write_suite(project / "suite")
    exam.sit(run, ws, str(suite))
    rows = read_lines(run / "items.jsonl")
    rows[1]["logliks"][2] = None
    (run / "items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    marks = Store.open(ws).sql("SELECT * FROM item_mark ORDER BY item")
    assert np.isnan(marks.loc[1, "acc":].astype(float)).all() and not math.isnan(marks["acc"][0])
    told = Store.open(ws).sql("SELECT DISTINCT status, value FROM task_mark")
    assert list(told["status"]) == ["diverged"] and told["value"].isna().all()


def test_live_tasks_are_asked_while_training_within_their_share(project):
    suite = write_suite(project / "suite")
    assert exam.stride(fed=10, train_tokens=8192, every_tokens=4096) == 1
    assert exam.stride(fed=10_000, train_tokens=8192, every_tokens=4096) is None
    told = mixlab("run", *TINY, "evals=quiet", f"evals.live_suite={suite}", f"evals.suite={suite}")
    assert told.returncode == 0, told.stderr
    rows = read_lines(Workspace.open(project / "lab").runs()[0] / "scores.jsonl")
    steps = {(r["step"], r["final"]) for r in rows if r["task"] == "mine"}
    assert (0, False) in steps and any(final for _, final in steps)
