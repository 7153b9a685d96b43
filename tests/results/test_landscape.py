"""Mixes as points: where they stand in a triangle, which axes differ, which runs no other beats."""

import pandas as pd
import pytest

from mixlab.results import landscape

RUNS = pd.DataFrame(
    {
        "run_id": ["r0", "r1", "r2", "r3", "r4"],
        "label": ["r0", "r1", "r2", "r3", "r4"],
        "state": ["finished", "finished", "finished", "finished", "running"],
        "recipe": ["x", "x", "x", "y", "x"],
        "seed": [0, 0, 0, 0, 0],
        "w_a": [1.0, 0.2, None, 0.5, 0.5],
        "w_b": [0.0, 0.3, 0.4, 0.5, 0.5],
        "w_c": [0.0, 0.5, 0.6, 0.0, 0.0],
        "w_old": [None, None, None, 1.0, None],
        "bpb_macro": [2.0, 1.5, 1.8, 1.0, 1.0],
        "bpb_macro_stderr": [0.1] * 5,
        "bpb_a": [1.0, 2.0, 2.5, 1.0, 1.0],
        "bpb_b": [3.0, 1.0, 1.1, 1.0, 1.0],
    }
)


def test_only_finished_runs_of_the_commonest_recipe_are_alike_best_first():
    told, left = landscape.alike(RUNS)
    assert list(told["run_id"]) == ["r1", "r2", "r0"] and left == 1
    assert landscape.shares_of(told) == ["w_a", "w_b", "w_c"]  # a source of other runs is no axis here
    assert told["w_a"].tolist() == [0.2, 0.0, 1.0]
    assert landscape.scores_of(told) == ["bpb_macro", "bpb_a", "bpb_b"]
    assert landscape.mixes_of(told) == 3 and landscape.mixes_of(told.iloc[:0]) == 0


def test_a_lab_without_finished_runs_has_nothing_to_place():
    assert landscape.alike(RUNS.iloc[4:])[0].empty and landscape.alike(pd.DataFrame())[1] == 0


def test_corners_stand_at_the_corners_and_the_rest_is_told():
    runs = pd.DataFrame({f"w_{s}": [float(s == t) for t in "abcd"] for s in "abcd"})
    told = landscape.ternary(runs, ["a", "b", "c"])
    assert told[["x", "y"]].round(4).values.tolist() == [[0, 0], [1, 0], [0.5, 0.866]]  # d alone has no place
    half = landscape.ternary(pd.DataFrame({"w_a": [0.3], "w_b": [0.1], "w_c": [0.1], "w_d": [0.5]}), ["a", "b", "c"])
    assert half["rest"].tolist() == pytest.approx([0.5])


def test_axes_in_which_all_agree_are_left_out():
    told, _ = landscape.alike(RUNS)
    assert landscape.differing(told, ["w_a", "seed", "bpb_macro", "recipe"]) == ["w_a", "bpb_macro"]


def test_each_axis_runs_from_its_least_to_its_greatest_value():
    told, _ = landscape.alike(RUNS)
    lines = landscape.parallel(told, ["w_a", "seed"])
    at = {(r["run_id"], r["axis"]): r["at"] for r in lines.to_dict("records")}
    assert (at["r2", "w_a"], at["r0", "w_a"], at["r1", "seed"]) == (0.0, 1.0, 0.5)
    assert landscape.parallel(told, []).empty


def test_the_front_holds_the_runs_that_no_other_beats_on_both():
    told, _ = landscape.alike(RUNS)
    front = landscape.pareto(told, "bpb_a", "bpb_b")
    assert dict(zip(front["run_id"], front["is_best"], strict=True)) == {"r1": True, "r2": False, "r0": True}
    twins = landscape.pareto(pd.DataFrame({"x": [1.0, 1.0, None], "y": [1.0, 1.0, 0.0]}), "x", "y")
    assert twins["is_best"].tolist() == [True, True]


def test_doses_are_long_and_a_mixture_holds_only_what_it_uses():
    told, _ = landscape.alike(RUNS)
    assert len(landscape.doses(told, "bpb_macro")) == 9
    assert landscape.mixture_of(told, "r2") == {"b": 0.4, "c": 0.6}
