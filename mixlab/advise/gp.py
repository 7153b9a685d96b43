"""Gaussian processes on the square root of the weights, in numpy, with analytic gradients.

On z = sqrt(w) the squared distance of two mixes is twice their squared Hellinger distance, so a share that goes from 0
to 1 % moves as far as one that goes from 25 to 36 %: what language models do. Three forms share one likelihood:

    gp      one length-scale
    ard     one length-scale per source
    warped  ard on ln(y - floor): the floor is learned too, and a prior holds the length-scales together

The warped form is the default of `fits`: losses fall towards a floor, so their logarithm above it is smoother.
Gradients: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), eq. 5.9.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import OptimizeResult, minimize

from mixlab.advise.surrogate import Surrogate

Kind = Literal["gp", "ard", "warped"]

JITTER = 1e-10
VARIANCE = (1e-3, 1e3)  # of the surface, in units of the (warped) metric's variance
NOISE = (1e-6, 10.0)  # variance, same unit
LENGTH = (1e-2, 1e2)  # z lives in [0, 1]
LENGTH_WARPED = (0.1, 1e2)
LENGTH_SPREAD = 1.0  # warped: prior sd of ln length-scale around the common mean
GAP = (0.1, 30.0)  # warped: distance of the floor below the best run, in sd of the metric; 30 is no warp at all
GAP_PRIOR = (np.log(2.0), 1.5)  # mean and sd of ln gap
NOT_POSITIVE = 1e10  # likelihood given where the Cholesky factorisation fails; L-BFGS then shortens its step


@dataclass(frozen=True, kw_only=True, slots=True)
class Warp:
    """y -> t = (ln((y - best)/sd + gap) - centre) / scale, or without a gap (y - centre) / scale."""

    best: float
    sd: float
    gap: float | None
    centre: float
    scale: float

    def back(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """t -> y and dy/dt."""
        u = self.centre + self.scale * t
        if self.gap is None:
            return u, np.full_like(u, self.scale)
        e = np.exp(u)
        return self.best + self.sd * (e - self.gap), self.sd * self.scale * e


def train_gp(weights: np.ndarray, y: np.ndarray) -> Surrogate:
    """GP with one length-scale; the best of two starts."""
    return _train(weights, y, "gp")


def train_ard(weights: np.ndarray, y: np.ndarray) -> Surrogate:
    """GP with one length-scale per source."""
    return _train(weights, y, "ard")


def train_warped(weights: np.ndarray, y: np.ndarray) -> Surrogate:
    """GP with one length-scale per source on the logarithm of the metric above a learned floor."""
    return _train(weights, y, "warped")


def _train(weights: np.ndarray, y: np.ndarray, kind: Kind) -> Surrogate:
    """Weights (n, m) with rows that sum to one, metric (n,) -> surface at the maximum of the (penalised) likelihood."""
    z = np.sqrt(weights)
    m = z.shape[1]
    y01 = (y - y.min()) / y.std()
    lengths = 1 if kind == "gp" else m
    length_bounds = LENGTH_WARPED if kind == "warped" else LENGTH
    bounds = [VARIANCE, NOISE, *[length_bounds] * lengths, *([GAP] if kind == "warped" else [])]
    starts = [np.r_[0.0, np.log(0.05), np.zeros(lengths), ([GAP_PRIOR[0]] if kind == "warped" else [])]]
    if kind == "gp":
        starts.append(np.random.RandomState(0).uniform(*np.log(np.array(bounds)).T))
    ln_bounds = np.log(bounds).tolist()
    found: list[OptimizeResult] = [
        minimize(_objective, x0, args=(z, y01, kind), jac=True, method="L-BFGS-B", bounds=ln_bounds) for x0 in starts
    ]
    theta = min(found, key=lambda r: r.fun).x
    t, _, warp = _warped(y, theta[-1] if kind == "warped" else None)
    return _surface(z, t, warp, theta[: 2 + lengths])


def _objective(theta: np.ndarray, z: np.ndarray, y01: np.ndarray, kind: Kind) -> tuple[float, np.ndarray]:
    """Negative log likelihood of the metric (plus the priors of the warped form) and its gradient.

    theta = ln variance, ln noise, ln length-scales (one or m), and for the warped form ln gap.
    """
    n, m = z.shape
    lengths = 1 if kind == "gp" else m
    t, dt, warp = _warped(y01, theta[-1] if kind == "warped" else None)
    cov = _kernel(z, z, theta)
    noise = np.exp(theta[1])
    k = cov.copy()
    k[np.diag_indices(n)] += noise + JITTER
    chol, inverse = _inverted(k)
    if inverse is None:
        return NOT_POSITIVE, np.zeros_like(theta)
    a = inverse @ t
    value = 0.5 * (t @ a) + np.log(np.diag(chol)).sum()
    slope = inverse - np.outer(a, a)
    inner = slope * cov
    rows = inner.sum(1)
    by_length = (rows @ (z * z) - (z * (inner @ z)).sum(0)) / np.exp(2 * theta[2 : 2 + lengths])
    grad = np.empty_like(theta)
    grad[0] = rows.sum() / 2
    grad[1] = noise * np.trace(slope) / 2
    grad[2 : 2 + lengths] = by_length.sum() if kind == "gp" else by_length
    if kind != "warped":
        return float(value), grad
    centred = theta[2 : 2 + m] - theta[2 : 2 + m].mean()
    value += (centred @ centred) / (2 * LENGTH_SPREAD**2)
    grad[2 : 2 + m] += centred / LENGTH_SPREAD**2
    off = (theta[-1] - GAP_PRIOR[0]) / GAP_PRIOR[1]
    u = warp.centre + warp.scale * t
    du = np.exp(theta[-1] - u)  # du / d ln gap
    value += n * np.log(warp.scale) + u.sum() + off * off / 2  # the change of variable y -> t
    grad[-1] = a @ dt + (t @ du) / warp.scale + du.sum() + off / GAP_PRIOR[1]
    return float(value), grad


def _warped(y: np.ndarray, ln_gap: float | None) -> tuple[np.ndarray, np.ndarray, Warp]:
    """Standardised (warped) metric t, dt / d ln gap, and the way back."""
    best, sd = float(y.min()), float(y.std())
    if ln_gap is None:
        warp = Warp(best=best, sd=sd, gap=None, centre=float(y.mean()), scale=sd)
        return (y - warp.centre) / warp.scale, np.zeros_like(y), warp
    gap = float(np.exp(ln_gap))
    u = np.log((y - best) / sd + gap)
    warp = Warp(best=best, sd=sd, gap=gap, centre=float(u.mean()), scale=float(u.std()))
    t = (u - warp.centre) / warp.scale
    du = gap * np.exp(-u)
    du = du - du.mean()
    return t, (du - t * (t @ du) / len(t)) / warp.scale, warp


def _kernel(a: np.ndarray, b: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Squared-exponential covariance (n, k) of rows of `a` and `b`."""
    scale = np.exp(theta[2:3] if len(theta) == 3 else theta[2 : 2 + a.shape[1]])
    a, b = a / scale, b / scale
    half = a @ b.T - 0.5 * ((a * a).sum(1)[:, None] + (b * b).sum(1))
    return np.exp(theta[0] + np.minimum(half, 0.0))


