"""Samples side by side: which texts stand together, votes that last, and shares with their interval."""

from itertools import permutations

import pandas as pd
import pytest

from mixlab.errors import ConfigError, MissingError
from mixlab.results import vibes
from mixlab.results.statistics import wilson
from mixlab.results.store import Store

SAMPLES = pd.DataFrame(
    [
        {
            "run_id": run,
            "step": step,
            "prompt": prompt,
            "temperature": heat,
            "seed": 0,
            "output": f"{run} {step} {heat}",
        }
        for run in ("a", "b")
        for step in (0, 9)
        for prompt in ("Once", "def")
        for heat in (0.0, 0.8)
        if (run, step, prompt) != ("b", 9, "def")
    ]
)


def test_a_prompt_is_shown_where_every_text_answers_it():
    told = vibes.shown(SAMPLES, ["a", "b"], [-1], 0.8)
    assert [t["prompt"] for t in told] == ["Once"]
    assert told[0]["texts"] == {("a", 9): "a 9 0.8", ("b", 9): "b 9 0.8"} and told[0]["seeds"] == {0}
    both = vibes.shown(SAMPLES, ["a"], [0, -1], 0.0)
    assert [list(t["texts"]) for t in both] == [[("a", 0), ("a", 9)]] * 2


def test_a_text_is_found_by_run_step_prompt_and_temperature():
    of_a = SAMPLES.loc[SAMPLES["run_id"] == "a"]
    assert vibes.text_of("a", "Once", 0.8, of_a) == ("a", 9)
    assert vibes.text_of("a@0", "def", 0.0, of_a) == ("a", 0)
    for name, prompt, heat, says in (
        ("a@5", "Once", 0.8, "There are: 0, 9"),
        ("a", "Twice", 0.8, "'Once', 'def'"),
        ("a", "Once", 0.5, "It has: 0.0, 0.8"),
    ):
        with pytest.raises(ConfigError, match=says):
            vibes.text_of(name, prompt, heat, of_a)


def test_the_order_hides_who_is_who_but_stays():
    texts = [("a", 9), ("b", 9), ("c", 9)]
    orders = {tuple(vibes.order(f"prompt {i}", texts)) for i in range(60)}
    assert orders == set(permutations(texts))  # any of them may stand first
    assert all(vibes.order("x", p) == vibes.order("x", texts) for p in permutations(texts))


def test_a_vote_lasts_and_a_second_one_replaces_it(ws, make_run):
    a, b = sorted([make_run("even", 0).name, make_run("odd", 0).name])
    texts = [(a, 3), (b, 3)]
    vibes.vote(ws, "Once", 0.8, texts, (b, 3), "ann")
    vibes.vote(ws, "Once", 0.8, texts, (a, 3), "bob")
    vibes.vote(ws, "Once", 0.0, texts, None, "ann")
    vibes.vote(ws, "Once", 0.8, texts, (a, 3), "ann")  # changed her mind
    told = vibes.votes(Store.open(ws))
    assert sorted(zip(told["author"], told["value"], strict=True)) == [("ann", "tie"), ("ann", "won"), ("bob", "won")]
    assert vibes.is_voted(told, "Once", 0.8, texts[::-1], "ann")
    assert not vibes.is_voted(told, "Once", 0.8, texts, "eve") and not vibes.is_voted(told, "Twice", 0.8, texts, "ann")
    score = vibes.tally(told).set_index("run_id")
    assert score.loc[a, ["won", "lost", "tied"]].tolist() == [2, 0, 1]
    assert (score.loc[a, "lo"], score.loc[a, "hi"]) == wilson(2, 2) and score.loc[a, "said"] == "not distinguishable"


def test_of_three_texts_the_chosen_one_beats_both_others(ws, make_run):
    texts = [(make_run(name, 0).name, 3) for name in ("a", "b", "c")]
    vibes.vote(ws, "Once", 0.8, texts, texts[1], "ann")
    score = vibes.tally(vibes.votes(Store.open(ws))).set_index("run_id")
    assert score["won"].to_dict() == {texts[0][0]: 0, texts[1][0]: 2, texts[2][0]: 0}
    assert score["lost"].sum() == 2


def test_twenty_wins_in_a_row_are_a_preference():
    rows = [
        {"run_a": "a", "step_a": 3, "run_b": "b", "step_b": 3, "prompt": f"{i}", "author": "x", "value": "won"}
        for i in range(20)
    ]
    told = vibes.tally(pd.DataFrame(rows)).set_index("run_id")
    assert told["said"].to_dict() == {"a": "preferred", "b": "not preferred"}
    assert vibes.tally(pd.DataFrame(rows).assign(value="tie"))["said"].tolist() == ["nothing decided"] * 2
    assert vibes.tally(pd.DataFrame(rows).assign(run_b="a")).empty  # two checkpoints of one run


def test_what_is_no_vote_is_refused(ws, make_run):
    run = make_run("even", 0).name
    with pytest.raises(ConfigError, match="two different texts"):
        vibes.vote(ws, "Once", 0.8, [(run, 3), (run, 3)], None)
    with pytest.raises(ConfigError, match="one of them"):
        vibes.vote(ws, "Once", 0.8, [(run, 1), (run, 3)], ("other", 3))
    with pytest.raises(MissingError, match="no run 'gone'"):
        vibes.vote(ws, "Once", 0.8, [(run, 3), ("gone", 3)], None)
