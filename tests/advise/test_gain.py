"""The interval of a gain: holds the planted truth, ignores hard corners, says nothing where there is nothing."""

import numpy as np
import pytest

from mixlab.advise.fits import fit
from mixlab.advise.gain import easy_error, gain, has_skill
from mixlab.advise.optimise import Objective, minimiser, objective_of
from tests.advise.planted import METRICS, sweep


def objective(table) -> Objective:
    return objective_of([fit(table, m) for m in METRICS])


def chosen(found: Objective) -> np.ndarray:
    seen = found.fits[0].weights
    return minimiser(found, seen.min(0) / 2, np.minimum(seen.max(0) + 0.1, 1.0), samples=2000)[0]


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


def test_more_seeds_do_not_make_the_verdict_less_certain():
    (few, natural, _), (many, _, _) = sweep(5, noise=0.01), sweep(5, noise=0.01, reseeds=4)
    mix = chosen(objective(few))
    assert gain(objective(many), mix, natural).sd < 1.1 * gain(objective(few), mix, natural).sd


def test_a_mix_against_itself_is_a_coin_toss():
    table, natural, _ = sweep(1)
    told = gain(objective(table), natural, natural)
    assert (told.mean, told.sd, told.probability) == (0, 0, 0.5)


def test_skill_is_more_than_luck():
    assert has_skill(1.0, 5) and has_skill(0.6, 16) and not has_skill(0.3, 16) and not has_skill(-0.9, 16)
