"""The joint law of mix, size and tokens: its gradient, a planted law found again, and what it asks of the runs."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime

from mixlab.advise import joint
from mixlab.advise.fits import fit
from mixlab.errors import ConfigError

SIZES, TOKENS = (5e7, 1e8, 2e8), (1e9, 4e9)
LAW = joint.JointLaw(
    floor=1.5,
    by_mix=np.array([1.0, 2.0, 0.7]),
    powers=np.array([0.3, 0.6, 0.2]),
    by_size=np.array([0.3, 0.8, 0.5]),
    by_data=np.array([0.9, 0.2, 0.4]),
    size_power=-0.5,
    data_power=0.7,
    alpha=0.35,
    beta=0.3,
)


def runs(mixes: int = 12, noise: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(*w, n, d) for w in rng.dirichlet(np.ones(3), mixes) for n in SIZES for d in TOKENS]
    table = pd.DataFrame(rows, columns=["w_a", "w_b", "w_c", "n_params", "tokens"])
    loss = LAW.loss(table[["w_a", "w_b", "w_c"]].to_numpy(), table.n_params.to_numpy(), table.tokens.to_numpy())
    return table.assign(loss=loss * np.exp(noise * rng.standard_normal(len(loss))))


@pytest.mark.parametrize("additive", [False, True])
def test_the_gradient_is_that_of_finite_differences(additive):
    table, rng = runs(), np.random.default_rng(1)
    w = table[["w_a", "w_b", "w_c"]].to_numpy()
    ln = {"w": np.log(w), "n": np.log(table.n_params / 1e8), "d": np.log(table.tokens / 1e9), "y": np.log(table.loss)}
    ln = {k: np.asarray(v) for k, v in ln.items()}
    x = joint._start(rng, 1.5, 3, additive)
    _, gradient = joint._objective(x, w, ln, additive)
    numeric = approx_fprime(x, lambda z: joint._objective(z, w, ln, additive)[0], 1e-7)
    assert np.abs(gradient - numeric).max() < 1e-5 * np.abs(gradient).max()


def test_a_planted_law_foretells_unseen_mixes_at_four_times_the_size():
    f = fit(runs(8), "loss", "joint")
    unseen = np.random.default_rng(2).dirichlet(np.ones(3), 50)
    assert f.size == (2e8, 4e9)
    near, far = (x.surrogate.predict(unseen)[0] for x in (f, f.at(8e8, 8e9)))
    assert np.allclose(near, LAW.loss(unseen, 2e8, 4e9), rtol=5e-4)
    assert np.allclose(far, LAW.loss(unseen, 8e8, 8e9), rtol=1e-3)  # STARTS: 1e-4


def test_the_additive_form_ranks_mixes_alike_at_every_size():
    f = fit(runs(6), "loss", "joint-additive")
    unseen = np.random.default_rng(2).dirichlet(np.ones(3), 20)
    near, far = (f.at(n, 1e9).surrogate.predict(unseen)[0] for n in (5e7, 5e9))
    assert (np.argsort(near) == np.argsort(far)).all()


def test_what_the_law_needs_is_named():
    with pytest.raises(ConfigError, match="no number in every row of n_params"):
        fit(runs().drop(columns="n_params"), "loss", "joint")
    with pytest.raises(ConfigError, match="three are advised"):
        fit(runs().query("n_params == 1e8"), "loss", "joint")
    with pytest.raises(ConfigError, match="losses above 0"):
        fit(runs().assign(loss=lambda t: t.loss - 9), "loss", "joint")
    with pytest.raises(ConfigError, match="knows nothing of model size"):
        fit(runs(), "loss", "ridge").at(1e9, 1e9)
