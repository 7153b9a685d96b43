"""Designs of experiment by kind: which mixtures to train so that runs can be compared or fitted.

Reads and writes nothing; `swarm.write_design` makes the CSV. A kind is a function and a line of DESIGNS: (sources with
their tokens, number of mixtures, seed, caps) -> mixtures within the caps. The same mixture again is another seed.
`around`, which needs a mixture to begin with, stands beside the table.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from mixlab.errors import ConfigError, nearest
from mixlab.mix import swarm
from mixlab.mix.mixture import bounded, natural, scale, temperature, uniform
from mixlab.mix.simplex import capped_sample
from mixlab.seeds import generator
from mixlab.types import Mixture

Sizes = Mapping[str, float]
Caps = Mapping[str, float]
POOL = 64  # candidates a point of a space-filling design; more changed its least distance by less than 5 %
SPREAD = 0.05  # sd of a weight around a mixture: 5 points
WEAK, STRONG = 0.1, 5.0  # Dirichlet strengths of RegMix and Olmix; times the number of sources, spread evenly in log


def make(kind: str, available: Sizes, n: int, seed: int, caps: Caps | None = None) -> list[Mixture]:
    """Up to `n` mixtures of a kind; kinds that are a fixed set give all of it if `n` allows.

    Raises ConfigError for an unknown kind or n < 1, PlanError if the caps leave no mixture.
    """
    if kind not in DESIGNS:
        raise ConfigError(f"there is no design '{kind}'.{nearest(kind, DESIGNS)}")
    if n < 1:
        raise ConfigError(f"a design of {n} mixtures is none: give -n 1 or more.")
    return DESIGNS[kind](available, n, seed, dict(caps or {}))[:n]


def space_filling(available: Sizes, n: int, seed: int, caps: Caps) -> list[Mixture]:
    """Points far from each other in sqrt(w), the distance in which the fits see mixtures: farthest-point choice.

    Out of POOL candidates a point, drawn uniformly between 0 and the caps; the first is nearest to the centre of all.
    """
    sources = sorted(available)
    hi = np.array([caps.get(s, 1.0) for s in sources])
    w = capped_sample(np.zeros_like(hi), hi, POOL * n, generator(seed, "space-filling"))
    z = np.sqrt(w)
    chosen = [int(((z - z.mean(0)) ** 2).sum(1).argmin())]
    apart = np.full(len(z), np.inf)
    while len(chosen) < n:
        apart = np.minimum(apart, ((z - z[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(apart.argmax()))
    return [_mix(f"s{k:02d}", sources, w[i]) for k, i in enumerate(chosen, 1)]


def dirichlet(available: Sizes, n: int, seed: int, caps: Caps) -> list[Mixture]:
    """Draws around the natural mix at temperature 2, strengths spread from WEAK (corners) to STRONG (near it)."""
    middle = temperature(available, 2.0)
    sources, prior = list(middle.weights), np.array(list(middle.weights.values()))
    strengths = np.geomspace(WEAK, STRONG, n) * len(sources)
    mixes: list[Mixture] = []
    for k, strength in enumerate(strengths, 1):
        w = generator(seed, "dirichlet", k).dirichlet(np.maximum(prior * strength, 1e-3))
        mixes.append(_within(_mix(f"r{k:02d}", sources, w), caps))
    return mixes


def one_up(available: Sizes, n: int, seed: int, caps: Caps) -> list[Mixture]:
    """The natural mix, then each source as if it had twice its tokens: what does more of it do?"""
    base = natural(available)
    return _apart([base, *(scale(base, s, swarm.UP, f"up-{s}") for s in base.weights)], caps)


def leave_one_out(available: Sizes, n: int, seed: int, caps: Caps) -> list[Mixture]:
    """The natural mix, then the same without each source in turn: what is it good for?"""
    base = natural(available)
    without = [scale(base, s, 0.0, f"without-{s}") for s in base.weights] if len(base.weights) > 1 else []
    floors = [_within(m, {**caps, s: 0.0}) for m, s in zip(without, base.weights, strict=False)]
    return _apart([base, *floors], caps)


def grid(available: Sizes, n: int, seed: int, caps: Caps) -> list[Mixture]:
    """Every mixture whose weights are multiples of 1/k, for the largest k that gives at most `n` within the caps."""
    sources = sorted(available)
    best: list[tuple[int, ...]] = []
    for k in itertools.count(1):
        if math.comb(k + len(sources) - 1, len(sources) - 1) > n and not caps:
            break
        limits = [math.floor(caps.get(s, 1.0) * k + 1e-9) for s in sources]
        points = list(itertools.islice(_compositions(k, limits), n + 1))
        if len(points) > n or k > n:
            break
        best = points or best
    if not best:
        raise ConfigError(
            f"a grid of {len(sources)} sources within the caps has more than {n} points at its coarsest. Raise -n, or "
            "choose a space-filling design."
        )
    total = sum(best[0])
    return [_mix("g" + "-".join(map(str, p)), sources, np.array(p) / total) for p in best]


def anchors(available: Sizes, n: int, seed: int, caps: Caps) -> list[Mixture]:
    """What every search is compared with: natural, uniform, and in between (temperature 2).

    The nearest mix to the uniform one under epoch caps (`uniform-capped`) is UniMax.
    """
    return _apart([natural(available), uniform(available), temperature(available, 2.0)], caps)


def around(middle: Mixture, n: int, seed: int, caps: Caps, spread: float = SPREAD) -> list[Mixture]:
    """A mixture, then draws near it (`a01`, `a02`, …): Dirichlet, the sd of the least certain weight is `spread`.

    What a fit needs to say more about one region. A source of weight 0 stays at 0. ConfigError for a spread that is no
    share above 0, or wider than a mixture can be.
    """
    sources = sorted(middle.weights)
    w = np.array([middle.weights[s] for s in sources])
    widest = float((w * (1 - w)).max()) ** 0.5
    if not spread > 0:
        raise ConfigError(f"a spread of {spread:g} is none: give a share above 0, such as {SPREAD:g}.")
    if spread >= widest:
        raise ConfigError(
            f"mixtures cannot spread by {spread:g} around '{middle.name}': the most is {widest:.3f}. Lower the spread."
        )
    strength = (widest / spread) ** 2 - 1  # Dirichlet: var = w (1 - w) / (strength + 1)
    drawn = [generator(seed, "around", k).dirichlet(np.maximum(w * strength, 1e-9)) for k in range(1, n)]
    drawn = [np.where(w > 0, d, 0.0) / d[w > 0].sum() for d in drawn]
    return [_within(m, caps) for m in (middle, *(_mix(f"a{k:02d}", sources, d) for k, d in enumerate(drawn, 1)))][:n]


def reseeds(available: Sizes, n: int, seed: int, caps: Caps) -> list[Mixture]:
    """The natural mix `n` times: how large is the noise?"""
    return [_within(natural(available), caps)] * n


def _swarm(available: Sizes, n: int, seed: int, caps: Caps) -> list[Mixture]:
    """Anchors, one-up and spread Dirichlet draws: swarm.design."""
    return swarm.design(available, n, seed, caps)


DESIGNS: Mapping[str, Callable[[Sizes, int, int, Caps], list[Mixture]]] = {
    "swarm": _swarm,
    "space-filling": space_filling,
    "dirichlet": dirichlet,
    "one-up": one_up,
    "leave-one-out": leave_one_out,
    "grid": grid,
    "anchors": anchors,
    "reseeds": reseeds,
}


def _compositions(total: int, limits: list[int]) -> Iterator[tuple[int, ...]]:
    """Whole numbers up to `limits` that sum to `total`."""
    if sum(limits) < total:
        return
    if len(limits) == 1:
        yield (total,)
        return
    for first in range(min(total, limits[0]), -1, -1):
        for rest in _compositions(total - first, limits[1:]):
            yield (first, *rest)


def _mix(name: str, sources: list[str], w: np.ndarray) -> Mixture:
    return Mixture(name=name, rule="weights", weights=dict(zip(sources, w.tolist(), strict=True)))


def _within(mix: Mixture, caps: Caps) -> Mixture:
    """The mixture itself, or the nearest one that keeps the caps, under a name that says so."""
    near = bounded(mix, caps=caps)
    if max(abs(near.weights[s] - w) for s, w in mix.weights.items()) <= swarm.SAME:
        return mix
    return Mixture(name=f"{mix.name}-capped", rule="weights", weights=near.weights)


def _apart(mixes: list[Mixture], caps: Caps) -> list[Mixture]:
    """Within the caps, without those that equal one before."""
    kept: list[Mixture] = []
    for mix in (_within(m, caps) for m in mixes):
        if all(max(abs(mix.weights[s] - w) for s, w in k.weights.items()) > swarm.SAME for k in kept):
            kept.append(mix)
    return kept
