"""Sizes, horizon and sensitivity: planted answers are found, and what weakens them is said."""

import numpy as np
import pandas as pd
import pytest

from mixlab.advise import horizon, sizes
from mixlab.advise.fits import fit
from mixlab.advise.objective import objective_of
from mixlab.advise.sensitivity import MEAN, attribution, effects
from mixlab.errors import ConfigError
from tests.advise.planted import METRICS, SOURCES, sweep
from tests.advise.test_joint import LAW, runs


def test_a_ranking_that_holds_over_sizes_is_told_without_warning_of_it():
    told = sizes.ranking(runs(8), "loss", 4e8, 4e9)
    assert [a.mixes for a in told.agreements] == [8, 8, 8] and told.agreements[-1].large == 2e8
    assert all(a.lo <= a.spearman <= a.hi for a in told.agreements)
    best = np.argsort(LAW.loss(told.mixes, 4e8, 4e9))
    assert told.order[0] == best[0] and told.agrees_with_largest > 0.9
    assert not any("misleads" in w for w in told.warnings)


def test_a_ranking_that_turns_round_is_warned_of():
    table = runs(8).assign(loss=lambda t: t.loss.where(t.n_params < 2e8, 9 - t.loss))
    last = sizes.rank_agreement(table, "loss")[-1]
    assert last.spearman == pytest.approx(-1) and not last.same_best
    said = sizes._warnings(table, sizes.rank_agreement(table, "loss"), 0.1, 1e10)
    assert len(said) == 4 and "misleads" in said[0] and "50 times the largest" in said[3]


def test_sizes_without_mixes_in_common_are_named():
    table = runs(8)
    with pytest.raises(ConfigError, match="no two sizes"):
        sizes.rank_agreement(table[table.n_params == 1e8], "loss")
    with pytest.raises(ConfigError, match="no column 'tokens'"):
        sizes.rank_agreement(table.drop(columns="tokens"), "loss")


def test_a_scarce_source_loses_weight_as_the_run_gets_longer():
    table, _, _ = sweep(1)
    most = fit(table, METRICS[1], "power-sum")
    plenty = dict.fromkeys(SOURCES, 10**9)
    told = horizon.drift(table, METRICS[:2], plenty | {"code": 600}, 1000, times=(1, 16), stars=(15.4,))
    start, end = told
    assert end.weights["code"] < start.weights["code"] and end.moved > 0.05
    assert end.epochs["code"] == pytest.approx(end.weights["code"] * 16000 / 600)
    assert most.sources == tuple(start.weights)
    free = horizon.drift(table, METRICS[:1], plenty, 1000, times=(1, 8), stars=(15.4,))
    assert free[1].moved < 1e-3  # nothing is repeated: nothing drifts
    (none,) = horizon.drift(
        table, METRICS[:1], dict.fromkeys(SOURCES, 600), 1000, times=(64,), stars=(15.4,), max_epochs=4
    )
    assert none.weights is None and "cannot fill it" in horizon.words([none], none.star)[0]


def test_one_point_more_of_a_source_lowers_its_own_metric_and_the_interval_holds_the_truth():
    table, natural, truth = sweep(3, 32)
    objective = objective_of([fit(table, m) for m in METRICS])
    told = effects(objective, dict(zip(SOURCES, natural.tolist(), strict=True)))
    assert len(told) == 4 * 5 and {e.metric for e in told} == {MEAN, *METRICS}
    held = 0
    for e in told:
        i = SOURCES.index(e.source)
        moved = natural * 0.99 + 0.01 * np.eye(4)[i]
        change = truth(moved[None])[0] - truth(natural[None])[0]
        real = change.mean() if e.metric == MEAN else change[METRICS.index(e.metric)]
        held += e.lo <= real <= e.hi
        assert e.change < 0 or e.metric != f"bpb_{e.source}"
    assert held >= 16


def test_the_parts_of_a_change_sum_to_the_change():
    table, natural, _ = sweep(3)
    f = fit(table, METRICS[0])
    ends = natural, np.array([0.4, 0.2, 0.2, 0.2])
    first, second = (dict(zip(SOURCES, w.tolist(), strict=True)) for w in ends)
    parts = attribution(f, first, second)
    before, after = f.surrogate.predict(np.array(ends))[0]
    assert sum(parts.values()) == pytest.approx(after - before, abs=1e-4)
    assert attribution(f, first, first) == dict.fromkeys(SOURCES, 0.0)


def test_epochs_columns_are_not_sources():
    table = pd.concat([runs(6), pd.DataFrame({"epochs_a": np.ones(36)})], axis=1)
    assert fit(table, "loss", "ridge").sources == ("a", "b", "c")
