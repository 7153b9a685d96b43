import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.errors import PlanError
from mixlab.mix.simplex import apportion, capped_sample, centre, project, redistribute

LAW = settings(max_examples=60, deadline=None, derandomize=True)
WEIGHTS = st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda w: sum(w) > 1e-3)


@LAW
@given(WEIGHTS, st.integers(0, 10**9))
def test_apportioned_counts_sum_exactly_and_stay_within_one(weights, n):
    counts = apportion(weights, n)
    assert counts.sum() == n
    assert np.abs(counts - np.array(weights) / sum(weights) * n).max() < 1 + 1e-6


@LAW
@given(WEIGHTS, st.integers(0, 10**6))
def test_a_larger_weight_never_gets_fewer(weights, n):
    counts = apportion(weights, n)
    by_weight = np.argsort(weights, kind="stable")
    grown = np.diff(counts[by_weight])
    assert (grown[np.diff(np.array(weights)[by_weight]) > 0] >= 0).all()


def test_equal_remainders_go_to_the_first():
    assert apportion([0.1, 0.1, 0.1], 4).tolist() == [2, 1, 1]


@st.composite
def sliders(draw):
    n = draw(st.integers(1, 12))
    weights = apportion(draw(st.lists(st.floats(0.0, 1), min_size=n, max_size=n).filter(lambda w: sum(w) > 0)), 1000)
    locked = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return weights.tolist(), locked, draw(st.integers(0, n - 1)), draw(st.integers(-50, 1100))


@LAW
@given(sliders())
def test_moving_a_slider_keeps_the_sum_and_the_locks(moved):
    weights, locked, i, value = moved
    after = redistribute(weights, locked, i, value, 1000)
    assert sum(after) == 1000 and min(after) >= 0
    assert all(a == w for j, (a, w) in enumerate(zip(after, weights, strict=True)) if locked[j] and j != i)
    free = [j for j in range(len(weights)) if j != i and not locked[j]]
    room = 1000 - sum(w for j, w in enumerate(weights) if j != i and locked[j])
    assert after[i] == (min(max(value, 0), room) if free else room)


@st.composite
def limits(draw):
    m = draw(st.integers(1, 12))
    lo = np.array(draw(st.lists(st.floats(0, 1 / m), min_size=m, max_size=m)))
    hi = np.minimum(1, lo + np.array(draw(st.lists(st.floats(0, 1), min_size=m, max_size=m))))
    hi[0] = 1.0 if hi.sum() < 1 else hi[0]
    return lo, hi


@LAW
@given(limits(), st.integers(0, 99))
def test_sampled_points_keep_every_limit(limit, seed):
    lo, hi = limit
    w = capped_sample(lo, hi, 5, np.random.default_rng(seed))
    assert w.shape == (5, len(lo)) and np.allclose(w.sum(1), 1, atol=1e-12)
    assert (w >= lo).all() and (w <= hi).all()


def test_the_sampler_is_uniform_on_the_simplex():
    m, n = 6, 4000
    w = capped_sample(np.zeros(m), np.ones(m), n, np.random.default_rng(0))
    sd = np.sqrt((m - 1) / (m**2 * (m + 1)))  # Dirichlet(1, …, 1)
    assert np.allclose(w.mean(0), 1 / m, atol=4 * sd / np.sqrt(n))
    assert np.allclose(w.std(0), sd, rtol=0.06)  # about 4 standard errors


def test_tight_caps_cost_nothing():
    natural = np.random.default_rng(1).dirichlet(np.ones(17))
    w = capped_sample(np.zeros(17), 1.1 * natural, 500, np.random.default_rng(2))
    assert (w <= 1.1 * natural).all() and w.std(0).min() > 0


@LAW
@given(limits(), st.integers(0, 99))
def test_the_projection_is_feasible_and_no_sampled_point_is_nearer(limit, seed):
    lo, hi = limit
    rng = np.random.default_rng(seed)
    v = rng.normal(size=len(lo))
    near = project(v, lo, hi)
    assert abs(near.sum() - 1) < 1e-9 and (near >= lo).all() and (near <= hi).all()
    others = capped_sample(lo, hi, 20, rng)
    assert (((others - v) ** 2).sum(1) >= ((near - v) ** 2).sum() - 1e-9).all()
    assert np.allclose(project(near, lo, hi), near, atol=1e-9)


def test_limits_without_a_mixture_say_what_is_missing():
    with pytest.raises(PlanError, match=r"caps sum to 0\.8.*0\.2 of the tokens"):
        project([0.5, 0.5], 0, [0.4, 0.4])
    with pytest.raises(PlanError, match=r"floors sum to 1\.2"):
        centre([0.6, 0.6], [1, 1])
    with pytest.raises(PlanError, match="source number 2"):
        centre([0.1, 0.6], [1, 0.5])
