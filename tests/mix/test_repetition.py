import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.errors import ConfigError, PlanError
from mixlab.mix.plan import plan_draws
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
    with pytest.raises(PlanError, match=r"may see 6 of its 80,000 tokens.*Raise train.tokens to 10,240"):
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
    ],
)
def test_impossible_limits_say_why(train, error, told):
    with pytest.raises(error, match=told):
        make({"code": 8_000, "web": 10**6}, {"code": 0.5, "web": 0.5}, 16_000, **train)
