"""The mixture behind the sliders: presets, notes, names and the file that is saved."""

import math
from decimal import Decimal

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mixlab.app import weights
from mixlab.app.sliders import State
from mixlab.config import convert
from mixlab.errors import ConfigError
from mixlab.types import Mixture

SOURCES = pd.DataFrame({"source": ["code", "wiki"], "tokens": [900, 100], "licence": ["MIT", None]})


def state(*grid: int) -> State:
    return State(weights=grid, locked=(False,) * len(grid))


def test_what_stands_beside_a_weight_gets_louder_with_repetition():
    palette = dict.fromkeys(SOURCES["source"], "#000000")
    fine, over = weights.rows(SOURCES, state(500, 500), budget_tokens=1000, palette=palette)
    assert fine.note == "0.56 epochs · 500 of 900 tokens · MIT" and fine.level == ""
    assert (
        over.note == "5.00 epochs, over the limit of 4 · 500 of 100 tokens · licence unknown" and over.level == "over"
    )
    assert weights.rows(SOURCES, state(700, 300), 1000, palette=palette)[1].level == "repeats"


def test_presets_are_natural_uniform_and_the_mixes_that_ran():
    runs = pd.DataFrame(
        {
            "name": ["b", "b", "a", "gone"],
            "run_id": ["b-s0-1", "b-s1-1", "a-s0-2", "gone-s0-3"],
            "mixture": ["even", "even", "odd", "gone"],
            "w_code": [0.9, 0.9, 0.2, 0.5],
            "w_wiki": [0.1, 0.1, 0.8, 0],
            "w_old": [0, 0, 0, 0.5],
        }
    )
    got = weights.presets(SOURCES, runs)
    assert list(got) == ["natural", "uniform", "a (a run)", "b (a run)"]
    assert got["natural"] == {"code": 0.9, "wiki": 0.1} and got["a (a run)"] == {"code": 0.2, "wiki": 0.8}
    assert weights.called("b (a run)", SOURCES, runs) == ("b-s0-1", "even")
    assert weights.called("uniform", SOURCES, runs) == ("uniform", "uniform")


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
def test_a_saved_mixture_sums_to_exactly_one_and_is_a_mixture(shares):
    names = [f"s{i}" for i in range(len(shares))]
    grid = weights.on_grid(dict(zip(names, shares, strict=True)), names)
    text = weights.as_yaml("x", weights.as_weights(grid, names))
    assert sum(Decimal(str(w)) for w in yaml.safe_load(text)["weights"].values()) == 1
    assert convert(Mixture, yaml.safe_load(text)).weights.keys() == set(names)
    assert math.isclose(sum(grid.weights), weights.UNITS)


@pytest.mark.parametrize("grid", [(500, 400), (1100, -100), (1000,)])
def test_weights_are_checked_again_in_python(grid):
    with pytest.raises(ConfigError, match="do not share out 100 %"):
        weights.as_weights(state(*grid), ["code", "wiki"])


@pytest.mark.parametrize("name", ["", "../x", "a/b", "Ab", "a.b", "a b", "-a", "x" * 65, "a\n", "é"])
def test_a_name_never_becomes_another_path(name, tmp_path):
    with pytest.raises(ConfigError, match="cannot be used"):
        weights.save(name, {"a": 1.0}, project=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_shipped_mixture_cannot_be_shadowed(tmp_path, monkeypatch):
    (tmp_path / "mixture").mkdir()
    (tmp_path / "mixture" / "natural.yaml").touch()
    monkeypatch.setattr(weights, "CONF", tmp_path)
    with pytest.raises(ConfigError, match="ships"):
        weights.save("natural", {"a": 1.0}, project=tmp_path)


def test_a_file_is_replaced_only_when_asked(tmp_path):
    path = weights.save("a", {"x": 1.0}, project=tmp_path)
    with pytest.raises(ConfigError, match="is there already"):
        weights.save("a", {"x": 0.5, "y": 0.5}, project=tmp_path)
    weights.save("a", {"x": 0.5, "y": 0.5}, overwrite=True, project=tmp_path)
    assert yaml.safe_load(path.read_text())["weights"] == {"x": 0.5, "y": 0.5}
    assert [p.name for p in path.parent.iterdir()] == ["a.yaml"]
