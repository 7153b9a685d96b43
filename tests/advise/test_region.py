"""The region of allowed mixes: every draw keeps every limit, and an empty region says what is missing."""

import numpy as np
import pytest

from mixlab.advise.fits import fit
from mixlab.advise.objective import objective_of
from mixlab.advise.optimise import best_mix
from mixlab.advise.region import Group, Limits, region_of
from mixlab.advise.target import Target
from mixlab.errors import ConfigError, PlanError
from tests.advise.planted import METRICS, SOURCES, sweep


@pytest.fixture(scope="module")
def objective():
    return objective_of([fit(sweep(1)[0], m) for m in METRICS])


def test_every_draw_keeps_floors_caps_groups_and_frozen_proportions():
    limits = Limits(
        floors={"code": 0.1},
        caps={"code": 0.3, "docs": 0.4},
        groups=(Group(sources=("code", "docs"), most=0.5), Group(sources=("docs", "wiki"), least=0.2)),
        frozen=({"books": 2, "wiki": 1},),
    )
    region = region_of(SOURCES, limits)
    drawn = region.sample(3000, np.random.default_rng(0))
    assert region.holds(drawn).all()
    w = region.spread(drawn)
    assert np.allclose(w.sum(1), 1) and np.allclose(w[:, 0], 2 * w[:, 3])
    assert w[:, 1].min() >= 0.1 and w[:, 1].max() <= 0.3 and (w[:, 1] + w[:, 2]).max() <= 0.5 + 1e-7
    assert w[:, 1].max() > 0.28 and w[:, 1].min() < 0.12  # spread over the region, not piled up in its middle
    assert np.allclose(region.gather(w), drawn)


def test_the_best_mix_keeps_groups_and_frozen_proportions(objective):
    limits = Limits(groups=(Group(sources=("books", "code"), least=0.6),), frozen=({"docs": 1, "wiki": 3},))
    found = best_mix(objective, limits, samples=2000).weights
    assert found["books"] + found["code"] >= 0.6 - 1e-6
    assert found["wiki"] == pytest.approx(3 * found["docs"], abs=1e-6)


def test_a_binding_cap_has_the_price_of_relaxing_it(objective):
    free = best_mix(objective, samples=2000)
    most = max(free.weights, key=lambda s: free.weights[s])
    cap = free.weights[most] - 0.15
    tight, loose = (best_mix(objective, Limits(caps={most: c}), samples=2000) for c in (cap, cap + 0.01))
    assert most in tight.capped and tight.shadow_prices[most] > 0
    assert tight.loss - loose.loss == pytest.approx(tight.shadow_prices[most], rel=0.35)  # a slope against a step
    assert free.shadow_prices == {}


def test_a_ceiling_on_a_metric_is_kept(objective):
    free = best_mix(objective, samples=2000)
    w = np.array([list(free.weights.values())])
    code = objective.fits[1].predict(w)[0][0]
    held = best_mix(objective, ceilings={"bpb_code": code - 0.03}, samples=2000)
    w = np.array([list(held.weights.values())])
    assert objective.fits[1].predict(w)[0][0] <= code - 0.03 + 1e-3
    assert held.loss >= free.loss


def test_importance_moves_the_best_mix_towards_what_counts():
    fits = [fit(sweep(1)[0], m) for m in METRICS]
    plain = best_mix(objective_of(fits), samples=2000)
    coded = best_mix(objective_of(fits, {"bpb_code": 10}), samples=2000)
    assert coded.weights["code"] > plain.weights["code"]
    with pytest.raises(ConfigError, match="Did you mean 'bpb_code'"):
        objective_of(fits, {"bpb_cod": 10})


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(caps=dict.fromkeys(SOURCES, 0.2)), r"0\.2000 of the training tokens have no source"),
        (Limits(floors=dict.fromkeys(SOURCES, 0.3)), r"sum to 1\.2000; lower them by 0\.2000"),
        (
            Limits(groups=(Group(sources=("code", "docs"), least=0.8),), caps={"code": 0.3, "docs": 0.3}),
            "code \\+ docs",
        ),
        (Limits(floors={"code": 0.5}, caps={"code": 0.2}), "no weight is left"),
    ],
)
def test_an_empty_region_says_what_is_missing(limits, words):
    with pytest.raises(PlanError, match=words):
        region_of(SOURCES, limits)


def test_limits_name_sources_that_exist_once():
    with pytest.raises(ConfigError, match="Did you mean 'wiki'"):
        region_of(SOURCES, Limits(caps={"wikki": 0.1}))
    with pytest.raises(ConfigError, match="two frozen"):
        region_of(SOURCES, Limits(frozen=({"code": 1, "docs": 1}, {"code": 1, "wiki": 1})))


def test_a_target_counts_the_tokens_that_are_missing():
    target = Target(tokens=1000, available={"code": 100, "docs": 100}, max_epochs=4, flops=1e15)
    with pytest.raises(PlanError, match="give 800: 200 are missing"):
        target.caps()
    assert target.epochs({"code": 0.25, "docs": 0.75}) == {"code": 2.5, "docs": 7.5}
    hours, dollars = target.price()
    assert 0 < dollars < hours
