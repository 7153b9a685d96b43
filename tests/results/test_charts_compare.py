"""Charts of comparisons and of many mixes: valid, with their takeaway, a source in its one colour, n shown."""

import pandas as pd
import pytest

from mixlab.results import charts_compare, charts_explore, landscape
from mixlab.results.charts import colours

SOURCES = ["code", "docs", "wiki"]
MOVED = pd.DataFrame({"source": ["code", "wiki"], "points": [12.5, -12.5]})
CURVES = pd.DataFrame(
    [
        {"group": g, "domain": "macro", "tokens": t, "mean": m, "low": m - 0.1, "high": m + 0.1, "n": n}
        for g, n, m in (("even", 3, 2.5), ("odd", 1, 2.4))
        for t in (0, 1000)
    ]
)
SCORES = pd.DataFrame(
    {
        "task": ["bpb/macro", "bpb/code"],
        "difference": [-0.1, 0.01],
        "lo": [-0.2, None],
        "hi": [-0.05, None],
        "distinguishable": [True, False],
    }
)
TASKS = pd.DataFrame(
    {"task": ["quiz"] * 2, "group": ["a", "b"], "value": [0.5, 0.4], "lo": [0.4, 0.3], "hi": [0.6, 0.5]}
)
FLOORS = pd.DataFrame({"task": ["quiz"] * 2, "floor": ["longest", "untrained"], "value": [0.3, 0.25]})
RUNS = pd.DataFrame(
    {
        "run_id": ["r0", "r1", "r2"],
        "label": ["r0", "r1", "r2"],
        "w_code": [0.6, 0.2, 0.1],
        "w_docs": [0.2, 0.6, 0.1],
        "w_wiki": [0.2, 0.2, 0.8],
        "bpb_macro": [2.0, 1.9, 2.2],
        "bpb_code": [1.5, 1.8, 1.9],
        "bpb_wiki": [2.5, 2.4, 1.8],
    }
)
PLACED = landscape.ternary(RUNS, SOURCES)
LINES = landscape.parallel(RUNS, ["w_code", "bpb_code"])
FRONT = landscape.pareto(RUNS, "bpb_code", "bpb_wiki")
UNSEEN = pd.DataFrame(
    {"name": ["a", "b"], "predicted": [2.0, 2.2], "lo": [1.9, 2.1], "hi": [2.1, 2.3], "realised": [2.05, 2.5]}
)


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        (charts_compare.points(MOVED, SOURCES), "code +12.5, wiki -12.5"),
        (charts_compare.bands(CURVES, "macro", ["even", "odd"]), "even ends at 2.500, 3 seeds; odd ends at 2.400"),
        (charts_compare.bands(CURVES.iloc[:0], "macro", ["even"]), "no values yet"),
        (charts_compare.differences(SCORES), "1 of 2 differences clear zero: bpb/macro"),
        (charts_compare.task_scores(TASKS, FLOORS, ["a", "b"], "acc_char"), "quiz 0.500 (floor 0.300)"),
        (charts_compare.task_scores(TASKS, FLOORS.iloc[:0], ["a", "b"], "acc_char"), "quiz 0.500"),
        (charts_explore.ternary(PLACED, SOURCES, "bpb_macro"), "lowest mean bpb 1.900 at code 20%, docs 60%, wiki 20%"),
        (
            charts_explore.parallel(LINES, ["w_code", "bpb_code"]),
            "3 runs over 2 axes that differ: share code, bpb code; r1",
        ),
        (
            charts_explore.pareto(FRONT, "bpb_code", "bpb_wiki"),
            "3 of 3 runs on the front of bpb code and bpb wiki: r0, r1",
        ),
        (charts_explore.dose(landscape.doses(RUNS, "bpb_macro"), "code", SOURCES, "bpb_macro"), "correlation -0.50"),
        (charts_explore.unseen(UNSEEN, "leave one mix out"), "(leave one mix out): 1 of 2 inside"),
    ],
)
def test_every_chart_is_valid_and_says_its_takeaway(chart, said):
    assert said in chart.to_dict(validate=True)["description"]


def test_a_source_keeps_its_colour_where_others_are_missing():
    bars = charts_compare.points(MOVED, SOURCES).to_dict()["layer"][0]["encoding"]["color"]["scale"]
    assert dict(zip(bars["domain"], bars["range"], strict=True)) == colours(SOURCES)
    dots = charts_explore.dose(landscape.doses(RUNS, "bpb_macro"), "wiki", SOURCES, "bpb_macro").to_dict()
    assert dots["mark"]["color"] == colours(SOURCES)["wiki"]


def test_points_carry_no_column_that_is_not_drawn():
    for chart in (
        charts_explore.ternary(PLACED, SOURCES, "bpb_macro"),
        charts_explore.pareto(FRONT, "bpb_code", "bpb_wiki"),
    ):
        told = str(chart.to_dict()["layer"])
        assert all(f"'{c}" in told for c in chart.layer[-1].data.columns if c != "is_best"), chart.layer[
            -1
        ].data.columns


def test_the_legend_of_a_band_shows_how_many_seeds_there_are():
    line = charts_compare.bands(CURVES, "macro", ["even", "odd"]).to_dict()["layer"][1]
    assert line["encoding"]["color"]["scale"]["domain"] == ["even (n = 3)", "odd (n = 1)"]


def test_a_difference_that_is_not_one_looks_different_by_shape_too():
    spec = charts_compare.differences(SCORES).to_dict()
    shape = spec["layer"][2]["encoding"]["shape"]["scale"]
    assert shape["domain"] == ["told apart", "not distinguishable"] and len(set(shape["range"])) == 2


def test_scores_that_all_agree_stand_on_an_axis_of_more_than_one_value():
    none = FLOORS.iloc[:0]
    same = charts_compare.task_scores(TASKS.assign(value=0.0, lo=None, hi=None), none, ["a", "b"], "copied").to_dict()
    assert same["layer"][1]["encoding"]["x"]["scale"]["domain"] == [0, 1]
    assert (
        "domain"
        not in charts_compare.task_scores(TASKS, none, ["a", "b"], "acc").to_dict()["layer"][1]["encoding"]["x"][
            "scale"
        ]
    )


@pytest.mark.parametrize(
    "chart",
    [
        charts_explore.ternary(PLACED, SOURCES, "bpb_macro"),
        charts_explore.parallel(LINES, ["w_code", "bpb_code"]),
        charts_explore.pareto(FRONT, "bpb_code", "bpb_wiki"),
    ],
)
def test_a_click_on_a_point_picks_its_run(chart):
    (pick,) = [p for p in chart.to_dict()["params"] if p["name"] == charts_explore.PICK]
    assert pick["select"] == {"type": "point", "fields": ["run_id"]}
