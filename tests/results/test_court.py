import math
import time

import numpy as np
import pandas as pd
import pytest

from mixlab.errors import ConfigError, MissingError
from mixlab.results import contest
from mixlab.results.court import compare_items, court, court_of, parts_of, split
from mixlab.results.store import Store
from mixlab.workspace import append_line, append_lines


def item(i, ll, prompt="p", ts=None):
    told = {"step": 3, "tokens": 9, "ts": ts or time.time(), "task": "copa", "suite": "s", "suite_hash": "h"}
    told |= {"prompt_hash": prompt, "tokenizer_hash": "t", "convention": "lm-eval", "item": i, "cluster": "", "gold": 0}
    told |= {"logliks": ll, "alone": None, "n_tokens": [1, 1], "n_chars": [2, 2], "n_bytes": [2, 2]}
    return told | {"greedy": [False, False], "least": ll, "truncated": False}


def test_two_runs_are_compared_item_by_item_and_never_over_mixed_prompts(ws, make_run):
    a, b, c = make_run("a"), make_run("b"), make_run("c")
    append_lines(a / "items.jsonl", [item(i, [-2.0 - i, -1.0]) for i in range(8)])
    append_lines(b / "items.jsonl", [item(i, [-0.5 - i / 100, -1.0]) for i in range(8)])
    append_lines(c / "items.jsonl", [item(i, [-0.5, -1.0], prompt="other") for i in range(8)])
    told = compare_items(Store.open(ws), a.name, b.name, "copa")
    assert told["difference"].mean < 0 and told["difference"].distinguishable and told["n"] == 8
    told = compare_items(Store.open(ws), a.name, b.name, "copa", "acc")
    assert told["p_mcnemar"] == pytest.approx(2 / 2**8)
    with pytest.raises(ConfigError, match="prompt_hash"):
        compare_items(Store.open(ws), a.name, c.name, "copa")
    with pytest.raises(MissingError, match="not scored for both"):
        compare_items(Store.open(ws), a.name, make_run("d").name, "copa")


def test_the_court_mutes_what_is_noise_and_says_why():
    rng = np.random.default_rng(0)
    ends = np.array([2.0, 2.2, 2.4, 2.6])
    good = (ends[:, None] + np.linspace(1, 0, 6) + 0.001 * rng.standard_normal((4, 6))).tolist()
    noise = (0.25 + 0.01 * rng.standard_normal((4, 6))).tolist()
    against = (np.linspace(0, 0.1, 6) + ends[:, None] / 10).tolist()
    told = court(
        {("t", "gold_bpb"): good, ("t", "acc"): noise, ("u", "acc"): against}, {"gold_bpb": False, "acc": True}, ends
    )
    by = {(f.task, f.metric): f for f in told}
    assert by["t", "acc"].is_muted and "below" in by["t", "acc"].reason
    assert by["u", "acc"].is_muted and "0% of the pairs" in by["u", "acc"].reason
    assert by["t", "gold_bpb"].agreement == 1.0 and by["t", "gold_bpb"].monotonicity > 0.9


def test_a_metric_that_stands_still_does_not_follow_training():
    ends = np.array([2.0, 2.2, 2.4])
    still = [[0.0, 0.0, 0.0, 0.0, 0.1], [0.1, 0.0, 0.0, 0.0, 0.0], [0.0] * 5]
    (found,) = court({("t", "acc"): still}, {"acc": True}, ends)
    rise = 2 / math.sqrt(8)  # Spearman of four equal values and a last one, or a first one turned round
    assert found.monotonicity == pytest.approx((rise - rise + 0.0) / 3) and "does not follow" in found.reason


def test_the_court_hears_one_exam_of_a_task_at_a_time(ws, make_run):
    names = [make_run(f"m{i}", i, weights={"code": 0.1 * i, "wiki": 1 - 0.1 * i}, bpb=2 + i).name for i in range(3)]
    for i, name in enumerate(names):
        run = ws.root / "runs" / name
        for step, value in enumerate((0.31, 0.32, 0.33, 0.34), 1):  # of some items, while it trained
            final(run, value + 0.03 * (2 - i) + 1e-4 * (step % 2), metric="acc_char", step=step, exam="live")
        final(run, 0.9, metric="acc_char", step=3, exam="full")  # of all of them, at the end: another exam
        final(run, 2.5 + i, task="length/macro", metric="bpb_1x")
    (found,) = court_of(Store.open(ws), names)
    assert found.monotonicity == 1.0 and found.agreement == 1.0 and not math.isnan(found.snr)


