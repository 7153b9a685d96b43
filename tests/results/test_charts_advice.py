"""Charts of advice are valid Vega-Lite and say their takeaway."""

import re

import pandas as pd
import pytest

from mixlab.commands import explain
from mixlab.results import charts_advice
from mixlab.results.charts import colours

SOURCES = ["code", "wiki"]
EFFECTS = pd.DataFrame(
    [
        {"metric": m, "source": s, "change": c, "lo": c - 0.001, "hi": c + 0.001}
        for m, s, c in (("mean", "code", -0.002), ("mean", "wiki", 0.001), ("bpb_code", "code", -0.008))
    ]
)
PARTS = pd.DataFrame({"metric": ["bpb_code"] * 2, "source": SOURCES, "part": [-0.25, 0.05]})
DRIFT = pd.DataFrame({"times": [1, 1, 64, 64], "source": SOURCES * 2, "weight": [0.4, 0.6, 0.25, 0.75]})


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        (charts_advice.effects(EFFECTS, SOURCES), "code lowers bpb_code most, by 0.0080"),
        (charts_advice.effect(EFFECTS, "mean", SOURCES), "changes mean: code -0.0020, wiki +0.0010"),
        (charts_advice.attribution(PARTS, SOURCES), "bpb_code -0.2000"),
        (charts_advice.drift(DRIFT, SOURCES), "code from 40% to 25%; wiki from 60% to 75%"),
    ],
)
def test_every_chart_is_valid_and_says_its_takeaway(chart, said):
    told = chart.to_dict()  # altair checks the schema
    assert said in told["description"]
    assert colours(SOURCES)["code"] in str(told)


def test_a_chart_as_a_page_asks_nobody_for_anything(tmp_path):
    path = tmp_path / "effects.html"
    explain._save(path, charts_advice.effects(EFFECTS, SOURCES))
    page = path.read_text(encoding="utf-8")
    assert "vega" in page and "bpb_code" in page
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=|jsdelivr|unpkg", page)
