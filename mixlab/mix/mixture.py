"""Algebra on weights. A weight is a share of training *tokens*; every function here returns weights that sum to 1.

What may be asked for is judged in mix/asked.py. Reads run.json for the mixture of a run, and nothing else.
Definitions: natural and temperature (w ~ tokens^(1/tau), as in mT5, arXiv 2010.11934), UniMax (arXiv 2304.09151).
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from mixlab.errors import ConfigError, MissingError, PlanError, nearest
from mixlab.mix.asked import check, check_groups, check_room
from mixlab.mix.simplex import rescale
from mixlab.types import Mixture
from mixlab.workspace import Workspace, read_json


def resolve(mixture: Mixture, available: Mapping[str, int], budget_tokens: int) -> Mixture:
    """The mixture as numbers: rule `weights`, one for every source of `available`, ordered by name, summing to 1.

    `available`: source -> training tokens. A source that is not named gets 0. First the rule or the weights and their
    groups, then `to`, `scale`, and last floors and caps. Raises ConfigError as `check`, or if the caps leave tokens
    without a source that has a weight; PlanError if UniMax is infeasible.
    """
    check(mixture, available)
    match mixture.rule:
        case "weights":
            flat = nested(mixture.weights, mixture.groups, mixture.name).weights
            found = _mixture(mixture.name, {s: flat.get(s, 0.0) for s in available})
        case "natural":
            found = natural(available)
        case "uniform":
            found = uniform(available)
        case "temperature":
            found = temperature(available, mixture.tau)
        case "unimax":
            found = unimax(available, budget_tokens, mixture.epochs)
    if mixture.to is not None:
        found = interpolate(found, resolve(mixture.to, available, budget_tokens), mixture.t)
    for source, factor in mixture.scale.items():
        found = scale(found, source, factor)
    if mixture.floors or mixture.caps:
        check_room(mixture, found.weights)
        found = bounded(found, mixture.floors, mixture.caps)
    return Mixture(name=mixture.name, rule="weights", weights=found.weights)


def natural(available: Mapping[str, float], name: str = "natural") -> Mixture:
    """Each source by its own size in tokens.

    >>> natural({"wiki": 300, "code": 100}).weights
    {'code': 0.25, 'wiki': 0.75}
    """
    return _mixture(name, _some(available))


def uniform(sources: Iterable[str], name: str = "uniform") -> Mixture:
    """The same share for every source."""
    return _mixture(name, dict.fromkeys(sources, 1.0))


def temperature(available: Mapping[str, float], tau: float, name: str | None = None) -> Mixture:
    """w ~ tokens^(1/tau): tau 1 is natural, a larger tau is more even, a smaller one favours the large sources."""
    most = max(_some(available).values())
    return _mixture(name or f"temperature-{tau:g}", {s: (n / most) ** (1 / tau) for s, n in available.items()})


def unimax(available: Mapping[str, int], budget_tokens: int, epochs: float, name: str | None = None) -> Mixture:
    """As even as possible with no source seen more than `epochs` times in `budget_tokens` (UniMax, arXiv 2304.09151).

    Raises PlanError that counts the missing tokens if all sources together cannot fill the budget.

    >>> unimax({"big": 1000, "small": 10}, budget_tokens=100, epochs=2).weights
    {'big': 0.8, 'small': 0.2}
    """
    offered, have = math.floor(epochs * sum(available.values())), sum(available.values())
    if offered < budget_tokens:
        enough = f" or raise mixture.epochs to {math.ceil(100 * budget_tokens / have) / 100:.2f}" if have else ""
        raise PlanError(
            f"UniMax with {epochs:g} epochs wants {budget_tokens:,} tokens, but the sources offer {offered:,}: "
            f"{budget_tokens - offered:,} are missing. Lower train.tokens to {offered:_}{enough}."
        )
    caps = {s: min(1.0, epochs * n / max(1, budget_tokens)) for s, n in available.items()}
    weights: dict[str, float] = {}
    left = 1.0
    for k, source in enumerate(sorted(caps, key=lambda s: (caps[s], s))):  # the tightest cap first: one pass suffices
        weights[source] = min(caps[source], left / (len(caps) - k))
        left -= weights[source]
    return _mixture(name or f"unimax-{epochs:g}", weights)


def of_run(ws: Workspace, run_id: str) -> Mixture:
    """The mixture that a run of the lab was trained with; a unique part of its id is enough. MissingError if not."""
    runs = {p.name: p for p in ws.runs()}
    found = [run_id] if run_id in runs else sorted(n for n in runs if run_id in n)
    if len(found) > 1:
        raise MissingError(f"'{run_id}' fits {len(found)} runs: {', '.join(found[:8])}. Say more of its name.")
    if not found:
        raise MissingError(f"there is no run '{run_id}' in {ws.root}.{nearest(run_id, runs)}")
    told = read_json(runs[found[0]] / "run.json")["mixture"]
    return _mixture(told["name"], told["weights"])


def interpolate(a: Mixture, b: Mixture, t: float, name: str | None = None) -> Mixture:
    """(1 - t) a + t b, over the sources of both; `t` from 0 to 1.

    >>> interpolate(uniform(["code", "wiki"]), uniform(["wiki"]), 0.5).weights
    {'code': 0.25, 'wiki': 0.75}
    """
    _resolved(a, b)
    if not 0 <= t <= 1:
        raise ConfigError(f"a mixture between '{a.name}' and '{b.name}' needs t from 0 to 1, not {t}.")
    both = {s: (1 - t) * a.weights.get(s, 0.0) + t * b.weights.get(s, 0.0) for s in {*a.weights, *b.weights}}
    return _mixture(name or f"{a.name}-{t:g}-{b.name}", both)


def scale(mixture: Mixture, source: str, factor: float, name: str | None = None) -> Mixture:
    """One source multiplied by `factor`, then all divided by the new sum: as if it had `factor` times its tokens.

    The others keep their proportions; scaling by f and then by 1/f gives the old mixture back.

    >>> scale(uniform(["code", "wiki"]), "code", 3).weights
    {'code': 0.75, 'wiki': 0.25}
    """
    _resolved(mixture)
    if source not in mixture.weights:
        raise ConfigError(f"mixture '{mixture.name}' has no source '{source}'.{nearest(source, mixture.weights)}")
    if not (math.isfinite(factor) and factor >= 0):
        raise ConfigError(f"'{source}' cannot be scaled by {factor}: give a number from 0 up.")
    scaled = {s: w * factor if s == source else w for s, w in mixture.weights.items()}
    return _mixture(name or f"{mixture.name}-{source}-x{factor:g}", scaled)


def nested(weights: Mapping[str, float], groups: Mapping[str, Mapping[str, float]], name: str = "nested") -> Mixture:
    """A mixture of groups with inner weights, flattened to sources.

    >>> nested({"web": 0.6, "code": 0.4}, {"web": {"blogs": 0.5, "wiki": 0.5}}).weights
    {'blogs': 0.3, 'code': 0.4, 'wiki': 0.3}
    """
    check_groups(weights, groups, name)
    flat = dict(weights)
    while inner := [g for g in flat if g in groups]:
        for group in inner:
            share = flat.pop(group)
            flat |= {s: share * w for s, w in groups[group].items()}
    return _mixture(name, flat)


def bounded(
    mixture: Mixture, floors: Mapping[str, float] | None = None, caps: Mapping[str, float] | None = None
) -> Mixture:
    """Every weight between its floor (default 0) and its cap (default 1); those in between keep their proportions.

    A source of weight 0 gets its floor, and more only if no other may take it. PlanError if nothing is feasible.
    """
    _resolved(mixture)
    floors, caps = floors or {}, caps or {}
    for source in (*floors, *caps):
        if source not in mixture.weights:
            raise ConfigError(
                f"a limit names '{source}', not a source of the mixture.{nearest(source, mixture.weights)}"
            )
    lo = [floors.get(s, 0.0) for s in mixture.weights]
    hi = [caps.get(s, 1.0) for s in mixture.weights]
    moved = rescale(np.array(list(mixture.weights.values())), lo, hi)
    return Mixture(name=mixture.name, rule="weights", weights=dict(zip(mixture.weights, moved.tolist(), strict=True)))


def _mixture(name: str, shares: Mapping[str, float]) -> Mixture:
    """Shares as a mixture: divided by their sum, ordered by source name."""
    total = math.fsum(shares.values())
    if not total > 0:
        raise ConfigError(f"mixture '{name}' gives nothing to any source.")
    return Mixture(name=name, rule="weights", weights={s: shares[s] / total for s in sorted(shares)})


def _some(available: Mapping[str, float]) -> Mapping[str, float]:
    """The sizes as given; PlanError if there is nothing in any."""
    if not any(available.values()):
        raise PlanError(f"none of the sources has a token: {', '.join(sorted(available)) or 'there are no sources'}.")
    return available


def _resolved(*mixtures: Mixture) -> None:
    """ConfigError unless every mixture has its numbers."""
    for m in mixtures:
        if not m.is_resolved:
            raise ConfigError(f"mixture '{m.name}' is a rule ({m.rule}): its weights are known only with the corpora.")
