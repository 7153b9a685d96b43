"""What stands beside a mixture while it is designed: pasted rows, cost, licences, refusals, commands, drafts."""

import pandas as pd
import pytest

from mixlab.app import mixing, weights
from mixlab.app.sliders import State
from mixlab.errors import ConfigError, PlanError
from mixlab.mix.budget import licence_exposure

NAMES = ["books", "code", "wiki"]
SOURCES = pd.DataFrame(
    {
        "source": NAMES,
        "tokens": [100_000, 1_000_000, 50_000],
        "licence": ["CC0-1.0", "MIT", None],
        "licences": ['{"CC0-1.0": 100000}', '{"MIT": 500000, "GPL-3.0-only": 500000}', "{}"],
    }
)
EVEN = dict.fromkeys(NAMES, 1 / 3)


@pytest.mark.parametrize(
    "text",
    [
        "books=10 code=60 wiki=30",
        "books: 10 %, code: 60 %, wiki: 30 %",
        '{"books": 0.1, "code": 0.6, "wiki": 0.3}',
        "{books: 1, code: 6, wiki: 3}",
        "name,seed,code,books,wiki\nd01,0,0.6,0.1,0.3",
        "10\t60\t30",
        "10; 60; 30",
    ],
)
def test_a_row_is_read_as_people_paste_it(text):
    assert mixing.paste(text, NAMES) == pytest.approx({"books": 0.1, "code": 0.6, "wiki": 0.3})


def test_what_is_not_named_gets_nothing():
    assert mixing.paste("code=3", NAMES) == {"books": 0.0, "code": 1.0, "wiki": 0.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing to read"),
        ("cde=1", "Did you mean 'code'"),
        ("code=many", "'many', which is no number"),
        ("code=-1", "from 0 up"),
        ("code=nan", "from 0 up"),
        ("code=inf", "from 0 up"),
        ("code=0", "all pasted weights are 0"),
        ("1 2", "2 numbers for 3 sources"),
        ("{code: [", "neither JSON nor YAML"),
    ],
)
def test_a_row_that_is_none_says_which_part_is_wrong(text, says):
    with pytest.raises(ConfigError, match=says):
        mixing.paste(text, NAMES)


def test_licences_are_the_union_and_unknown_comes_first():
    told = mixing.licences(SOURCES, EVEN, 300_000)
    assert [(e.licence, e.tokens) for e in told] == [
        ("unknown", 100_000),
        ("GPL-3.0-only", 50_000),
        ("CC0-1.0", 100_000),
        ("MIT", 50_000),
    ]
    assert told[0].commercial == "unknown" and told[0].sources == ("wiki",)
    assert mixing.licences(SOURCES, {"code": 1.0}, 10)[0].licence == "GPL-3.0-only"
    assert licence_exposure.__module__ == "mixlab.mix.budget"


def test_presets_with_a_parameter_follow_their_rule():
    flat = mixing.by_rule("temperature", SOURCES, 300_000, 1000.0)
    assert max(flat.values()) - min(flat.values()) < 0.01
    capped = mixing.by_rule("UniMax", SOURCES, 300_000, 1.0)
    assert capped["wiki"] == pytest.approx(50 / 300) and capped["books"] == pytest.approx(1 / 3)
    with pytest.raises(PlanError):
        mixing.by_rule("UniMax", SOURCES, 10**9, 1.0)
    with pytest.raises(ConfigError, match="above 0"):
        mixing.by_rule("temperature", SOURCES, 300_000, 0.0)


def test_a_price_says_where_its_speed_is_from_and_refuses_what_cannot_be(project):
    small, large = (mixing.cost(m, 10**6, "h100") for m in ("mpt-tiny", "mpt-1b"))
    assert small.flops < large.flops and "assumed" in large.basis
    whole = mixing.cost("mpt-tiny", 3_600_000, "h100", utilisation=1.0)
    own = mixing.cost("mpt-tiny", 3_600_000, "h100", hourly=2.0, utilisation=0.25)
    assert own.hours == pytest.approx(4 * whole.hours) and own.dollars == pytest.approx(2.0 * own.hours)
    assert "as you say: 25.0%" in own.basis
    for wrong in ({"utilisation": 1.5}, {"utilisation": 0.0}, {"hourly": -1.0}, {"hourly": float("inf")}):
        with pytest.raises(ConfigError):
            mixing.cost("mpt-tiny", 1000, "h100", **wrong)
    for model, tokens, device in (("mpt-2b", 1, "cpu"), ("mpt-tiny", 0, "cpu"), ("mpt-tiny", 1, "gtx")):
        with pytest.raises(ConfigError):
            mixing.cost(model, tokens, device)


def test_a_measured_speed_wins_over_the_table(lab):
    assert mixing.cost("mpt-tiny", 10**6, "cpu").basis.startswith("measured")


def test_a_mix_that_repeats_too_often_says_which_source_and_what_to_do():
    assert mixing.refused(SOURCES, EVEN, 300_000, 4.0) is None
    assert "wiki 6.7 epochs" in str(mixing.refused(SOURCES, EVEN, 10**6, 4.0))
    assert mixing.refused(SOURCES, {"code": 1.0}, 10**6, 4.0) is None


def test_the_command_names_only_what_differs_from_the_defaults():
    starter = ["books", "code", "docs", "wiki"]
    assert mixing.run_words("a", starter, model="mpt-tiny", tokens=300_000, max_epochs=4.0) == ["run", "mixture=a"]
    told = mixing.run_words("a", ["x", "b"], model="mpt-1m", tokens=10**6, seed=2, max_epochs=8)
    assert told[1:] == [
        *("mixture=a", "model=mpt-1m", "train=mpt-1m", "train.tokens=1000000", "train.max_epochs=8"),
        *("source=[b,x]", "seed=2"),
    ]
    assert mixing.unconfigured(["wiki", "nosuch"]) == ["nosuch"]


def test_a_draft_comes_back_to_the_sliders_with_its_locks():
    grid = State(weights=(100, 600, 300), locked=(True, False, False))
    told = mixing.draft_of(grid, NAMES, "mine", "natural")
    assert mixing.grid_of_draft(told, NAMES) == (grid, [])
    state, missing = mixing.grid_of_draft({"weights": {"code": 0.5, "gone": 0.5}}, NAMES) or (None, [])
    assert state and state.weights == (0, weights.UNITS, 0) and missing == ["gone"]
    for useless in (None, {}, {"weights": [1]}, {"weights": {"gone": 1.0}}, {"weights": {"code": "1"}}):
        assert mixing.grid_of_draft(useless, NAMES) is None


def test_points_are_those_of_the_grid():
    told = mixing.moved({"a": 0.5, "b": 0.5}, {"a": 0.30004, "b": 0.69996}).set_index("source")["points"]
    assert dict(told) == {"a": 20.0, "b": -20.0}
    assert not mixing.moved({"a": 0.333, "b": 0.667}, {"a": 1 / 3, "b": 2 / 3})["points"].any()


def test_mixes_that_a_fit_can_learn_from_are_finished_and_scored():
    runs = pd.DataFrame({"state": ["finished"] * 3 + ["running"], "mix_id": ["a", "a", "b", "c"]})
    assert mixing.finished_mixes(runs.assign(bpb_macro=[1.0, 1.1, None, 1.0])) == 1
    assert mixing.finished_mixes(pd.DataFrame()) == 0
