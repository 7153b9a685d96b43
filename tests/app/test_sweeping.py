"""A sweep while it is designed: mixtures within what can be served, runs that are done, files that hydra reads back."""

import pandas as pd
import pytest

from mixlab import compose
from mixlab.app import mixing, sweeping
from mixlab.app.sweeping import Plan
from mixlab.errors import ConfigError, PlanError
from mixlab.mix import designs
from mixlab.mix.swarm import read_design
from mixlab.types import Mixture

SOURCES = pd.DataFrame({"source": ["books", "code", "docs", "wiki"], "tokens": [400_000, 2_000_000, 900_000, 50_000]})
PRESETS = {"natural": {"books": 0.12, "code": 0.6, "docs": 0.26, "wiki": 0.02}, "mine": {"books": 0.5, "code": 0.5}}


def plan(**changes) -> Plan:
    told = {"kind": "swarm", "n": 8, "design_seed": 0, "middle": "natural", "spread": 0.05, "seeds": 1}
    return Plan(**{**told, "models": ("mpt-tiny",), "tokens": 300_000, "max_epochs": 4.0, **changes})


@pytest.mark.parametrize("kind", sorted(sweeping.KINDS))
def test_every_design_keeps_to_what_the_sources_can_serve(kind):
    found = sweeping.mixes(plan(kind=kind, n=12), SOURCES, PRESETS)
    assert 0 < len(found) <= 12
    for mix in found:
        assert sum(mix.weights.values()) == pytest.approx(1)
        assert mix.weights["wiki"] * 300_000 <= 4 * 50_000 + 1e-3
    assert found == sweeping.mixes(plan(kind=kind, n=12), SOURCES, PRESETS)


def test_around_a_mixture_are_mixtures_near_it():
    middle, *near = sweeping.mixes(plan(kind="around", middle="mine", n=40, spread=0.02), SOURCES, PRESETS)
    assert middle.weights["books"] == 0.5 and len(near) == 39
    assert all(mix.weights["docs"] == mix.weights["wiki"] == 0 for mix in near)
    spread = pd.Series([mix.weights["books"] for mix in near]).std()
    assert 0.01 < spread < 0.03
    with pytest.raises(ConfigError, match="Lower the spread"):
        designs.around(middle, 4, 0, {}, 0.6)
    with pytest.raises(ConfigError, match="above 0"):
        designs.around(middle, 4, 0, {}, 0.0)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"seeds": 99}, {"models": ()}, {"kind": "best"}, {"n": 512, "seeds": 20}])
def test_what_the_browser_made_up_is_refused(wrong):
    with pytest.raises(ConfigError):
        sweeping.mixes(plan(**wrong), SOURCES, PRESETS)
    with pytest.raises(PlanError):
        sweeping.mixes(plan(tokens=10**9), SOURCES, PRESETS)


def test_runs_that_are_done_are_counted_and_cost_nothing(project):
    found = [Mixture(name="a", rule="weights", weights={"code": 0.5, "wiki": 0.5}),
             Mixture(name="b", rule="weights", weights={"code": 1.0, "wiki": 0.0})]  # fmt: skip
    there = {"seed": [0, 1, 0], "n_params": [229_696] * 3, "target_tokens": [299_008] * 3, "bpb_macro": [2.0] * 3}
    there |= {"state": ["finished", "running", "finished"], "w_code": [0.5, 0.5, 0.9], "w_wiki": [0.5, 0.5, 0.1]}
    runs = pd.DataFrame(there)
    table = sweeping.runs_of(plan(seeds=2), found, runs, "cpu")
    assert list(table["is_done"]) == [True, False, False, False]
    told = sweeping.summary(table)
    assert (told["runs"], told["done"], told["todo"]) == (4, 1, 3)
    assert told["hours"] == pytest.approx(3 * mixing.cost("mpt-tiny", 300_000, "cpu").hours)
    other = sweeping.runs_of(plan(models=("mpt-1m",)), found, runs, "cpu")
    assert not other["is_done"].any() and not sweeping.runs_of(plan(), found, runs.iloc[:0], "cpu")["is_done"].any()


def test_the_files_are_what_hydra_trains_row_by_row(project):
    told = plan(kind="leave-one-out", seeds=2)
    found = sweeping.mixes(told, SOURCES, PRESETS)
    design, sweep = sweeping.save("first", told, found, project=project)
    assert sweep.is_file() and [m.name for m in read_design(design)] == [m.name for m in found]
    specs = compose.expand("first", [], project)
    assert len(specs) == 2 * len(found) and {s.seed for s in specs} == {0, 1}
    assert {s.train.tokens for s in specs} == {300_000} and {s.train.lr for s in specs} == {0.02}
    for spec in specs:
        (mix,) = [m for m in found if m.name == spec.mixture.name]
        assert dict(spec.mixture.weights) == pytest.approx(mix.weights, abs=1e-8)


def test_several_sizes_get_their_own_learning_rate_and_other_sources_are_named(project):
    text = sweeping.as_yaml("x", plan(models=("mpt-tiny", "mpt-1m")), 8, ["a", "b"])
    assert 'model: "mpt-tiny,mpt-1m"' in text and "lr: auto" in text and 'source: "[a,b]"' in text
    assert 'train: "mpt-1m"' in sweeping.as_yaml("x", plan(models=("mpt-1m",)), 8, ["books", "code", "docs", "wiki"])


def test_other_files_of_the_name_are_replaced_only_when_asked(project):
    found = sweeping.mixes(plan(), SOURCES, PRESETS)
    for _ in range(2):  # the same again changes nothing and is no question
        design, _ = sweeping.save("x", plan(), found, project=project)
    before = design.read_text()
    other = plan(design_seed=1)
    with pytest.raises(ConfigError, match="is there already"):
        sweeping.save("x", other, sweeping.mixes(other, SOURCES, PRESETS), project=project)
    assert design.read_text() == before
    sweeping.save("x", other, sweeping.mixes(other, SOURCES, PRESETS), overwrite=True, project=project)
    assert design.read_text() != before
    for name in ("../x", "", "config", "A"):
        with pytest.raises(ConfigError):
            sweeping.save(name, plan(), found, project=project)


def test_a_draft_is_taken_as_far_as_it_can_be_used():
    told = sweeping.draft_of(plan(models=("mpt-1m",), n=9), "mine")
    assert sweeping.from_draft(told) | {"max_epochs": 4.0} == {**told, "models": ["mpt-1m"]}
    assert sweeping.from_draft({"n": 10**9, "seeds": "2", "models": ["gpt"], "kind": 3, "tokens": True}) == {}
    assert sweeping.from_draft(None) == {}
