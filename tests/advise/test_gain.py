"""The interval of a gain: holds the planted truth, ignores hard corners, says nothing where there is nothing."""

import numpy as np
import pandas as pd
import pytest

from mixlab.advise.fits import fit
from mixlab.advise.gain import easy_error, gain, has_skill
from mixlab.advise.objective import Objective, objective_of
from mixlab.advise.optimise import best_mix
from mixlab.advise.region import Limits
from tests.advise.planted import METRICS, SOURCES, sweep


def objective(table) -> Objective:
    return objective_of([fit(table, m) for m in METRICS])


def chosen(found: Objective) -> np.ndarray:
    seen = found.fits[0].weights
    near = {s: (seen[:, i].min() / 2, min(1.0, seen[:, i].max() + 0.1)) for i, s in enumerate(SOURCES)}
    limits = Limits(floors={s: lo for s, (lo, _) in near.items()}, caps={s: hi for s, (_, hi) in near.items()})
    return np.array(list(best_mix(found, limits, samples=2000).weights.values()))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_interval_holds_the_planted_gain(seed):
    table, natural, truth = sweep(seed)
    found = objective(table)
    mix = chosen(found)
    told = gain(found, mix, natural)
    real = truth(natural[None]).mean() - truth(mix[None]).mean()
    assert told.estimate.lo95 < real < told.estimate.hi95
    assert 0 < told.probability < 1


def test_corners_that_are_hard_to_foretell_do_not_widen_the_middle():
    found = objective(sweep(2)[0])
    error = found.unseen.mean - found.observed
    assert easy_error(found) < 0.7 * np.sqrt(np.mean(error**2))


@pytest.mark.parametrize("seed", [2, 5])
def test_training_both_mixes_under_more_seeds_makes_the_verdict_more_certain(seed):
    few, natural, truth = sweep(seed)
    mix = chosen(objective(few))
    again = np.array([mix, mix, mix, natural, natural])
    rows = np.hstack([again, truth(again) + np.random.default_rng(seed).normal(0, 0.003, (5, 4))])
    many = pd.concat([few, pd.DataFrame(rows, columns=few.columns)])
    before, after = (gain(objective(t), mix, natural) for t in (few, many))
    real = truth(natural[None]).mean() - truth(mix[None]).mean()
    assert after.sd < before.sd
    assert after.estimate.lo95 < real < after.estimate.hi95


def test_a_mix_against_itself_is_a_coin_toss():
    table, natural, _ = sweep(1)
    told = gain(objective(table), natural, natural)
    assert (told.mean, told.sd, told.probability) == (0, 0, 0.5)


def test_skill_is_more_than_luck():
    assert not has_skill(-1.0, 5)  # what leave-one-out means of pure noise give
    assert has_skill(1.0, 5) and has_skill(0.6, 16) and not has_skill(0.3, 16) and not has_skill(-0.9, 16)
