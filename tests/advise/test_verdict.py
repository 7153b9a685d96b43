"""Optimiser and verdict on planted surfaces of the demo's kind: 4 sources, 16-18 runs, bpb per source, seed noise."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mixlab.advise.card import sentences
from mixlab.advise.fits import fit
from mixlab.advise.objective import objective_of
from mixlab.advise.optimise import best_mix
from mixlab.advise.region import Limits
from mixlab.advise.verdict import Wish, realised, recommend
from mixlab.errors import ConfigError, PlanError

SOURCES = ["books", "code", "docs", "wiki"]
METRICS = [f"bpb_{s}" for s in SOURCES]
NATURAL = np.array([0.1, 0.55, 0.25, 0.1])
NATURAL_WEIGHTS = dict(zip(SOURCES, NATURAL.tolist(), strict=True))


def truth(weights: np.ndarray) -> np.ndarray:
    """bpb (n, 4): each falls with its own source, a little with the others."""
    near = 0.85 * np.eye(4) + 0.15
    return 1.1 + np.array([0.7, 0.5, 0.8, 0.6]) * (weights @ near + 0.02) ** -0.25


def table(noise: float, *, surface=truth, reseeds: int = 2, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    doubled = [w / w.sum() for w in NATURAL * (1 + np.eye(4))]
    rows = [NATURAL, np.full(4, 0.25), *doubled, *rng.dirichlet(2 * NATURAL + 0.5, 10), *[NATURAL] * reseeds]
    weights = np.array(rows)
    values = surface(weights) + rng.normal(0, noise, (len(rows), 4))
    return pd.DataFrame(np.hstack([weights, values]), columns=[*(f"w_{s}" for s in SOURCES), *METRICS])


@pytest.fixture(scope="module")
def card():
    return recommend(table(0.004), METRICS, NATURAL_WEIGHTS)


def as_array(weights) -> np.ndarray:
    return np.array([[weights[s] for s in SOURCES]])


def test_the_recommended_mix_is_near_the_planted_best(card):
    cloud = np.random.default_rng(0).dirichlet(np.ones(4), 20_000)
    best = truth(cloud).mean(1).min()
    regret = truth(as_array(card.mixture.weights)).mean() - best
    natural = truth(NATURAL[None]).mean() - best
    assert regret < 0.15 * natural and regret < 0.004  # one seed's noise
    assert card.distinguishable and card.p_beats_natural > 0.975
    assert card.gain.lo95 < natural - regret < card.gain.hi95


def test_the_card_is_whole(card):
    assert card.mixture.rule == "weights" and sum(card.mixture.weights.values()) == pytest.approx(1)
    assert (card.n_runs, card.n_mixes, card.dropped) == (18, 16, 0)
    assert card.noise_sd is not None and card.noise_sd < 0.01
    for e in (card.predicted, card.natural, card.gain, card.per_metric[0].recommended):
        assert e.lo95 <= e.lo80 <= e.mean <= e.hi80 <= e.hi95
    for s, (lo, hi) in card.indifference.items():
        assert lo <= card.mixture.weights[s] <= hi
    assert [o.method for o in card.opinions] == ["gp", "log-linear"]
    assert card.cv_spearman > 0.7 and card.cv_scheme == "leave one mix out"
    assert json.loads(card.to_json())["mixture"]["weights"] == card.mixture.weights
    assert card.sentences[0].startswith("The recommended mix is predicted to beat natural")


def test_the_card_says_how_its_metrics_count(card):
    assert "bpb_docs + bpb_wiki, averaged: " in sentences(card)[2]
    assert "averaged 40:20:20:20: " in sentences(replace(card, factors=(0.4, 0.2, 0.2, 0.2)))[2]
    assert "averaged, each in sds between the runs: " in sentences(replace(card, factors=(9.0, 5.0, 4.0, 7.0)))[2]


def test_pure_noise_is_not_distinguishable():
    found = []
    for seed in range(3):
        card = recommend(table(0.004, surface=lambda w: np.full((len(w), 4), 2.0), seed=seed), METRICS, NATURAL_WEIGHTS)
        found.append(card.distinguishable)
        assert card.distinguishable or "not distinguishable" in card.sentences[0]
    assert not any(found)


def test_a_cap_is_kept_and_named():
    card = recommend(table(0.004), METRICS, NATURAL_WEIGHTS, Wish(limits=Limits(caps={"docs": 0.1})))
    assert card.mixture.weights["docs"] <= 0.1 + 1e-9
    assert any("docs is at its cap of 10.0%" in w for w in card.warnings)


def test_caps_that_leave_no_mixture_say_how_much_is_missing():
    with pytest.raises(PlanError, match=r"0\.2000 of the training tokens have no source"):
        recommend(table(0.004), METRICS, NATURAL_WEIGHTS, Wish(limits=Limits(caps=dict.fromkeys(SOURCES, 0.2))))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'wiki'"):
        recommend(table(0.004), METRICS, {"wikki": 1.0})
    with pytest.raises(ConfigError, match="Did you mean 'bpb_wiki'"):
        recommend(table(0.004), ["bpb_wikki"], NATURAL_WEIGHTS)


def test_runs_without_every_metric_are_left_out_and_few_runs_warned_of():
    runs = table(0.004, reseeds=0)
    runs.loc[4, "bpb_docs"] = np.nan
    card = recommend(runs, METRICS, NATURAL_WEIGHTS)
    assert (card.n_runs, card.dropped, card.noise_sd) == (15, 1, None)
    assert any("Few runs" in w for w in card.warnings) and any("1 run without" in w for w in card.warnings)


def test_realised_gain_is_judged_against_the_noise_of_pairs(card):
    assert "clears the noise" in realised(card, [0.051, 0.049, 0.052])
    assert "does not clear the noise" in realised(card, [0.001, -0.002, 0.003])
    assert "natural beats" in realised(card, [-0.05, -0.051, -0.049])
    with pytest.raises(ConfigError, match="no seed pair"):
        realised(card, [float("nan")])


def test_floors_and_the_pull_towards_a_prior_are_obeyed():
    objective = objective_of([fit(table(0.004), m) for m in METRICS])
    best = best_mix(objective, Limits(floors={"docs": 0.5}), samples=2000)
    assert best.weights["docs"] == pytest.approx(0.5, abs=1e-6) and best.floored == ("docs",)
    pulled = best_mix(objective, prior=NATURAL_WEIGHTS, lam=10.0, samples=2000)
    assert np.abs(as_array(pulled.weights) - NATURAL).max() < 0.02