def test_runs_that_sat_another_exam_since_are_compared_on_the_newest_that_both_sat(ws, make_run):
    a, b = make_run("a"), make_run("b")
    for run, shift in ((a, 0.0), (b, 1.0)):
        append_lines(run / "items.jsonl", [item(i, [-2.0 + shift, -1.0], ts=100.0) for i in range(4)])
        append_lines(run / "items.jsonl", [item(i, [-3.0 + shift, -1.0], "new", ts=200.0) for i in range(6)])
    append_lines(a / "items.jsonl", [item(i, [-9.0, -1.0], "only a", ts=300.0) for i in range(8)])
    assert compare_items(Store.open(ws), a.name, b.name, "copa")["n"] == 6
    lines = contest.tasks_between(Store.open(ws), [a.name], [b.name])
    assert {line["n"] for line in lines} == {6} and lines[0]["a"] == pytest.approx(3 / (2 * math.log(2)))


def test_contaminated_items_are_a_score_of_their_own():
    told = split([1, 1, 1, 0, 0, 1], [0, 1, 2, 3, 4, 5], {0, 1, 2})
    assert (told["clean"], told["dirty"], told["difference"].mean) == (1 / 3, 1.0, pytest.approx(2 / 3))
    with pytest.raises(MissingError, match="no split"):
        split([1, 0], [0, 1], set())


def final(run, value, task="copa", metric="gold_bpb", step=3, exam="h-p-t"):
    row = {
        "step": step,
        "tokens": step,
        "ts": time.time(),
        "task": task,
        "metric": metric,
        "value": value,
        "stderr": 0.1,
    }
    row |= {"n": 8, "higher_is_better": metric == "acc_char", "final": step == 3, "evals_key": exam, "detail": {}}
    append_line(run / "scores.jsonl", row)


def sat(make_run, name, seed, shift, prompt="p", weights=None):
    """A run with eight items whose right choice is `shift` nats likelier."""
    run = make_run(name, seed, weights=weights, bpb=2.5 - shift)
    rng = np.random.default_rng([seed, round(100 * shift)])
    append_lines(
        run / "items.jsonl", [item(i, [-2.0 - i / 4 + shift + rng.normal(0, 0.05), -2.5], prompt) for i in range(8)]
    )
    for step in (1, 2, 3):
        final(
            run,
            2.0 - shift + rng.normal(0, 0.02) + seed / 100 + (0.05 if seed % 2 else -0.05) * (step % 2),
            step=step,
            exam=f"h-{prompt}-t",
        )
    return run.name


def test_a_winner_on_a_task_needs_both_noises_to_clear_zero(ws, make_run):
    heavy = {"code": 0.2, "wiki": 0.8}
    a = [sat(make_run, "even", s, 0.0) for s in range(3)]
    b = [sat(make_run, "wiki", s, 1.0, weights=heavy) for s in range(3)]
    c = [sat(make_run, "more", s, 0.01, weights={"code": 0.3, "wiki": 0.7}) for s in range(3)]
    store = Store.open(ws)
    (bpb, acc) = contest.tasks_between(store, a, b)
    assert bpb["metric"] == "gold_bpb" and bpb["winner"] == "b" and bpb["difference"] < 0 and bpb["p_holm"] < 0.05
    assert bpb["training"] > 0 and bpb["items"] > 0 and bpb["bootstrap_lo"] <= bpb["difference"] <= bpb["bootstrap_hi"]
    assert acc["p_mcnemar"] is not None and bpb["p_mcnemar"] is None
    assert {t["winner"] for t in contest.tasks_between(store, a, c)} == {contest.NOBODY}
    other = [sat(make_run, "asked otherwise", 0, 1.0, prompt="q", weights={"code": 0.1, "wiki": 0.9})]
    with pytest.raises(ConfigError, match="prompt_hash"):
        contest.tasks_between(store, a, other)
    assert contest.tasks_between(store, a, [make_run("never asked").name]) == []


def test_one_run_a_side_takes_its_noise_from_its_last_checkpoints(ws, make_run):
    a, b = sat(make_run, "even", 0, 0.0), sat(make_run, "wiki", 1, 1.0, weights={"code": 0.2, "wiki": 0.8})
    assert (
        contest.checkpoint_noise(Store.open(ws), [a, b], ["copa"], "gold_bpb") == {}
    )  # two checkpoints in the second half of training say nothing
    line = contest.tasks_between(Store.open(ws), [a], [b])[0]
    assert line["winner"] == contest.NOBODY and line["lo"] is None and "unknown" in line["method"]
    for step, value in ((4, 2.0), (5, 2.1)):
        final(ws.root / "runs" / a, value, step=step)
    final(ws.root / "runs" / a, 9.0, step=6, exam="all items")  # another exam is another level, not noise
    assert contest.checkpoint_noise(Store.open(ws), [a], ["copa", "piqa"], "gold_bpb")["copa"].sd < 0.2


