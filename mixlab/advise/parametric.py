"""Two parametric laws of a metric in the weights: log-linear and power sum. Second opinions to the Gaussian process.

Both minimise a Huber loss with analytic gradients by L-BFGS-B. Settings as in Olmix and Data Mixing Laws (log-linear,
2403.16952) and AutoScale (power sum, 2407.20177), with the constants that reproduce published figures.
"""

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.linear_model import RidgeCV

from mixlab.advise.laws import effective_shares
from mixlab.advise.surrogate import Predict, Surrogate

HUBER = 0.02  # nats
EXPONENT = (-30.0, 10.0)  # where the log-linear exponent is clipped
BLOW_UP = 3.0  # log-linear predictions stop at this multiple of the largest observation: it explodes in small swarms
LOG_LINEAR_STARTS = 6


def train_log_linear(weights: np.ndarray, y: np.ndarray) -> Surrogate:
    """`y = floor + exp(t.w)`: convex to optimise; best of six starts. A metric below 0 is shifted first."""
    shift = _shift(y)
    best = min((_log_linear_from(x0, weights, y + shift) for x0 in _log_linear_starts(weights, y + shift)), key=_loss)
    floor, t = np.exp(best.x[0]), best.x[1:]
    top = BLOW_UP * (y + shift).max()

    def mean(w: np.ndarray) -> np.ndarray:
        return np.minimum(floor + np.exp(np.clip(w @ t, *EXPONENT)), top) - shift

    return Surrogate(predict=_with_sd(mean, weights, y), facts={"floor": float(floor - shift), "t": t})


def _log_linear_starts(weights: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Half from ridge on the logarithm above a guessed floor, half random."""
    rng = np.random.RandomState(0)
    starts = []
    for i in range(LOG_LINEAR_STARTS):
        floor = (0.9 if i == 0 else rng.uniform(0.3, 0.98)) * y.min()
        if i < LOG_LINEAR_STARTS // 2:
            ridge = RidgeCV(alphas=np.logspace(-3, 2, 10), fit_intercept=False)
            t = ridge.fit(weights, np.log(np.maximum(y - floor, 1e-3))).coef_
        else:
            t = rng.uniform(-1, 0.5, weights.shape[1])
        starts.append(np.r_[np.log(floor), t])
    return starts


def _log_linear_from(x0: np.ndarray, weights: np.ndarray, y: np.ndarray) -> OptimizeResult:
    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        raw = weights @ x[1:]
        floor, e = np.exp(x[0]), np.exp(np.clip(raw, *EXPONENT))
        loss, slope = _huber(floor + e - y)
        spread = x[1:] - x[1:].mean()
        inside = (raw > EXPONENT[0]) & (raw < EXPONENT[1])
        by_t = weights.T @ (slope * e * inside) + 2e-6 * spread
        return loss + 1e-6 * (spread @ spread), np.r_[floor * slope.sum(), by_t]

    bounds = [(-60.0, 60.0), *[(None, None)] * weights.shape[1]]
    return minimize(objective, x0, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 800, "maxfun": 4000})


def train_power_sum(weights: np.ndarray, y: np.ndarray) -> Surrogate:
    """`y = floor + sum_i F_i (a_i + w_i)^-g_i`: diminishing returns per source. Ranks well, picks badly."""
    m = weights.shape[1]
    shift = _shift(y)
    y = y + shift

    def parts(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        a, g = np.exp(x[1 + m : 1 + 2 * m]), np.exp(x[1 + 2 * m :])
        base = a + w
        return np.exp(x[1 : 1 + m] - g * np.log(base)), base, a, g

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        term, base, a, g = parts(x, weights)
        loss, slope = _huber(x[0] + term.sum(1) - y)
        pull_a, pull_g = x[1 + m : 1 + 2 * m] + 3, x[1 + 2 * m :] + 1
        by_a = -(slope @ (term / base)) * g * a + 2e-4 * pull_a
        by_g = -(slope @ (term * np.log(base))) * g + 2e-4 * pull_g
        pull = float(pull_a @ pull_a + pull_g @ pull_g)
        return loss + 1e-4 * pull, np.r_[slope.sum(), slope @ term, by_a, by_g]

    x0 = np.r_[0.8 * y.min(), np.full(m, np.log(0.2 * y.mean() / m)), np.full(m, -3.0), np.full(m, -1.0)]
    bounds = [(0.0, y.min()), *[(-12.0, 4.0)] * m, *[(-8.0, 1.0)] * m, *[(-4.0, 1.5)] * m]
    x = minimize(
        objective, x0, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1500, "maxfun": 20000}
    ).x

    def mean(w: np.ndarray) -> np.ndarray:
        return x[0] + parts(x, w)[0].sum(1) - shift

    facts = {"floor": float(x[0] - shift), "F": np.exp(x[1 : 1 + m]), "a": np.exp(x[1 + m : 1 + 2 * m])}
    return Surrogate(predict=_with_sd(mean, weights, y - shift), facts=facts | {"g": np.exp(x[1 + 2 * m :])})


def room_of(weights: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """Tokens of each source (m,) as a share of one run's: weights (n, m) by the passes (n, m) that they were.

    A source that no run drew from has room 1, as nothing is known of it.
    """
    ratio = np.where(epochs > 0, weights / np.where(epochs > 0, epochs, 1.0), np.nan)
    drawn = np.isfinite(ratio).any(0)
    return np.where(drawn, np.nanmedian(np.where(drawn, ratio, 1.0), axis=0), 1.0)


def train_discounted(weights: np.ndarray, y: np.ndarray, room: np.ndarray) -> Surrogate:
    """Power sum on shares whose repeated tokens are discounted (2305.16264): the k-th pass is worth less.

    `room` (m,): tokens of a source as a share of a run's tokens; a larger share than that is repeated.
    """
    law = train_power_sum(effective_shares(weights, 1.0, room), y)
    return Surrogate(predict=lambda w: law.predict(effective_shares(w, 1.0, room)), facts={**law.facts, "room": room})


def _shift(y: np.ndarray) -> float:
    """What makes the metric positive: 0 for losses."""
    return 0.0 if y.min() > 0 else float(y.std() - y.min())


def _huber(r: np.ndarray) -> tuple[float, np.ndarray]:
    """Summed Huber loss and its slope per row."""
    size = np.abs(r)
    loss = np.where(size <= HUBER, r * r / 2, HUBER * (size - HUBER / 2))
    return float(loss.sum()), np.clip(r, -HUBER, HUBER)


def _loss(result: OptimizeResult) -> float:
    return float(result.fun)


def _with_sd(mean, weights: np.ndarray, y: np.ndarray) -> Predict:
    """The law with one sd everywhere: that of its training residuals, which calibration corrects."""
    sd = max(float(np.sqrt(np.mean((mean(weights) - y) ** 2))), 1e-9 * float(np.abs(y).max()))
    return lambda w: (mean(w), np.full(len(w), sd))
