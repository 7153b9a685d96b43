import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixlab.errors import ConfigError, PlanError
from mixlab.mix import order as orders
from mixlab.mix.plan import order, plan_draws
from mixlab.types import Corpus, Mixture, Phase, TrainSpec

LAW = settings(max_examples=40, deadline=None, derandomize=True)
T = 8


def corpus(source, tokens):
    return Corpus(
        source=source,
        key="k",
        path=Path("nowhere"),
        docs=1,
        bytes=tokens,
        tokens=tokens,
        heldout_docs=0,
        heldout_tokens=0,
        heldout_bytes=0,
        vocab_size=256,
        licence="MIT",
        language="en",
    )


def make(weights, sequences, tokens=None, max_epochs=1e9, batch=1):
    corpora = {s: corpus(s, (tokens or {}).get(s, 10**9)) for s in weights}
    train = TrainSpec(tokens=sequences * T, batch_tokens=batch * T, max_epochs=max_epochs)
    return plan_draws(Mixture(name="m", rule="weights", weights=weights), corpora, train, T)


@st.composite
def recipes(draw):
    shares = draw(st.lists(st.floats(1e-4, 1) | st.just(0.0), min_size=1, max_size=12).filter(lambda w: sum(w) > 0))
    return {f"s{i:02d}": w / sum(shares) for i, w in enumerate(shares)}


# Drawing whoever lags most breaks the law on this one; so does forgetting who may not be drawn yet.
LAGGARDS = dict(zip("abcde", [0.00613275, 0.77798641, 0.00425771, 0.18814604, 0.02347709], strict=True))


@LAW
@given(recipes(), st.integers(1, 3000))
@example(LAGGARDS, 150)
def test_every_prefix_is_within_one_sequence_of_every_weight(weights, n):
    plan = make(weights, n)
    drawn = np.cumsum(order(plan)[:, None] == np.arange(len(weights)), axis=0)
    wanted = np.arange(1, n + 1)[:, None] * np.array(list(weights.values()))
    assert np.abs(drawn - wanted).max() < 1
    assert drawn[-1].tolist() == [d.sequences for d in plan.draws]
    assert sum(d.sequences for d in plan.draws) == plan.sequences == n


@LAW
@given(recipes(), st.integers(1, 1000), st.integers(1, 1000))
def test_a_longer_plan_begins_with_the_shorter_one(weights, n, more):
    assert order(make(weights, n + more))[:n].tolist() == order(make(weights, n)).tolist()


@LAW
@given(recipes(), st.randoms(use_true_random=False))
def test_the_order_in_which_sources_are_named_changes_nothing(weights, random):
    shuffled = list(weights.items())
    random.shuffle(shuffled)
    a, b = make(weights, 100), make(dict(shuffled), 100)
    assert a == b and order(a).tolist() == order(b).tolist()


@LAW
@given(recipes(), st.integers(1, 500))
def test_a_source_without_weight_changes_no_other(weights, n):
    plan, more = make(weights, n), make({"a": 0.0, **weights}, n)
    assert (order(plan) + 1).tolist() == order(more).tolist()
    assert more.draws[0].sequences == 0


def phased(weights, other, n, share=0.25, seq_len=None, **kwargs):
    corpora = {s: corpus(s, kwargs.get("tokens", 10**9)) for s in weights}
    train = TrainSpec(tokens=n * 4 * T, batch_tokens=4 * T, max_epochs=1e9)
    mixes = [Mixture(name=k, rule="weights", weights=w) for k, w in (("m", weights), ("o", other))]
    later = [Phase(share=share, mixture=mixes[1], seq_len=seq_len)]
    return plan_draws(mixes[0], corpora, train, T, later)


@st.composite
def pairs(draw):
    one = draw(recipes())
    other = draw(st.lists(st.floats(1e-4, 1) | st.just(0.0), min_size=len(one), max_size=len(one)))
    other = other if sum(other) else [1.0] * len(one)
    return one, {s: w / sum(other) for s, w in zip(one, other, strict=True)}


@LAW
@given(pairs(), st.integers(10, 300), st.floats(0.1, 0.9))
def test_every_prefix_is_within_one_sequence_also_where_the_mixture_changes(mixes, n, share):
    plan = phased(*mixes, n, share)
    wanted = [np.array([d.weight for d in p.draws])[None].repeat(p.sequences, 0) for p in plan.phases]
    drawn = np.cumsum(order(plan)[:, None] == np.arange(len(mixes[0])), axis=0)
    assert np.abs(drawn - np.cumsum(np.concatenate(wanted), axis=0)).max() < 1
    assert drawn[-1].tolist() == [d.sequences for d in plan.draws]
    assert abs(plan.phases[1].tokens - share * plan.tokens) <= 4 * T / 2 + 1e-6
    assert sum(p.tokens for p in plan.phases) == plan.tokens == n * 4 * T


