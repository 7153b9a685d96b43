"""What to buy next: value where it is unknown, a stop where it is not, and power that grows with the runs."""

import numpy as np
import pytest

from mixlab.advise import buy
from mixlab.advise.fits import fit
from mixlab.advise.objective import objective_of
from mixlab.advise.region import Limits
from mixlab.errors import ConfigError
from tests.advise.planted import METRICS, SOURCES, surface, sweep


def test_a_batch_cuts_expected_regret_and_says_when_to_stop():
    objective = objective_of([fit(sweep(3)[0], m) for m in METRICS[:2]])
    told = buy.next_runs(objective, 2, dollars=0.5)
    assert 0 <= told.regret_after <= told.regret_now and len(told.mixes) == 2
    assert all(sum(m.values()) == pytest.approx(1) and set(m) == set(SOURCES) for m in told.mixes)
    assert told.mixes[0] != told.mixes[1] and "for $1.00" in told.words
    assert told.words.endswith("go on." if told.is_worth_it else "stop.")
    with pytest.raises(ConfigError, match="at least one"):
        buy.next_runs(objective, 0)


def test_what_is_to_be_bought_keeps_to_the_limits_though_the_runs_did_not():
    objective = objective_of([fit(sweep(3)[0], METRICS[0])])
    a, b, *_ = SOURCES
    assert (objective.fits[0].weights[:, list(objective.sources).index(a)] > 0.3).any()
    for limits in (
        Limits(caps={a: 0.3}, floors={b: 0.2}),
        Limits(caps={a: 0.3}, frozen=({a: 2.0, b: 1.0},)),
    ):
        for mix in buy.next_runs(objective, 4, limits=limits).mixes:
            assert mix[a] < 0.3 + 1e-6 and (mix[b] > 0.2 - 1e-6 or limits.frozen)
            assert not limits.frozen or mix[a] == pytest.approx(2 * mix[b], abs=1e-5)


def test_more_runs_find_more():
    def drawn(rng):
        truth = surface(rng)
        return lambda w: truth(w).mean(1)

    def mixes(n, seed):
        return np.random.default_rng(seed).dirichlet(np.ones(4), n)

    sweeps = [buy.Design(runs=6, dollars=1.0), buy.Design(runs=30, dollars=1.0)]
    few, many = buy.power(sweeps, drawn, mixes, 0.004, surfaces=6)
    assert many.regret < few.regret and many.decision_accuracy > few.decision_accuracy
    assert (few.dollars, many.dollars) == (6, 30)
    asked = [buy.Design(runs=30, n_params=1e6, agreement=rho) for rho in (0.2, 0.9)]
    blurred, clear = buy.power(asked, drawn, mixes, 0.004, surfaces=6)
    assert blurred.decision_accuracy < clear.decision_accuracy < many.decision_accuracy
    assert blurred.regret > many.regret


def test_a_small_model_ranks_mixes_as_far_as_it_agrees():
    rng = np.random.default_rng(0)
    cloud = rng.dirichlet(np.ones(4), 2000)
    truth, other = (
        (lambda w: surface(np.random.default_rng(1))(w).mean(1)),
        (lambda w: w @ np.array([1.0, 5.0, 2.0, 0])),
    )
    for rho in (0.3, 0.8):
        seen = buy._proxy(truth, other, rho, cloud)(cloud)
        assert np.corrcoef(truth(cloud), seen)[0, 1] == pytest.approx(2 * np.sin(np.pi * rho / 6))
        assert seen.std() == pytest.approx(truth(cloud).std())
