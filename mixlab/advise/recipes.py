"""Two published recipes, step by step, so that their published answers can be had again: RegMix and AutoScale.

For comparison, not for advice: RegMix (arXiv 2407.01492) stops its trees on the rows that it reports and searches
without an interval; AutoScale (arXiv 2407.20177) fits three points per domain and extrapolates.
"""

from collections.abc import Callable, Mapping

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from mixlab.advise.regressors import train_lightgbm
from mixlab.errors import ConfigError

DRAWS, BEST, DRAW_SEED = 100_000, 128, 42  # RegMix's search: mean of the best of so many Dirichlet draws
PATIENCE, TREES = 3, 1000


def regmix_model(weights: np.ndarray, loss: np.ndarray, seen: np.ndarray, seen_loss: np.ndarray) -> lightgbm.Booster:
    """RegMix's notebook model: default leaves, rate 0.01, stopped early on `seen`, its own test rows (a leak).

    `weights` (n, m) as they stand in the file, not normalised.
    """
    params = {"objective": "regression", "metric": ["l1", "l2"], "num_iterations": TREES, "seed": DRAW_SEED}
    params |= {"learning_rate": 0.01, "verbosity": -1, "num_threads": 1, "deterministic": True}
    train = lightgbm.Dataset(weights, loss)
    stop = [lightgbm.early_stopping(PATIENCE, verbose=False)]
    return lightgbm.train(params, train, TREES, valid_sets=[train.create_valid(seen, seen_loss)], callbacks=stop)  # pyright: ignore[reportUnknownMemberType]  # a callback is a bare Callable to it


def regmix_optimum(model: lightgbm.Booster, prior: ArrayLike) -> np.ndarray:
    """The mix (m,) that RegMix publishes: mean of the 128 of 100,000 draws from Dirichlet(prior) predicted lowest."""
    return _mean_of_best(lambda draws: np.asarray(model.predict(draws)), prior)


def regmix_recipe(weights: np.ndarray, loss: np.ndarray, prior: ArrayLike) -> np.ndarray:
    """The mix (m,) that RegMix would choose from these runs, its leak mended: trees stop on a tenth of the runs.

    `loss` (n,): the one target it fits. `prior` (m,): the natural mix, whose shares are the Dirichlet's parameters.
    """
    found = train_lightgbm(weights, loss)
    return _mean_of_best(lambda draws: found.predict(draws)[0], prior)


def _mean_of_best(predict: Callable[[np.ndarray], np.ndarray], prior: ArrayLike) -> np.ndarray:
    draws = np.random.RandomState(DRAW_SEED).dirichlet(np.asarray(prior, float), DRAWS)
    return draws[np.argsort(predict(draws), kind="stable")[:BEST]].mean(0)


def autoscale_laws(table: pd.DataFrame, average: str = "ppl_average") -> dict[str, tuple[float, float, float]]:
    """Domain -> (a, b, c) of `(x + a)^-b + c`, through the three runs with x = 0.2, 1, 3 times its equal share.

    `table`: a row a run with `changed_domain` (empty for the base run), `multiplier_in_fit` and the averaged
    perplexity, which is divided by that of the base run. ConfigError: no base run, or a domain without both runs.
    """
    told = [
        ("" if pd.isna(domain) else str(domain), float(x), float(y))
        for domain, x, y in zip(table["changed_domain"], table["multiplier_in_fit"], table[average], strict=True)
    ]
    bases = [y for domain, _, y in told if not domain]
    if len(bases) != 1:
        raise ConfigError(f"AutoScale compares every run with one base run; the table has {len(bases)}.")
    found = dict[str, tuple[float, float, float]]()
    for name in dict.fromkeys(domain for domain, _, _ in told if domain):
        points = {x: y / bases[0] for domain, x, y in told if domain == name}
        if len(points) != 2:
            raise ConfigError(f"domain '{name}' needs one run with less and one with more of it, not {len(points)}.")
        found[name] = _through(points | {1.0: 1.0})
    return found


def autoscale_optimum(laws: Mapping[str, tuple[float, float, float]], floor: float = 0.2) -> dict[str, float]:
    """The multiples of an equal share (they sum to the number of domains) with the least sum of `(x + a)^-b`."""
    a, b = (np.array([law[i] for law in laws.values()]) for i in (0, 1))

    def at(price: float) -> np.ndarray:
        return np.maximum((b / price) ** (1 / (b + 1)) - a, floor)  # where the marginal gain falls to `price`

    low, high = 1e-12, 1e12
    for _ in range(200):  # more is bought at a lower price
        price = (low * high) ** 0.5
        low, high = (price, high) if at(price).sum() > len(a) else (low, price)
    return dict(zip(laws, at(low).tolist(), strict=True))


def autoscale_step(smaller: ArrayLike, larger: ArrayLike) -> np.ndarray:
    """Tokens per domain one scale further, `N3 = N2^2 / N1`: the optimum moves by the same factor again.

    >>> autoscale_step([1.0, 2.0], [2.0, 2.0]).tolist()
    [4.0, 2.0]
    """
    return np.asarray(larger, float) ** 2 / np.asarray(smaller, float)


def _through(points: Mapping[float, float]) -> tuple[float, float, float]:
    """Two laws can pass through the same three points; the one reached from (1, 1, 1) is the published one."""
    x, y = np.array(list(points)), np.array(list(points.values()))

    def error(p: np.ndarray) -> np.ndarray:
        return (x + p[0]) ** -p[1] + p[2] - y

    a, b, c = least_squares(error, (1.0, 1.0, 1.0), bounds=(0, np.inf), xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    return float(a), float(b), float(c)
