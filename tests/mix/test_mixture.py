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


WEB = {"web": {"blogs": 0.25, "news": 0.75}}


def test_groups_multiply_down_to_their_sources():
    groups = {"text": {"web": 0.5, "wiki": 0.5}, **WEB}
    assert mx.nested({"text": 0.8, "code": 0.2}, groups).weights == pytest.approx(
        {"blogs": 0.1, "code": 0.2, "news": 0.3, "wiki": 0.4}
    )
    written = Mixture(name="mine", rule="weights", weights={"text": 0.8, "code": 0.2}, groups=groups)
    assert not written.is_resolved
    found = mx.resolve(written, dict.fromkeys(("blogs", "code", "law", "news", "wiki"), 10), 10)
    assert found.weights == pytest.approx({"blogs": 0.1, "code": 0.2, "law": 0.0, "news": 0.3, "wiki": 0.4})
    assert found.is_resolved and found == mx.resolve(found, dict.fromkeys(found.weights, 10), 10)


@pytest.mark.parametrize(
    ("weights", "groups", "told"),
    [
        ({"web": 1.0}, {"web": {}}, "group 'web' is empty"),
        ({"web": 1.0}, {"web": {"blogs": 0.5, "news": 0.4}}, r"weights of group 'web' of mixture 'm' sum to 0\.9"),
        ({"web": 1.0}, {"web": {"blogs": 0.5, "newz": 0.5}}, "'newz'.*Did you mean 'news'"),
        ({"wbe": 1.0}, WEB, "'wbe'.*Did you mean 'web'"),
        ({"web": 0.5, "news": 0.5}, WEB, "source 'news' in two places, the weights and group 'web'"),
        ({"wiki": 1.0}, WEB, "describes the group 'web', but nothing gives it a weight"),
        ({"wiki": 1.0}, {"web": {"all": 1.0}, "all": {"web": 1.0}}, "nothing gives it a weight"),
        ({"web": 1.0}, {"web": {"all": 1.0}, "all": {"web": 1.0}}, "group 'web' in two places"),
        ({"wiki": 1.0}, {"wiki": {"news": 1.0}}, "a group 'wiki', which is also a source"),
        ({"web": 1.0}, {"web": {"blogs": -0.5, "news": 1.5}}, "weight of 'blogs' is -0.5"),
    ],
)
def test_groups_that_cannot_be_meant_say_why(weights, groups, told):
    with pytest.raises(ConfigError, match=told):
        mx.check(Mixture(name="m", rule="weights", weights=weights, groups=groups), ["blogs", "news", "wiki"])


def test_floors_and_caps_are_kept_and_the_others_keep_their_proportions():
    mix = mx.bounded(given_weights(code=0.8, news=0.2, wiki=0.0), floors={"wiki": 0.1}, caps={"code": 0.5})
    assert mix.weights == pytest.approx({"code": 0.5, "news": 0.4, "wiki": 0.1})
    with pytest.raises(ConfigError, match="Did you mean 'code'"):
        mx.bounded(mix, caps={"cod": 0.5})


SHAPES = [
    ({"floors": {"wkii": 0.1}}, "mixture.floors names 'wkii'.*Did you mean 'wiki'"),
    ({"caps": {"wkii": 0.1}}, "mixture.caps names 'wkii'.*Did you mean 'wiki'"),
    ({"scale": {"wkii": 2}}, "mixture.scale names 'wkii'.*Did you mean 'wiki'"),
    ({"scale": {"wiki": -1}}, "mixture.scale.wiki is -1. Give a factor from 0 up"),
    ({"caps": {"wiki": 1.5}}, "mixture.caps.wiki is 1.5. Give a share"),
    (
        {"floors": {"wiki": 0.7, "code": 0.5}},
        r"floors sum to 1\.2, more than 1: wiki 0\.7, code 0\.5\. Lower them by 0\.2",
    ),
    ({"caps": {"wiki": 0.3, "code": 0.5}}, r"caps sum to 0\.8, less than 1.*20\.0% of the tokens have no source"),
    ({"floors": {"wiki": 0.5}, "caps": {"wiki": 0.4}}, r"floor of 'wiki', 0\.5, is above its cap, 0\.4"),
    ({"t": 0.2}, "where to"),
    ({"t": 1.2, "to": Mixture()}, "mixture.t is 1.2"),
    ({"to": Mixture(rule="weights", weights={"wkii": 1.0})}, "mixture 'm.to' gives a weight to 'wkii'"),
    ({"groups": {"web": {"wiki": 1.0}}}, "follows the rule 'natural' and yet has groups, web"),
]


@pytest.mark.parametrize(("asked", "told"), SHAPES)
def test_shapes_that_cannot_be_meant_say_why(asked, told):
    with pytest.raises(ConfigError, match=told):
        mx.check(Mixture(name="m", **asked), ["code", "wiki"])


def test_a_cap_gives_nothing_to_a_source_without_weight():
    asked = Mixture(name="m", rule="weights", weights={"code": 1.0}, caps={"code": 0.6})
    with pytest.raises(ConfigError, match=r"caps sum to 0\.6.*40\.0% .*give a weight to law or wiki"):
        mx.resolve(asked, {"code": 10, "law": 10, "wiki": 10}, 10)


def test_a_rule_may_be_moved_scaled_and_limited_in_this_order():
    sizes = {"code": 100, "law": 300, "wiki": 600}
    half = Mixture(name="m", to=Mixture(rule="uniform"), t=0.5)
    assert mx.resolve(half, sizes, 10).weights == pytest.approx({"code": 13 / 60, "law": 19 / 60, "wiki": 28 / 60})
    whole = mx.resolve(Mixture(name="m", to=Mixture(rule="uniform"), scale={"code": 60 / 13}), sizes, 10)
    assert whole.weights == pytest.approx({"code": 60 / 107, "law": 19 / 107, "wiki": 28 / 107})
    shaped = Mixture(name="m", scale={"wiki": 0}, floors={"wiki": 0.2}, caps={"law": 0.5})
    assert mx.resolve(shaped, sizes, 10).weights == pytest.approx({"code": 0.3, "law": 0.5, "wiki": 0.2})


@LAW
@given(SIZES, st.data())
def test_every_shape_keeps_its_limits_sums_to_one_and_is_the_same_again(sizes, data):
    names = st.dictionaries(st.sampled_from(sorted(sizes)), st.floats(0, 1 / len(sizes)))
    floors = data.draw(names)
    caps = {s: max(floors.get(s, 0), c) for s, c in data.draw(names).items()}
    caps = dict(list(caps.items())[: len(sizes) - 1])  # one is free to take what is left
    factors = data.draw(st.dictionaries(st.sampled_from(sorted(sizes)), st.floats(0.1, 10)))
    asked = Mixture(name="m", to=Mixture(rule="uniform"), t=0.3, scale=factors, floors=floors, caps=caps)
    found = mx.resolve(asked, sizes, 10)
    assert math.fsum(found.weights.values()) == pytest.approx(1, abs=1e-12)
    assert all(floors.get(s, 0) - 1e-12 <= w <= caps.get(s, 1) + 1e-12 for s, w in found.weights.items())
    free = mx.resolve(Mixture(name="m", to=Mixture(rule="uniform"), t=0.3, scale=factors), sizes, 10).weights
    between = [w / free[s] for s, w in found.weights.items() if floors.get(s, 0) < w < caps.get(s, 1)]
    assert not between or max(between) == pytest.approx(min(between), rel=1e-9)
    assert mx.bounded(found, floors, caps).weights == pytest.approx(found.weights, abs=1e-12)
