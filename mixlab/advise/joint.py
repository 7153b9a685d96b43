"""One law of a metric in mix, model size and training tokens together: what a ranking of mixes becomes at scale.

    L = E + 1 / sum_i C_i w_i^g_i + (sum_i CA_i w_i)^gA N^-alpha + (sum_i CB_i w_i)^gB D^-beta

N in 1e8 parameters, D in 1e9 tokens. The additive form has constants in the place of the two factors of the mix, so
that no ranking ever changes with size. Shukor et al., arXiv 2507.09404; fitted with the settings that reproduce its
figures: Huber on ln L, 12 random starts, L-BFGS-B with analytic gradients.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from mixlab.advise.surrogate import Surrogate
from mixlab.errors import ConfigError
from mixlab.seeds import generator

PARAMS, TOKENS = 1e8, 1e9  # units of N and D
HUBER = 1e-3  # of residuals of ln loss
SCALE = 1e3  # of the summed loss, so that L-BFGS does not stop early
STARTS = 12
FEW_STARTS = 2  # where the law is refitted for every fold; the best of them is not polished either
SOME_STARTS = 4  # of a fit to all runs: 360 runs of 7 sources take 4 CPU s and are foretold to 1e-4, from 2 to 3e-3
LEAST = 1e-6  # floor of a weight
SIZES = 2  # different model sizes below which nothing is learned of size; three are advised
SETTINGS, EXACT = {"maxiter": 4000, "maxfun": 8000}, {"ftol": 1e-16, "gtol": 1e-12}  # of L-BFGS-B
Columns = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class JointLaw:
    """The fitted constants. Additive: `by_size` and `by_data` (m,) are one constant over all sources."""

    floor: float
    by_mix: np.ndarray
    powers: np.ndarray
    """(m,) C_i and g_i."""
    by_size: np.ndarray
    by_data: np.ndarray
    """(m,) CA_i and CB_i."""
    size_power: float
    data_power: float
    """gA and gB; 1 in the additive form."""
    alpha: float
    beta: float

    def loss(self, weights: np.ndarray, params: np.ndarray | float, tokens: np.ndarray | float) -> np.ndarray:
        """Metric (n,) of mixes (n, m) in models of `params` parameters trained on `tokens` tokens."""
        w = np.maximum(weights, LEAST)
        of_mix = 1 / (w**self.powers @ self.by_mix)
        of_size = (w @ self.by_size) ** self.size_power * (np.asarray(params) / PARAMS) ** -self.alpha
        of_data = (w @ self.by_data) ** self.data_power * (np.asarray(tokens) / TOKENS) ** -self.beta
        return self.floor + of_mix + of_size + of_data


def fit_joint(
    weights: np.ndarray,
    params: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    *,
    additive: bool = False,
    starts: int = STARTS,
) -> JointLaw:
    """The law with the least error over runs: weights (n, m) whose rows sum to one, params, tokens and loss (n,).

    No more `starts` than FEW_STARTS are for folds: the best is then not polished. ConfigError: a loss that is not above
    0, or runs of one size alone.
    """
    if (loss <= 0).any():
        raise ConfigError("the joint scale law is one of losses above 0; this metric has others.")
    sizes = np.unique(params)
    if len(sizes) < SIZES:
        raise ConfigError(
            f"all {len(loss)} runs have {sizes[0]:,.0f} parameters: a law of size needs at least {SIZES} sizes, and "
            "three are advised. Train the same mixes with another model."
        )
    w = np.maximum(weights, LEAST)
    ln = {"w": np.log(w), "n": np.log(params / PARAMS), "d": np.log(tokens / TOKENS), "y": np.log(loss)}
    m, rng = w.shape[1], generator(0, "joint law")
    bounds = _bounds(m, additive)

    def descend(x: np.ndarray, settings: Any = SETTINGS) -> OptimizeResult:
        return minimize(_objective, x, (w, ln, additive), "L-BFGS-B", jac=True, bounds=bounds, options=settings)

    drawn = [np.clip(_start(rng, float(loss.min()), m, additive), *np.array(bounds).T) for _ in range(starts)]
    best = min((descend(x) for x in drawn), key=lambda r: float(r.fun))
    return _law(best.x if starts <= FEW_STARTS else descend(best.x, SETTINGS | EXACT).x, m, additive)


def train_joint(inputs: np.ndarray, y: np.ndarray, starts: int = FEW_STARTS) -> Surrogate:
    """The law as a fit: inputs (n, m + 2), the last two columns parameters and tokens."""
    return _trained(inputs, y, starts, additive=False)


def train_additive(inputs: np.ndarray, y: np.ndarray, starts: int = FEW_STARTS) -> Surrogate:
    """The additive form as a fit: ranks mixes alike at every size."""
    return _trained(inputs, y, starts, additive=True)


def at_size(law: Surrogate, n_params: float, tokens: float) -> Surrogate:
    """A surrogate of weights (n, m) alone: the law at one size."""
    return Surrogate(
        predict=lambda w: law.predict(np.hstack([w, np.tile((n_params, tokens), (len(w), 1))])), facts=law.facts
    )


def _trained(inputs: np.ndarray, y: np.ndarray, starts: int, *, additive: bool) -> Surrogate:
    law = fit_joint(inputs[:, :-2], inputs[:, -2], inputs[:, -1], y, additive=additive, starts=starts)

    def mean(x: np.ndarray) -> np.ndarray:
        return law.loss(x[:, :-2], x[:, -2], x[:, -1])

    sd = max(float(np.sqrt(np.mean((mean(inputs) - y) ** 2))), 1e-9 * float(np.abs(y).max()))
    facts = {"floor": law.floor, "alpha": law.alpha, "beta": law.beta, "size_power": law.size_power}
    return Surrogate(predict=lambda x: (mean(x), np.full(len(x), sd)), facts=facts | {"data_power": law.data_power})


def _bounds(m: int, additive: bool) -> list[tuple[float, float]]:
    """Of ln E, ln C, ln g, ln alpha, ln beta and then gA, gB, ln CA, ln CB, or of the additive ln A, ln B."""
    shared = [(-6.0, 2.0), *[(-8.0, 8.0)] * m, *[(-6.0, 2.0)] * m, (-4.0, 1.0), (-4.0, 1.0)]
    return shared + ([(-8.0, 6.0)] * 2 if additive else [*[(-5.0, 5.0)] * 2, *[(-8.0, 8.0)] * (2 * m)])


def _start(rng: np.random.Generator, least: float, m: int, additive: bool) -> np.ndarray:
    drawn = [[np.log(least * rng.uniform(0.3, 0.9))], rng.uniform(-1, 2, m), np.log(rng.uniform(0.1, 1, m))]
    rest = rng.uniform(-1, 1, 2 if additive else 2 + 2 * m)
    return np.concatenate([*drawn, np.log(rng.uniform(0.2, 0.6, 2)), rest])


def _objective(x: np.ndarray, w: np.ndarray, ln: Columns, additive: bool) -> tuple[float, np.ndarray]:
    """Summed Huber loss of ln L, times SCALE, and its gradient."""
    m = w.shape[1]
    powers, alpha, beta = np.exp(x[1 + m : 1 + 2 * m]), np.exp(x[1 + 2 * m]), np.exp(x[2 + 2 * m])
    part = np.exp(x[1 : 1 + m] + powers * ln["w"])
    total = part.sum(1)
    rest = x[3 + 2 * m :]
    if additive:
        by_size, by_data = np.full((len(w), 1), np.exp(rest[0])), np.full((len(w), 1), np.exp(rest[1]))
        size_power, data_power = 1.0, 1.0
    else:
        by_size, by_data = w * np.exp(rest[2 : 2 + m]), w * np.exp(rest[2 + m :])
        size_power, data_power = rest[:2]
    a, b = by_size.sum(1), by_data.sum(1)
    of_size = np.exp(size_power * np.log(a) - alpha * ln["n"])
    of_data = np.exp(data_power * np.log(b) - beta * ln["d"])
    floor = np.exp(x[0])
    predicted = floor + 1 / total + of_size + of_data
    r: np.ndarray = np.log(predicted) - ln["y"]
    size: np.ndarray = np.abs(r)
    value = np.where(size <= HUBER, r * r / 2, HUBER * (size - HUBER / 2)).sum()
    slope = np.clip(r, -HUBER, HUBER) / predicted
    by_part = -(slope / total**2) @ part, -((slope / total**2) @ (part * ln["w"])) * powers
    size_slope, data_slope = slope * of_size, slope * of_data
    gradient = [[floor * slope.sum()], *by_part]
    gradient += [[-alpha * (size_slope @ ln["n"])], [-beta * (data_slope @ ln["d"])]]
    if not additive:
        gradient += [[size_slope @ np.log(a)], [data_slope @ np.log(b)]]
    gradient += [size_power * ((size_slope / a) @ by_size), data_power * ((data_slope / b) @ by_data)]
    return float(value) * SCALE, SCALE * np.concatenate(gradient)


def _law(x: np.ndarray, m: int, additive: bool) -> JointLaw:
    rest = x[3 + 2 * m :]
    ones = np.ones(m)
    return JointLaw(
        floor=float(np.exp(x[0])),
        by_mix=np.exp(x[1 : 1 + m]),
        powers=np.exp(x[1 + m : 1 + 2 * m]),
        by_size=ones * np.exp(rest[0]) if additive else np.exp(rest[2 : 2 + m]),
        by_data=ones * np.exp(rest[1]) if additive else np.exp(rest[2 + m :]),
        size_power=1.0 if additive else float(rest[0]),
        data_power=1.0 if additive else float(rest[1]),
        alpha=float(np.exp(x[1 + 2 * m])),
        beta=float(np.exp(x[2 + 2 * m])),
    )
