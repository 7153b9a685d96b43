"""Surfaces of the demo's kind whose best mix is known: four sources, bits per byte per source, seed noise."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from mixlab.mix import swarm

SOURCES = ["books", "code", "docs", "wiki"]
METRICS = [f"bpb_{s}" for s in SOURCES]


def surface(rng: np.random.Generator, flat: bool = False):
    """Weights (n, 4) -> bpb (n, 4): falls by a power law with its own source, less with the others."""
    if flat:
        return lambda w: np.full((len(w), 4), 2.0)
    floor, height = rng.uniform(1.0, 1.6, 4), rng.uniform(0.35, 1.0, 4)
    offset, power = np.exp(rng.uniform(np.log(0.003), np.log(0.06), 4)), rng.uniform(0.12, 0.35, 4)
    near = rng.uniform(0, 0.35, (4, 4))
    near[np.diag_indices(4)] = 1
    return lambda w: floor + height * (w @ near.T + offset) ** -power


def exponential(rng: np.random.Generator):
    """The same by Data Mixing Laws' form (2403.16952): falls exponentially with its own source, moves with others."""
    floor, height, slope = rng.uniform(1.0, 2.0, 4), rng.uniform(0.5, 1.5, 4), rng.normal(0, 0.5, (4, 4))
    slope[np.diag_indices(4)] = -rng.uniform(1.5, 4, 4)
    return lambda w: floor + height * np.exp(w @ slope.T)


def least(truth) -> float:
    """The lowest mean of the metrics over all mixes."""

    def loss(v: np.ndarray) -> float:
        w = np.exp(v - v.max())
        return float(truth((w / w.sum())[None]).mean())

    cloud = np.vstack([np.random.default_rng(1).dirichlet(np.full(4, a), 5000) for a in (1.0, 0.3)])
    best = cloud[truth(cloud).mean(1).argmin()]
    return min(loss(np.log(best + 1e-9)), float(minimize(loss, np.log(best + 1e-6), method="BFGS").fun))


def sweep(seed: int, n: int = 16, *, noise: float = 0.004, reseeds: int = 0, flat: bool = False, kind=surface):
    """A table of `n` mixes (corners included) and `reseeds` more seeds of natural, the natural mix, the truth."""
    rng = np.random.default_rng(seed)
    truth = surface(rng, flat) if flat else kind(rng)
    natural = np.maximum(rng.dirichlet(np.full(4, 3.0)), 0.04)
    natural /= natural.sum()
    mixes = swarm.design(dict(zip(SOURCES, natural.tolist(), strict=True)), n, seed=seed)
    weights = np.array([[m.weights[s] for s in SOURCES] for m in mixes] + [natural] * reseeds)
    part = noise / 2**0.5  # half of the noise's variance is common to the metrics of one run
    losses = truth(weights) + rng.normal(0, part, (len(weights), 1)) + rng.normal(0, part, (len(weights), 4))
    columns = [*(f"w_{s}" for s in SOURCES), *METRICS]
    return pd.DataFrame(np.hstack([weights, losses]), columns=columns), natural, truth
