import time

import numpy as np
import pytest

from mixlab.errors import ConfigError, MissingError
from mixlab.results.court import compare_items, court, split
from mixlab.results.store import Store
from mixlab.workspace import append_lines


def item(i, ll, prompt="p"):
    told = {"step": 3, "tokens": 9, "ts": time.time(), "task": "copa", "suite": "s", "suite_hash": "h"}
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


def test_contaminated_items_are_a_score_of_their_own():
    told = split([1, 1, 1, 0, 0, 1], [0, 1, 2, 3, 4, 5], {0, 1, 2})
    assert (told["clean"], told["dirty"], told["difference"].mean) == (1 / 3, 1.0, pytest.approx(2 / 3))
    with pytest.raises(MissingError, match="no split"):
        split([1, 0], [0, 1], set())