def _inverted(k: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Lower Cholesky factor of a covariance (n, n), and its inverse; None where it is not positive definite."""
    factored: tuple[np.ndarray, int] = dpotrf(k, lower=1)
    if factored[1]:
        return factored[0], None
    lower: np.ndarray = dpotri(factored[0], lower=1)[0]
    return factored[0], np.tril(lower) + np.tril(lower, -1).T


def _surface(z: np.ndarray, t: np.ndarray, warp: Warp, theta: np.ndarray) -> Surrogate:
    """The posterior at `theta`, in the metric's own unit (first order in the warp)."""
    n = len(t)
    noise = float(np.exp(theta[1]))
    _, inverse = _inverted(_kernel(z, z, theta) + (noise + JITTER) * np.eye(n))
    assert inverse is not None, "the optimiser left a covariance that is not positive definite"
    a = inverse @ t

    def predict(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = _kernel(np.sqrt(weights), z, theta)
        variance = np.exp(theta[0]) + noise - ((k @ inverse) * k).sum(1)
        mean, slope = warp.back(k @ a)
        return mean, slope * np.sqrt(np.maximum(variance, noise))

    def contrast(weights: np.ndarray, reference: np.ndarray) -> np.ndarray:
        k, k0 = _kernel(np.sqrt(weights), z, theta), _kernel(np.sqrt(reference[None]), z, theta)
        slope, slope0 = warp.back(k @ a)[1], warp.back(k0 @ a)[1]
        shared = inverse @ k0[0]
        own = np.exp(theta[0]) - ((k @ inverse) * k).sum(1)
        own0 = np.exp(theta[0]) - k0[0] @ shared
        between = _kernel(np.sqrt(weights), np.sqrt(reference[None]), theta)[:, 0] - k @ shared
        return np.sqrt(np.maximum(slope**2 * own + slope0**2 * own0 - 2 * slope * slope0 * between, 0.0))

    facts = {
        "variance": float(np.exp(theta[0])),
        "noise": noise,
        "length_scales": np.exp(theta[2:]),
        "noise_sd": warp.back(np.zeros(1))[1].item() * noise**0.5,
        "floor": None if warp.gap is None else warp.best - warp.sd * warp.gap,
    }
    left_out = warp.back(t - a / np.diag(inverse))
    return Surrogate(
        predict=predict,
        contrast=contrast,
        left_out=(left_out[0], left_out[1] / np.sqrt(np.diag(inverse))),
        facts=facts,
    )
