"""Charts: colours that stay with their source, and a sentence for those who cannot see them."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from mixlab.results import charts

SOURCES = ["wiki", "code"]
SCORES = pd.DataFrame(
    [
        {"run": run, "domain": domain, "tokens": tokens, "value": 3 - tokens / 1000}
        for run in ("a s0", "b s0")
        for domain in ("macro", "code", "wiki")
        for tokens in (0, 1000)
    ]
)
MIXES = pd.DataFrame({"run": ["a", "a"], "source": ["code", "wiki"], "weight": [0.25, 0.75]})
PAIRS = pd.DataFrame(
    {"name": ["a", "b"], "predicted": [2.0, 2.2], "lo": [1.9, 2.1], "hi": [2.1, 2.3], "realised": [2.05, 2.5]}
)


CONES = {
    "all": np.eye(3),
    "no red": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no green": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}
"""What such eyes see of linear sRGB: Machado, Oliveira and Fernandes (2009), severity 1."""
TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
"""IEC 61966-2-1, for D65."""


def lab_of(colour: str, cones: np.ndarray) -> np.ndarray:
    """CIELAB of #rrggbb as such eyes see it."""
    told = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(told <= 0.04045, told / 12.92, ((told + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(TO_XYZ @ np.clip(cones @ linear, 0, 1) / TO_XYZ.sum(1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def scale_of(spec: dict, channel: str = "color") -> dict[str, str]:
    scale = spec["encoding"][channel]["scale"]
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_a_source_has_one_colour_on_every_chart():
    curve = scale_of(charts.run_bpb(SCORES[SCORES["run"] == "a s0"], SOURCES).to_dict())
    bars = scale_of(charts.weights(MIXES, SOURCES).to_dict())
    assert {s: curve[s] for s in SOURCES} == bars == charts.colours(SOURCES)


def test_sixteen_sources_are_told_apart_by_eyes_that_lack_red_or_green_cones_too():
    assert len({*charts.colours([f"s{i}" for i in range(16)]).values()}) == 16
    for kind, cones in CONES.items():
        places = [lab_of(colour, cones) for colour in charts.OF_SOURCES]
        gaps = [np.linalg.norm(one - other) for one, other in combinations(places, 2)]
        assert min(gaps) > 10, kind  # CIE76; a just noticeable difference is 2.3


def test_two_mixes_of_one_name_are_not_drawn_as_one_bar():
    with pytest.raises(ValueError, match="two mixes are called 'a'"):
        charts.weights(pd.concat([MIXES, MIXES]), SOURCES)


def test_a_run_looks_the_same_on_charts_side_by_side():
    one, other = (charts.domain_bpb(SCORES, d, ["a s0", "b s0"]).to_dict() for d in ("macro", "wiki"))
    assert scale_of(one) == scale_of(other)
    assert scale_of(one, "strokeDash") == scale_of(other, "strokeDash")


def test_no_two_of_nine_runs_share_colour_and_dash():
    runs = [f"r{i}" for i in range(9)]
    spec = charts.domain_bpb(SCORES, "macro", runs).to_dict()
    looks = {(scale_of(spec)[r], tuple(scale_of(spec, "strokeDash")[r])) for r in runs}
    assert len(looks) == 9


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        (charts.run_bpb(SCORES[SCORES["run"] == "a s0"], SOURCES), "wiki from 3.00 to 2.00"),
        (charts.domain_bpb(SCORES, "wiki", ["a s0", "b s0"]), "b s0 from 3.00 to 2.00"),
        (charts.loss(SCORES[SCORES["domain"] == "macro"], ["a s0"]), "a s0 from 3.00 to 2.00"),
        (charts.weights(MIXES, SOURCES), "a is 75% wiki, 25% code"),
        (charts.predicted_vs_realised(PAIRS), "1 of 2 inside"),
        (charts.domain_bpb(SCORES.assign(value=np.nan), "wiki", ["a s0"]), "no values yet"),
    ],
)
def test_every_chart_is_valid_and_says_its_takeaway(chart, said):
    assert said in chart.to_dict(validate=True)["description"]


def test_a_long_line_is_drawn_by_its_extremes_and_keeps_its_spikes():
    values = np.sin(np.arange(5000) / 300)
    values[[1234, 4321]] = 90.0, -90.0
    values[777] = np.nan
    long = pd.DataFrame({"run": "a", "tokens": np.arange(5000) * 10, "value": values})
    both = pd.concat([long, long.iloc[:50].assign(run="b")])
    drawn = charts.extremes(both, spans=100)
    assert drawn["run"].value_counts().to_dict() == {"a": 201, "b": 50}  # lowest, highest, no number
    assert {90.0, -90.0} < set(drawn["value"]) and drawn["value"].isna().sum() == 1
    assert drawn.groupby("run")["tokens"].agg(["min", "max"]).loc["a"].tolist() == [0, 49_990]
    assert drawn.groupby("run")["tokens"].apply(lambda t: t.is_monotonic_increasing).all()


def test_the_running_mean_of_a_loss_is_that_of_all_its_points():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"run": "a", "tokens": np.arange(5000), "value": 3 + rng.normal(size=5000)})
    spec = charts.loss(frame, ["a"]).to_dict()
    assert {layer["encoding"]["y"]["title"] for layer in spec["layer"]} == {"loss (nats per token)"}
    (rows,) = spec["datasets"].values()
    assert len(rows) < 700
    middle = [r["smooth"] for r in rows if 500 < r["tokens"] < 4500]
    assert all(abs(v - 3) < 5 / np.sqrt(201) for v in middle)  # 2 * 100 + 1 points each, five standard errors
    assert "201 logged steps" in charts.said_of_loss(frame, ["a"]) and "of 5,000" in charts.said_of_loss(frame, ["a"])
    assert charts.said_of_loss(frame.iloc[:40], ["a"]) == "As logged."
