"""Scaling laws: the published constants give the published figures; the interval of R_D* is an honest one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mixlab.advise import laws
from mixlab.errors import ConfigError

TABLES = Path(__file__).parents[2].parent / "shared" / "golden" / "mixing" / "datablations"


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    if not TABLES.exists():
        pytest.skip(f"golden tables are not at {TABLES}")
    return pd.read_csv(TABLES / "c4_fit_subset_182.csv")


def test_the_data_constrained_law_gives_the_published_losses():
    law = laws.PUBLISHED
    assert abs(law.loss(6.34e9, 242e9, 25e9) - 2.2256440889984477) < 1e-9
    assert abs(law.loss(8.67e9, 178e9, 25e9) - 2.2269634075087867) < 1e-9
    three = law.loss(2.81e9, 55e9, np.array([55e9, 14e9, 1.25e9]))
    assert np.allclose(three, [2.35409872, 2.37686206, 2.70120572], atol=5e-9)


def test_the_published_fit_scores_as_published(runs):
    predicted = laws.PUBLISHED.loss(runs.params, runs.tokens, runs.unique_tokens)
    observed = runs.c4_val_loss.to_numpy()
    assert laws.objective(predicted, observed) == pytest.approx(0.0158259, abs=5e-8)
    assert laws.r_squared(predicted, observed) == pytest.approx(0.7722, abs=5e-5)
    plain = laws.PUBLISHED.base.loss(runs.params, runs.tokens)
    assert laws.r_squared(plain, observed) == pytest.approx(0.4452, abs=5e-5)


def test_the_worth_of_repetition_is_only_bounded_from_below(runs):
    told = laws.star_interval(runs.params, runs.tokens, runs.unique_tokens, runs.c4_val_loss)
    assert 4 <= told.lo <= 8 and told.hi == np.inf  # the reference's bootstrap: 4.9 to unbounded
    assert told.lo < laws.PUBLISHED.data and told.flat_from < 8
    published = {4: 0.016319, 8: 0.015958, 15.387756: 0.015826, 30: 0.015821, 100: 0.015805, 1000: 0.015878}
    assert {r: told.profile[r] for r in published} == pytest.approx(published, abs=2e-6)


@pytest.mark.parametrize(
    ("name", "loss", "ratio"),
    [
        ("printed in 2203.15556", 1.93665, 92.8),
        ("the same, from its TeX", 1.92085, 59.0),
        ("replication 2404.10102", 1.97388, 18.4),
    ],
)
def test_chinchilla_constants_give_their_known_optimum(name, loss, ratio):
    law = laws.CONSTANTS[name]
    params, tokens = law.optimum(5.88e23)
    assert law.loss(70e9, 1.4e12) == pytest.approx(loss, abs=5e-6)
    assert tokens / params == pytest.approx(ratio, abs=0.05) and 6 * params * tokens == pytest.approx(5.88e23)
    assert law.loss(params, tokens) <= min(law.loss(params * f, tokens / f) for f in (0.9, 1.1))


def test_a_planted_chinchilla_law_is_found_again():
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 10, 120), 10 ** rng.uniform(9, 12, 120)
    found = laws.fit_chinchilla(n, d, laws.REPLICATION.loss(n, d))
    assert np.allclose(found.loss(n, d), laws.REPLICATION.loss(n, d), rtol=2e-4)
    assert found.a == pytest.approx(laws.REPLICATION.a, abs=0.02)


def test_shares_without_repetition_are_worth_themselves_and_repeated_ones_less():
    once = laws.effective_shares([0.05, 0.95], 100, [10, 1000])
    often = laws.effective_shares([0.5, 0.5], 100, [10, 1000])
    assert np.allclose(once, [[0.05, 0.95]])
    assert often[0, 0] < 0.5 and often[0, 1] == pytest.approx(0.5)


def test_too_few_runs_for_a_law_are_counted():
    with pytest.raises(ConfigError, match="3 of 4 runs"):
        laws.fit_chinchilla([1e6, 1e7, 1e8, 1e9], [1e9] * 4, [4.0, 3.0, 2.5, np.nan])
