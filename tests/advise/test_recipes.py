"""RegMix and AutoScale, as published: their own tables give their own answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mixlab.advise import recipes
from mixlab.errors import ConfigError

TABLES = Path(__file__).parents[2].parent / "shared" / "golden" / "mixing"
pytestmark = pytest.mark.skipif(not TABLES.exists(), reason=f"golden tables are not at {TABLES}")


def test_regmix_publishes_this_optimum():
    def load(part):
        mixes = pd.read_csv(TABLES / "regmix" / f"{part}_mixture_1m.csv").drop(columns="index").to_numpy()
        losses = pd.read_csv(TABLES / "regmix" / f"{part}_pile_loss_1m.csv")
        return mixes, losses["metric/the_pile_pile_cc_val_loss"].to_numpy()

    cells = [line.split("|") for line in (TABLES / "README.md").read_text(encoding="utf-8").splitlines()]
    told = np.array([[float(c[2]), float(c[3])] for c in cells if len(c) == 5 and c[2].strip().startswith("0.")])
    assert told.shape == (17, 2)
    unseen, loss = load("test")
    model = recipes.regmix_model(*load("train"), unseen, loss)
    assert model.num_trees() == 613
    assert np.mean((model.predict(unseen) - loss) ** 2) == pytest.approx(0.0030, abs=5e-5)
    assert np.abs(recipes.regmix_optimum(model, told[:, 0]) - told[:, 1]).max() < 1e-6


def test_autoscale_finds_its_worked_example():
    laws = recipes.autoscale_laws(pd.read_csv(TABLES / "autoscale" / "ddo_gpt2large_1p2B_ppl.csv"))
    assert np.allclose(laws["common_crawl"], (2.6659, 1.2492, 0.8027), atol=1e-4)
    found = list(recipes.autoscale_optimum(laws).values())
    assert np.allclose(found, [1.62475, 0.2, 1.27415, 1.17980, 1.85190, 0.63716, 0.23224], atol=1e-4)
    assert sum(found) == pytest.approx(7)


def test_autoscale_extrapolates_as_published():
    table = pd.read_csv(TABLES / "autoscale" / "optimal_weights_by_scale.csv").to_numpy()
    small, large = table[0, 1:] * 0.3, table[2, 1:] * 1.2
    assert recipes.autoscale_step(small, large).sum() == pytest.approx(5.000487, abs=1e-6)
    middle = np.sqrt(small * large)
    assert np.abs(middle / middle.sum() - table[1, 1:]).sum() <= 0.0532


def test_autoscale_needs_a_base_run():
    runs = pd.DataFrame({"changed_domain": ["a"], "multiplier_in_fit": [3.0], "ppl_average": [20.0]})
    with pytest.raises(ConfigError, match="has 0"):
        recipes.autoscale_laws(runs)
