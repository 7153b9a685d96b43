"""Surfaces of the demo's kind whose best mix is known: four sources, bits per byte per source, seed noise."""

import numpy as np
import pandas as pd

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


def sweep(seed: int, n: int = 16, *, noise: float = 0.004, reseeds: int = 0, flat: bool = False):
    """A table of `n` mixes (corners included) and `reseeds` more seeds of natural, the natural mix, the truth."""
    rng = np.random.default_rng(seed)
    truth = surface(rng, flat)
    natural = np.maximum(rng.dirichlet(np.full(4, 3.0)), 0.04)
    natural /= natural.sum()
    mixes = swarm.design(dict(zip(SOURCES, natural.tolist(), strict=True)), n, seed=seed)
    weights = np.array([[m.weights[s] for s in SOURCES] for m in mixes] + [natural] * reseeds)
    part = noise / 2**0.5  # half of the noise's variance is common to the metrics of one run
    losses = truth(weights) + rng.normal(0, part, (len(weights), 1)) + rng.normal(0, part, (len(weights), 4))
    columns = [*(f"w_{s}" for s in SOURCES), *METRICS]
    return pd.DataFrame(np.hstack([weights, losses]), columns=columns), natural, truth
