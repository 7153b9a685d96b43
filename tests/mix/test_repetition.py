import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.errors import ConfigError, PlanError
from mixlab.mix.plan import plan_draws
from mixlab.mix.repetition import caps
from mixlab.types import Mixture, TrainSpec
from tests.mix.test_plan import corpus

LAW = settings(max_examples=40, deadline=None, derandomize=True)
T = 8


def make(sizes, weights, tokens, **train):
    corpora = {s: corpus(s, n) for s, n in sizes.items()}
    spec = TrainSpec(tokens=tokens, batch_tokens=T, **{"max_epochs": 1e9, **train})
    return plan_draws(Mixture(name="m", rule="weights", weights=weights), corpora, spec, T)


@LAW
@given(st.integers(10**6, 10**8), st.floats(0.05, 0.95), st.integers(10**5, 10**6), st.integers(2, 50))
def test_a_matched_proxy_repeats_what_the_target_would(size, weight, tokens, factor):
    sizes, weights = {"a": size, "b": 10**8}, {"a": weight, "b": 1 - weight}
    proxy = make(sizes, weights, tokens, target_tokens=factor * tokens)
    target = make(sizes, weights, factor * tokens)
    for small, large in zip(proxy.draws, target.draws, strict=True):
        whole = small.available // T  # sequences: cutting to whole ones moves the epochs by at most one of them
        assert small.epochs == pytest.approx(large.epochs, rel=2 / whole + 2 / small.sequences)


def test_without_matching_the_proxy_does_not_repeat():
    sizes, weights = {"code": 80_000, "web": 10**7}, {"code": 0.5, "web": 0.5}
    assert make(sizes, weights, 16_000).draws[0].epochs == pytest.approx(0.1)
    assert make(sizes, weights, 16_000, target_tokens=640_000).draws[0].epochs == pytest.approx(4.0)


def test_a_target_that_repeats_too_often_is_refused_at_the_proxy():
    sizes, weights = {"code": 80_000, "web": 10**7}, {"code": 0.5, "web": 0.5}
    with pytest.raises(PlanError, match=r"'code', which has 1,000 \(8\.0 epochs, limit 4\)"):
        make(sizes, weights, 16_000, target_tokens=1_280_000, max_epochs=4)


def test_a_design_that_cannot_be_matched_is_refused_with_the_budget_that_could():
    sizes, weights = {"code": 80_000, "web": 10**7}, {"code": 0.5, "web": 0.5}
    with pytest.raises(PlanError, match=r"may see 6 of its 80,000 tokens.*Raise train.tokens to 10_240"):
        make(sizes, weights, 8_000, target_tokens=102_400_000)
    assert make(sizes, weights, 10_240, target_tokens=102_400_000).draws[0].available == T


def test_a_design_that_matches_poorly_is_flagged():
    sizes, weights = {"code": 8_000, "web": 10**7}, {"code": 0.01, "web": 0.99}
    (told,) = make(sizes, weights, 100_000, target_tokens=10**7).warnings
    assert told.startswith("only 10 sequences of 'code' may be seen")
    assert make(sizes, weights, 100_000).warnings == ()


def test_unique_tokens_limit_a_source_by_name():
    plan = make({"code": 8_000, "web": 10**6}, {"code": 0.5, "web": 0.5}, 16_000, unique_tokens={"code": 2_000})
    assert [(d.available, d.epochs, d.epochs_max) for d in plan.draws] == [(2_000, 4.0, 4), (10**6, 0.008, 1)]


@pytest.mark.parametrize(
    ("train", "error", "told"),
    [
        ({"unique_tokens": {"cod": 5}}, ConfigError, "Did you mean 'code'"),
        ({"unique_tokens": {"code": 9_000}}, PlanError, "wants 9,000 tokens of 'code', which has 8,000"),
        ({"target_tokens": 10}, ConfigError, "is less than train.tokens=16,000"),
        ({"target_sizes": {"code": 5}}, ConfigError, "how long is that run"),
        ({"target_tokens": 10**6, "target_sizes": {"cod": 5}}, ConfigError, "target_sizes names 'cod'.*'code'"),
        ({"target_tokens": 10**6, "target_sizes": {"code": 0}}, ConfigError, "Give the tokens the target has"),
        (
            {"target_tokens": 10**6, "target_sizes": {"code": 5}, "unique_tokens": {"code": 5}},
            ConfigError,
            "both say how much of 'code'",
        ),
    ],
)
def test_impossible_limits_say_why(train, error, told):
    with pytest.raises(error, match=told):
        make({"code": 8_000, "web": 10**6}, {"code": 0.5, "web": 0.5}, 16_000, **train)


@LAW
@given(st.integers(10**6, 10**9), st.floats(0.05, 0.95), st.integers(10**5, 10**6), st.integers(50, 5000))
def test_a_target_larger_than_the_lab_is_matched_or_refused(there, weight, tokens, factor):
    """The lab has 2 M tokens of the source, the target has `there`: the proxy repeats as the target, or says no."""
    lab, target = {"a": 2_000_000, "b": 10**8}, {"a": there, "b": 10**12}
    weights = {"a": weight, "b": 1 - weight}
    sizes = {"target_tokens": factor * tokens, "target_sizes": target}
    large = make(target, weights, factor * tokens).draws[0].epochs
    try:
        small = make(lab, weights, tokens, **sizes).draws[0]
    except PlanError as e:
        short = there // factor > 2_000_000 and weight * tokens > 2_000_000 - T
        assert short if "different tokens of it" in str(e) else there // factor < T
        return
    if max(large, small.epochs) > 1:
        assert small.epochs == pytest.approx(large, rel=2 * T / small.available + 2 / small.sequences)


def test_a_match_the_lab_cannot_give_is_refused_and_each_way_out_works():
    lab, weights = {"code": 8_000, "web": 10**7}, {"code": 0.5, "web": 0.5}
    target = {"target_tokens": 64 * 10**6, "target_sizes": {"code": 16 * 10**6}}  # two epochs: 16,000 would match
    with pytest.raises(PlanError) as e:
        make(lab, weights, 64_000, **target)
    told = str(e.value)
    assert (
        "needs 16,000 different tokens of it, and the lab has 8,000: it would repeat 4.00 times instead of 2.00" in told
    )
    assert "Lower train.tokens to 32_000" in told and "lower its weight to 0.125" in told
    assert make(lab, weights, 32_000, **target).draws[0].epochs == 2.0
    assert make(lab, {"code": 0.125, "web": 0.875}, 64_000, **target).draws[0].epochs == 1.0


def test_rules_see_the_sizes_of_the_target():
    corpora = {s: corpus(s, 10**6) for s in ("code", "web")}
    train = TrainSpec(
        tokens=100_000, batch_tokens=T, target_tokens=10**12, target_sizes={"code": 10**12, "web": 3 * 10**12}
    )
    assert plan_draws(Mixture(), corpora, train, T).mixture.weights == {"code": 0.25, "web": 0.75}


def test_a_source_short_of_its_match_may_not_repeat_in_a_design():
    corpora = {"code": corpus("code", 8_000), "web": corpus("web", 10**7)}
    train = TrainSpec(tokens=64_000, batch_tokens=T, target_tokens=64 * 10**6, target_sizes={"code": 16 * 10**6})
    assert caps(corpora, train, T) == {"code": 0.125, "web": pytest.approx(4 * 10_000 / 64_000)}