def test_a_ranking_tells_who_may_be_best_and_names_winners_by_holm():
    clear = {"good": {0: 2.0, 1: 2.01, 2: 2.005}, "bad": {0: 3.0, 1: 3.01, 2: 3.0}, "same": {0: 2.01, 1: 2.0, 2: 2.006}}
    told = contest.ranking(clear)
    by = {p["mixture"]: p for p in told["mixes"]}
    assert by["bad"]["p_best"] == 0 and (by["bad"]["rank_lo"], by["bad"]["rank_hi"]) == (3, 3)
    winners = {(p["a"], p["b"]): p["winner"] for p in told["pairs"]}
    assert winners["bad", "good"] == "good" and winners["good", "same"] == contest.NOBODY
    (pair,) = (p for p in told["pairs"] if (p["a"], p["b"]) == ("bad", "good"))
    assert pair["difference"] == pytest.approx(-0.998, abs=0.001) and pair["lo"] < pair["hi"] < 0  # b minus a
    told = contest.ranking({"a": {0: 1.0}, "b": {0: 2.0}, "gone": {0: None}})
    assert "noise is unknown" in told["words"] and "gone" in told["words"] and told["mixes"][0]["p_best"] is None
    assert [p["winner"] for p in told["pairs"]] == [contest.NOBODY]


def test_the_court_hears_stored_scores_of_runs_with_the_same_checkpoints(ws, make_run):
    names = [sat(make_run, f"m{i}", i, i / 3, weights={"code": 0.1 * i, "wiki": 1 - 0.1 * i}) for i in range(4)]
    for name in names[:-1]:  # one run was never asked
        final(ws.root / "runs" / name, 0.5, task="piqa", metric="acc_char")
    told = court_of(Store.open(ws), names)
    assert [(f.task, f.metric) for f in told] == [("copa", "gold_bpb")]
    assert told[0].agreement == 1.0 and told[0].snr is not None
    agreed = contest.agreement(Store.open(ws), names)
    assert agreed[0]["decision_accuracy"] == 1.0 and agreed[0]["lo"] <= 1.0


def test_a_run_is_scored_on_clean_and_contaminated_items_and_against_another(ws, make_run, tmp_path):
    a, b = sat(make_run, "even", 0, 0.0), sat(make_run, "wiki", 0, 1.0, weights={"code": 0.2, "wiki": 0.8})
    flags = pd.DataFrame({"task": "copa", "item": range(8), "ngram": 8, "dirty": [True] * 3 + [False] * 5})
    flags.to_parquet(tmp_path / "items.parquet")
    (told,) = parts_of(Store.open(ws), [a, b], tmp_path)["tasks"]
    assert (told["n"], told["n_dirty"]) == (8, 3) and told["dirty"] < told["all"] < told["clean"]
    assert told["all_minus_clean"] == pytest.approx(told["all"] - told["clean"])
    assert set(told["paired"]) == {"all", "clean", "dirty"} and told["paired"]["clean"]["n"] == 5
    assert told["paired"]["clean"]["mean"] < 0 and told["dirty_minus_clean"]["mean"] < 0
    flags.assign(task="piqa").to_parquet(tmp_path / "items.parquet")
    with pytest.raises(MissingError, match="copa"):
        parts_of(Store.open(ws), [a], tmp_path)
    with pytest.raises(MissingError, match="data contamination"):
        parts_of(Store.open(ws), [a], tmp_path / "nowhere")


def test_domains_are_views_over_stored_nats_and_bytes(ws, make_run):
    run = make_run("even", weights={"code": 0.25, "wiki": 0.75})
    for task, nats in (("bpb/code", 8.0), ("bpb/wiki", 4.0), ("books", 12.0)):
        row = {
            "step": 9,
            "tokens": 9,
            "ts": time.time(),
            "task": task,
            "metric": "bpb",
            "value": 1.0,
            "stderr": 0.1,
            "n": 7,
        }
        row |= {
            "higher_is_better": False,
            "final": True,
            "evals_key": "z",
            "detail": {"nats": nats, "bytes": 4, "tokens": 3},
        }
        append_line(run / "scores.jsonl", row)
    found = Store.open(ws).sql("SELECT * FROM domain_bpb WHERE step = 9").set_index("domain")
    assert found["bpb"]["code"] == pytest.approx(2 / np.log(2)) and bool(found["is_external"]["books"])
    (told,) = Store.open(ws).sql("SELECT * FROM run_bpb WHERE step = 9").to_dict("records")
    assert told["macro"] == pytest.approx(1.5 / np.log(2)) and told["mix_weighted"] == pytest.approx(1.25 / np.log(2))
    assert told["worst"] == pytest.approx(2 / np.log(2)) and told["worst_domain"] == "code"