@LAW
@given(recipes(), st.integers(1, 500), st.floats(1.01, 4))
def test_more_weight_never_draws_less(weights, n, factor):
    source = max(weights, key=lambda s: weights[s])
    scaled = {s: w * (factor if s == source else 1) for s, w in weights.items()}
    more = {s: w / sum(scaled.values()) for s, w in scaled.items()}
    a, b = ({d.source: d.sequences for d in make(w, n).draws} for w in (weights, more))
    assert b[source] >= a[source] - 1  # exact up to the sequence that rounding may move
    exact = n * more[source] - n * weights[source]
    assert abs((b[source] - a[source]) - exact) < 2


def absolute(mixes, n, *begins, lengths=(None, None)):
    """A plan of `n` batches whose phases begin at batches `begins`, on the mixes by turns."""
    corpora = {s: corpus(s, 10**9) for s in mixes[0]}
    some = [Mixture(name=k, rule="weights", weights=w) for k, w in zip("mo", mixes, strict=True)]
    later = [
        Phase(name=f"p{i}", begins_at=b * 4 * T, mixture=some[(i + 1) % 2], seq_len=t)
        for i, (b, t) in enumerate(zip(begins, lengths, strict=False))
    ]
    return plan_draws(some[0], corpora, TrainSpec(tokens=n * 4 * T, batch_tokens=4 * T, max_epochs=1e9), T, later)


@LAW
@given(pairs(), st.integers(1, 50), st.integers(1, 50), st.integers(1, 60), st.integers(1, 100))
def test_phases_with_fixed_borders_nest(mixes, first, second, last, more):
    lengths = (None, 2 * T) if more % 2 else (None, None)
    begins = (first, first + second)
    short = absolute(mixes, first + second + last, *begins, lengths=lengths)
    long = absolute(mixes, first + second + last + more, *begins, lengths=lengths)
    assert [p.tokens for p in short.phases] == [first * 4 * T, second * 4 * T, last * 4 * T]
    assert [p.tokens for p in long.phases[:2]] == [p.tokens for p in short.phases[:2]]
    assert order(long)[: short.sequences].tolist() == order(short).tolist()


def test_phases_with_shares_do_not_nest_and_the_first_border_moves():
    a, b = {"a": 0.75, "b": 0.25}, {"a": 0.0, "b": 1.0}
    short, long = phased(a, b, 10, 0.2), phased(a, b, 20, 0.2)
    assert (short.phases[0].tokens, long.phases[0].tokens) == (8 * 4 * T, 16 * 4 * T)
    assert order(long)[: short.sequences].tolist() != order(short).tolist()


@pytest.mark.parametrize(
    ("phases", "told"),
    [
        ([Phase(share=0.2, begins_at=8)], "has both share and begins_at"),
        ([Phase()], "has neither of share and begins_at"),
        ([Phase(share=0.2), Phase(begins_at=8)], "some say share and some begins_at"),
        ([Phase(begins_at=400)], "within the run of 320 tokens.*anneal at 400"),
        ([Phase(begins_at=0)], "anneal at 0"),
        ([Phase(begins_at=64), Phase(name="long", begins_at=64)], "anneal at 64, long at 64"),
        ([Phase(begins_at=319)], "gets none of the 10 batches, from 10 to 10"),
    ],
)
def test_borders_that_cannot_be_meant_say_why(phases, told):
    train = TrainSpec(tokens=10 * 4 * T, batch_tokens=4 * T)
    with pytest.raises((ConfigError, PlanError), match=told):
        plan_draws(Mixture(rule="uniform"), {"a": corpus("a", 10**6)}, train, T, phases)


def test_a_longer_phase_is_planned_in_its_own_sequences():
    plan = phased({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.0}, 8, seq_len=2 * T, tokens=10 * T)
    assert [(p.seq_len, p.sequences) for p in plan.phases] == [(T, 24), (2 * T, 4)]
    a = plan.draws[0]
    assert (a.sequences, a.tokens) == (16, 20 * T)
    assert a.epochs == pytest.approx(12 / 10 + 4 / 5) and a.epochs_max == 2 + 1
    assert a.weight == pytest.approx(0.75 * 0.5 + 0.25)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"share": 1.0}, "leave some tokens to the run's own mixture"),
        ({"share": 0.001}, "gets none of the 8 batches"),
        ({"seq_len": 3}, "holds no whole number"),
        ({"seq_len": 4 * T, "tokens": 3 * T}, "less than one sequence of 32"),
    ],
)
def test_impossible_phases_say_why(changes, told):
    with pytest.raises((ConfigError, PlanError), match=told):
        phased({"a": 1.0}, {"a": 1.0}, 8, **changes)


