import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mixlab.errors import ConfigError, PlanError
from mixlab.mix import mixture as mx
from mixlab.types import Mixture

LAW = settings(max_examples=50, deadline=None, derandomize=True)
NAMES = ("code", "forum", "law", "news", "web", "wiki")
SIZES = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 10**12), min_size=1)


def given_weights(**weights):
    return Mixture(name="mine", rule="weights", weights=weights)


@LAW
@given(SIZES, st.sampled_from(["natural", "uniform", "temperature", "unimax"]), st.floats(0.1, 50))
def test_every_rule_resolves_to_sorted_weights_that_sum_to_one(sizes, rule, tau):
    found = mx.resolve(Mixture(rule=rule, tau=tau), sizes, budget_tokens=sum(sizes.values()))
    assert found.rule == "weights" and list(found.weights) == sorted(sizes)
    assert abs(math.fsum(found.weights.values()) - 1) < 1e-12
    assert mx.resolve(found, sizes, 1).weights == pytest.approx(found.weights, abs=1e-12)


@LAW
@given(SIZES, st.floats(0.1, 8), st.floats(0.05, 1))
def test_unimax_repeats_nobody_too_often_and_is_even_below_its_caps(sizes, epochs, share):
    budget = int(share * epochs * sum(sizes.values()))
    assume(budget > 0)
    weights = mx.unimax(sizes, budget, epochs).weights
    assert all(w * budget <= epochs * sizes[s] * (1 + 1e-9) + 1e-6 for s, w in weights.items())
    open_ones = [w for s, w in weights.items() if w * budget < epochs * sizes[s] * (1 - 1e-9)]
    assert all(w == pytest.approx(max(weights.values()), rel=1e-6) for w in open_ones)


def test_unimax_counts_the_missing_tokens():
    with pytest.raises(PlanError, match=r"700 are missing. Lower train.tokens to 300 or raise mixture.epochs to 3\.34"):
        mx.unimax({"code": 100, "wiki": 200}, 1000, epochs=1)


def test_temperature_goes_from_natural_to_uniform():
    sizes = {"code": 100, "wiki": 900}
    assert mx.natural(sizes).weights == {"code": 0.1, "wiki": 0.9}
    assert mx.temperature(sizes, 1).weights == pytest.approx(mx.natural(sizes).weights)
    assert mx.temperature(sizes, 2).weights["code"] == pytest.approx(0.25)
    assert mx.temperature(sizes, 1e9).weights == pytest.approx(mx.uniform(sizes).weights)


def test_sources_without_a_token_cannot_be_mixed_by_size():
    with pytest.raises(PlanError, match="none of the sources has a token: code, wiki"):
        mx.natural({"wiki": 0, "code": 0})
    assert mx.natural({"wiki": 5, "code": 0}).weights == {"code": 0.0, "wiki": 1.0}


def test_an_unknown_source_gets_the_nearest_name():
    with pytest.raises(ConfigError, match=r"'wikki'.*Did you mean 'wiki'"):
        mx.check(given_weights(wikki=1.0), ["code", "wiki"])


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_an_impossible_weight_is_refused(bad):
    with pytest.raises(ConfigError, match="weight of 'code'"):
        mx.check(given_weights(code=bad, wiki=1.0), ["code", "wiki"])


def test_leftovers_of_a_default_are_named_with_both_ways_out():
    merged = given_weights(c4=0.5, code=0.25, pile=0.5, wiki=0.25)
    with pytest.raises(ConfigError) as e:
        mx.check(merged, ["c4", "code", "pile", "wiki"])
    for told in ("sum to 1.5", "Without code and wiki", "`mixture=", "`~mixture.weights.code` `~mixture.weights.wiki`"):
        assert told in str(e.value)


def test_weights_that_fall_short_are_told_by_how_much():
    with pytest.raises(ConfigError, match=r"sum to 0\.9, not 1: code 0\.4, wiki 0\.5\. Divide each by 0\.9"):
        mx.check(given_weights(code=0.4, wiki=0.5), ["code", "wiki"])
    mx.check(given_weights(code=0.5, wiki=0.5 + 9e-7), ["code", "wiki"])


def test_a_rule_with_weights_is_refused_not_guessed():
    with pytest.raises(ConfigError, match="follows the rule 'natural' and yet has weights"):
        mx.check(Mixture(weights={"code": 1.0}), ["code"])
    with pytest.raises(ConfigError, match="no weights"):
        mx.check(given_weights(), ["code"])


@pytest.mark.parametrize("rule", [{"rule": "temperature", "tau": 0}, {"rule": "unimax", "epochs": -1}])
def test_a_parameter_out_of_range_is_refused(rule):
    with pytest.raises(ConfigError, match="Give a number above 0"):
        mx.check(Mixture(**rule), ["code"])


def test_a_source_that_is_not_named_gets_nothing():
    found = mx.resolve(given_weights(wiki=1.0), {"wiki": 10, "code": 10}, 10)
    assert found.weights == {"code": 0.0, "wiki": 1.0} and found.name == "mine"


def test_resolving_forgets_the_rule_so_that_equal_weights_have_equal_keys():
    sizes = {"code": 10, "wiki": 10}
    by_rule = mx.resolve(Mixture(name="mine", rule="unimax", epochs=7), sizes, 10)
    assert by_rule == mx.resolve(given_weights(code=0.5, wiki=0.5), sizes, 10)


@LAW
@given(SIZES, st.floats(0.1, 10))
def test_scaling_back_gives_the_old_mixture(sizes, factor):
    mix = mx.temperature(sizes, 4)
    source = next(iter(mix.weights))
    there = mx.scale(mix, source, factor)
    assert mx.scale(there, source, 1 / factor).weights == pytest.approx(mix.weights, abs=1e-9)


def test_interpolation_ends_at_its_ends():
    a, b = given_weights(code=1.0), given_weights(wiki=1.0)
    assert mx.interpolate(a, b, 0).weights == {"code": 1.0, "wiki": 0.0}
    assert mx.interpolate(a, b, 0.25).weights == {"code": 0.75, "wiki": 0.25}
    with pytest.raises(ConfigError, match="from 0 to 1"):
        mx.interpolate(a, b, 1.5)
    with pytest.raises(ConfigError, match="is a rule"):
        mx.interpolate(a, Mixture(), 0.5)


def test_groups_multiply_down_to_their_sources():
    tree = {"text": (0.8, {"web": (0.5, {"blogs": 0.25, "news": 0.75}), "wiki": 0.5}), "code": 0.2}
    assert mx.nested(tree).weights == pytest.approx({"blogs": 0.1, "code": 0.2, "news": 0.3, "wiki": 0.4})
    with pytest.raises(ConfigError, match="nested/text"):
        mx.nested({"text": (1.0, {"wiki": 0.5, "news": 0.4})})
    with pytest.raises(ConfigError, match="'wiki' in two groups"):
        mx.nested({"a": (0.5, {"wiki": 1.0}), "wiki": 0.5})


def test_floors_and_caps_are_kept():
    mix = mx.bounded(given_weights(code=0.8, news=0.2, wiki=0.0), floors={"wiki": 0.1}, caps={"code": 0.5})
    assert mix.weights == pytest.approx({"code": 0.5, "news": 0.35, "wiki": 0.15})
    with pytest.raises(ConfigError, match="Did you mean 'code'"):
        mx.bounded(mix, caps={"cod": 0.5})
