"""Answers that a model writes: cut, compared, and never of a model that is not finite."""

import json
import math

import numpy as np
import pytest

from mixlab.eval import answers, marking, suites
from mixlab.eval.engine import Scored
from mixlab.eval.requests import tokenise
from mixlab.results import marks as stored
from tests.eval.test_tasks import Bytes

ROWS = [
    {"context": "Question: two and two", "answer": "4", "aliases": ["four"]},
    {"context": "Question: a very much longer one, that leaves no room", "answer": "the cat"},
    {"context": "Question: nine and nine", "answer": "18"},
]


class Codec(Bytes):
    """Bytes, and back."""

    def decode(self, ids):
        return bytes(int(i) for i in ids).decode()


@pytest.fixture
def task(tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    spec = suites.TaskSpec(
        label="t",
        dataset_uri="t.jsonl",
        icl_task_type=answers.KIND,
        continuation_delimiter="\nA:",
        cot_delimiter="so ",
        early_stopping_criteria=("\n\n",),
        max_new_tokens=24,
    )
    return suites.render(spec, "s", [tmp_path])


def test_answers_come_back_in_the_order_of_the_items_cut_at_stops(task, monkeypatch):
    monkeypatch.setattr(answers, "BATCH_ROWS", 2)
    asked = []

    def write(prompts, n, heats, seeds):
        texts = [bytes(p.tolist()).decode() for p in prompts]
        asked.extend(texts)
        assert n == 24 and set(heats) == {0.0} and len(seeds) == len(prompts)
        told = ["9 so four\n\nQuestion: so 5" if "two" in text else "so a cat." for text in texts]
        return [np.frombuffer(answer.encode(), np.uint8) for answer in told]

    found = answers.written(write, Codec(), task, tokenise(task, Codec(), "x"), 64)
    assert found == ["four", "a cat.", "a cat."]
    assert asked[0] == ("Question: a very much longer one, that leaves no room\nA:")[-40:]  # 64 less 24
    assert asked[1:] == ["Question: nine and nine\nA:", "Question: two and two\nA:"]


def test_marks_stand_beside_the_log_likelihoods_and_a_diverged_model_has_none(task):
    n = len(ROWS)
    whole = {"greedy": np.zeros(n, bool), "least": np.full(n, -2.0), "truncated": np.zeros(n, bool), "tokens": 9}
    outputs = ["four", "a cat", "180"]
    for logliks, status in ((np.full(n, -3.0), "scored"), (np.array([-3.0, math.nan, -3.0]), "diverged")):
        requests = tokenise(task, Codec(), "x")
        rows = marking.item_rows(task, requests, Scored(logliks=logliks, **whole), 1, 1, "x", outputs)
        assert [row["output"] for row in rows] == outputs
        scores = {s["metric"]: s for s in marking.score_rows(task, rows, final=True, seconds=0.0, fed=9)}
        assert scores["exact_match"]["detail"]["status"] == status
        if status == "scored":
            assert [row["exact_match"] for row in rows] == [1.0, 1.0, 0.0]
            assert [scores[m]["value"] for m in ("exact_match", "prefix_match", "f1")] == [2 / 3, 1.0, 2 / 3]
            assert scores["exact_match"]["higher_is_better"] and scores["gold_bpb"]["value"] > 0
        else:
            assert rows[1]["exact_match"] is None and rows[1]["logliks"] == [None]
            assert all(s["value"] is None for s in scores.values())


def test_the_store_knows_every_mark_of_an_answer():
    assert stored.ANSWERS == answers.MARKS


def test_other_kinds_of_tasks_write_nothing(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"context": "c", "continuation": "d"}) + "\n")
    spec = suites.TaskSpec(label="t", dataset_uri="t.jsonl", icl_task_type="language_modeling")
    task = suites.render(spec, "s", [tmp_path])
    assert answers.written(None, Codec(), task, tokenise(task, Codec(), "x"), 64) == []
