"""Two parametric laws of a metric in the weights: log-linear and power sum. Second opinions to the Gaussian process.

Both minimise a Huber loss with analytic gradients. Settings as in Olmix and Data Mixing Laws (log-linear, 2403.16952)
and AutoScale (power sum, 2407.20177), with the constants that reproduce published figures.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from mixlab.advise.laws import effective_shares
from mixlab.advise.regressors import ridge_cv
from mixlab.advise.surrogate import Predict, Surrogate

HUBER = 0.02  # nats
EXPONENT = (-30.0, 10.0)  # where the log-linear exponent is clipped
LN_FLOOR = 60.0  # largest logarithm of its floor, either way
BLOW_UP = 3.0  # log-linear predictions stop at this multiple of the largest observation: it explodes in small swarms
STEPS, DAMPED, STILL = 300, 12, 1e-10  # steps of a descent, tries of one step, relative gain below which it ends
PULL = 1e-6  # on the spread of the log-linear slopes, per unit squared


def train_log_linear(weights: np.ndarray, y: np.ndarray) -> Surrogate:
    """`y = floor + exp(t.w)`: convex to optimise. A metric below 0 is shifted first."""
    shift = _shift(y)
    ends = [_log_linear_from(x0, weights, y + shift) for x0 in _log_linear_starts(weights, y + shift)]
    _, x = min(ends, key=lambda end: end[0])
    floor, t = math.exp(x[0]), x[1:]
    top = BLOW_UP * (y + shift).max()

    def mean(w: np.ndarray) -> np.ndarray:
        return np.minimum(floor + np.exp(np.clip(w @ t, *EXPONENT)), top) - shift

    return Surrogate(predict=_with_sd(mean, weights, y), facts={"floor": floor - shift, "t": t})


def _log_linear_starts(weights: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """One from ridge on the logarithm above a guessed floor, one at random, to find that both end alike."""
    rng = np.random.RandomState(0)
    floor = 0.9 * y.min()
    ridge = ridge_cv(np.logspace(-3, 2, 10), fit_intercept=False)
    t = ridge.fit(weights, np.log(np.maximum(y - floor, 1e-3))).coef_
    other = math.log(rng.uniform(0.3, 0.98) * y.min())
    return [np.r_[math.log(floor), t], np.r_[other, rng.uniform(-1, 0.5, weights.shape[1])]]


def _log_linear_from(x0: np.ndarray, weights: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """(loss, [ln floor, t]) where Levenberg and Marquardt's steps end, the Huber loss as reweighted squares.

    On RegMix's tables it ends in one minimum from anywhere, in 40 to 130 steps; L-BFGS-B was short of it after 800.
    """
    low, high = EXPONENT
    n, m = weights.shape

    def look(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Loss; slope per row, residuals, exponentials; distance of the slopes from their mean."""
        raw = weights @ x[1:]
        e = np.exp(np.minimum(np.maximum(raw, low), high))
        r = math.exp(x[0]) + e - y
        loss, slope = _huber(r)
        spread = x[1:] - x[1:].sum() / m
        return loss + PULL * float(spread @ spread), slope, r, e * ((raw > low) & (raw < high)), spread

    x, damping = x0, 1e-3
    found = look(x)
    slopes, pull = np.empty((n, m + 1)), np.zeros((m + 1, m + 1))
    pull[1:, 1:] = 2 * PULL * (np.eye(m) - 1 / m)
    for _ in range(STEPS):
        loss, slope, r, e, spread = found
        slopes[:, 0], slopes[:, 1:] = math.exp(x[0]), weights * e[:, None]
        gradient = slopes.T @ slope
        gradient[1:] += 2 * PULL * spread
        curved = (slopes * (HUBER / np.maximum(np.abs(r), HUBER))[:, None]).T @ slopes + pull
        size = np.diag(np.diag(curved) + 1e-12)
        for _ in range(DAMPED):
            tried = x - np.linalg.solve(curved + damping * size, gradient)
            tried[0] = min(max(tried[0], -LN_FLOOR), LN_FLOOR)
            found = look(tried)
            if found[0] < loss:
                break
            damping *= 4
        else:
            return loss, x
        x, damping = tried, max(damping / 3, 1e-9)
        if loss - found[0] <= STILL * max(loss, 1e-3):
            break
    return found[0], x


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
    slope = np.minimum(np.maximum(r, -HUBER), HUBER)
    return float(slope @ (r - slope / 2)), slope  # r^2 / 2 inside, HUBER (|r| - HUBER / 2) outside


def _with_sd(mean: Callable[[np.ndarray], np.ndarray], weights: np.ndarray, y: np.ndarray) -> Predict:
    """The law with one sd everywhere: that of its training residuals, which calibration corrects."""
    sd = max(float(np.sqrt(np.mean((mean(weights) - y) ** 2))), 1e-9 * float(np.abs(y).max()))
    return lambda w: (mean(w), np.full(len(w), sd))