def test_the_key_names_what_decides_the_order_and_nothing_else():
    key = make({"a": 0.5, "b": 0.5}, 100).key
    assert len(key) == 16 and make({"b": 0.5, "a": 0.5, "c": 0.0}, 100).key == key
    others = [make({"a": 0.4, "b": 0.6}, 100), make({"a": 0.5, "b": 0.5}, 99)]
    others += [phased({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.0}, 25), make({"a": 0.5, "b": 0.5}, 100, {"a": 80})]
    assert len({key, *(p.key for p in others)}) == 5


def test_long_plans_are_counted_by_largest_remainder(monkeypatch):
    weights = {"a": 0.3, "b": 0.3, "c": 0.4}
    exact = make(weights, 1000)
    monkeypatch.setattr(orders, "EXACT_STEPS", 10)
    assert [d.sequences for d in make(weights, 1000).draws] == [d.sequences for d in exact.draws] == [300, 300, 400]


def test_a_plan_of_a_trillion_tokens_and_a_thousand_sources_is_quick():
    weights = dict(zip([f"s{i}" for i in range(1000)], np.random.default_rng(0).dirichlet(np.ones(1000)), strict=True))
    corpora = {s: corpus(s, 10**12) for s in weights}
    mix = Mixture(name="m", rule="weights", weights=weights)
    began = time.process_time()
    plan = plan_draws(mix, corpora, TrainSpec(tokens=10**12, batch_tokens=2**22), 2048)
    assert time.process_time() - began < 1
    assert sum(d.sequences for d in plan.draws) == plan.sequences
    assert all(abs(d.sequences - weights[d.source] * plan.sequences) < 1 for d in plan.draws)


def test_budget_and_corpora_are_rounded_down_to_what_can_be_served():
    plan = make({"a": 0.5, "b": 0.5}, sequences=11, tokens={"a": 3 * T + 5}, batch=4)
    assert (plan.sequences, plan.tokens) == (8, 64)
    a = plan.draws[0]
    assert (a.sequences, a.tokens, a.available, a.epochs) == (4, 32, 24, 4 / 3)


def test_a_rule_is_resolved_on_whole_sequences():
    corpora = {"a": corpus("a", T + 7), "b": corpus("b", 3 * T)}
    plan = plan_draws(Mixture(), corpora, TrainSpec(tokens=4 * T, batch_tokens=T), T)
    assert plan.mixture.weights == {"a": 0.25, "b": 0.75} and [d.epochs for d in plan.draws] == [1, 1]


def test_repeating_too_often_says_what_is_possible_and_the_advice_works():
    with pytest.raises(PlanError) as e:
        make({"code": 0.5, "wiki": 0.5}, 1000, tokens={"code": 100 * T}, max_epochs=4)
    said = str(e.value)
    assert "mixture 'm' wants 4,000 tokens of 'code', which has 800 (5.0 epochs, limit 4)" in said
    assert "Lower its weight to 0.4, or train.tokens to 6_400, or raise train.max_epochs to 5.0." in said
    make({"code": 0.5, "wiki": 0.5}, 6400 // T, tokens={"code": 100 * T}, max_epochs=4)
    make({"code": 0.4, "wiki": 0.6}, 1000, tokens={"code": 100 * T}, max_epochs=4)
    make({"code": 0.5, "wiki": 0.5}, 1000, tokens={"code": 100 * T}, max_epochs=5.0)


def test_a_budget_no_weights_can_serve_says_so():
    with pytest.raises(PlanError, match=r"No weights can help.*Lower train.tokens to 1_600"):
        make({"code": 0.5, "wiki": 0.5}, 1000, tokens={"code": 400, "wiki": 400}, max_epochs=2)


@LAW
@given(st.lists(st.integers(T, 10**5), min_size=1, max_size=6), st.floats(0.5, 8))
def test_unimax_is_never_refused_for_its_own_limit(sizes, epochs):
    corpora = {f"s{i}": corpus(f"s{i}", n) for i, n in enumerate(sizes)}
    whole = sum(n // T * T for n in sizes)
    train = TrainSpec(tokens=max(T, int(0.9 * epochs * whole)), batch_tokens=T, max_epochs=epochs)
    if train.tokens <= epochs * whole:
        plan_draws(Mixture(rule="unimax", epochs=epochs), corpora, train, T)


def test_a_source_smaller_than_one_sequence_is_named():
    with pytest.raises(PlanError, match="'code', which has 7 tokens: less than one sequence of 8"):
        make({"code": 0.5, "wiki": 0.5}, 10, tokens={"code": 7})
    assert make({"code": 0.0, "wiki": 1.0}, 10, tokens={"code": 7}).draws[0].epochs == 0


def test_a_budget_below_one_batch_is_refused():
    with pytest.raises(PlanError, match="less than one batch of 20 x 8"):
        make({"code": 1.0}, 10, batch=20)


def test_wrong_weights_are_a_config_error():
    with pytest.raises(ConfigError, match=r"sum to 0\.5"):
        make({"code": 0.5}, 10)
