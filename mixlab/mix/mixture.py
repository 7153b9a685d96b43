"""Algebra on weights. A weight is a share of training *tokens*; every function here returns weights that sum to 1.

Reads run.json for the mixture of a run, and nothing else. Definitions: natural and temperature (w ~ tokens^(1/tau), as
in mT5, arXiv 2010.11934), UniMax (arXiv 2304.09151).
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from mixlab.errors import ConfigError, MissingError, PlanError, nearest
from mixlab.mix.simplex import project
from mixlab.types import Mixture
from mixlab.workspace import Workspace, read_json

SUM_TOLERANCE = 1e-6
Groups: TypeAlias = Mapping[str, "float | tuple[float, Groups]"]
"""Source -> weight, or group -> (weight, its inside); the weights on each level sum to 1."""


def check(mixture: Mixture, sources: Iterable[str]) -> None:
    """Raises ConfigError if the mixture cannot be meant: unknown source, impossible weight, weights that miss 1."""
    known, title = sorted(sources), f"mixture '{mixture.name}'"
    for source in mixture.weights:
        if source not in known:
            raise ConfigError(
                f"{title} gives a weight to '{source}', which is not a source here.{nearest(source, known)}"
            )
    if mixture.rule != "weights":
        _check_rule(mixture, title)
        return
    if not mixture.weights:
        raise ConfigError(f"{title} has no weights. Give `mixture.weights`, or a rule: `mixture=natural`.")
    for source, w in mixture.weights.items():
        if not (math.isfinite(w) and w >= 0):
            raise ConfigError(f"{title}: the weight of '{source}' is {w}. A weight is a share of tokens, from 0 to 1.")
    total = math.fsum(mixture.weights.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise ConfigError(f"the weights of {title} sum to {total:.6g}, not 1{_way_out(mixture.weights, total)}")


def resolve(mixture: Mixture, available: Mapping[str, int], budget_tokens: int) -> Mixture:
    """The mixture as numbers: rule `weights`, one for every source of `available`, ordered by name, summing to 1.

    `available`: source -> training tokens. A source that is not named gets 0. Raises ConfigError as `check`, PlanError
    if UniMax is infeasible.
    """
    check(mixture, available)
    match mixture.rule:
        case "weights":
            found = _mixture(mixture.name, {s: mixture.weights.get(s, 0.0) for s in available})
        case "natural":
            found = natural(available)
        case "uniform":
            found = uniform(available)
        case "temperature":
            found = temperature(available, mixture.tau)
        case "unimax":
            found = unimax(available, budget_tokens, mixture.epochs)
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
            f"{budget_tokens - offered:,} are missing. Lower train.tokens to {offered:,}{enough}."
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


def nested(groups: Groups, name: str = "nested") -> Mixture:
    """A mixture of groups with inner weights, flattened to sources.

    >>> nested({"web": (0.6, {"blogs": 0.5, "wiki": 0.5}), "code": 0.4}).weights
    {'blogs': 0.3, 'code': 0.4, 'wiki': 0.3}
    """
    flat: dict[str, float] = {}
    for source, weight in _flatten(groups, 1.0, name):
        if source in flat:
            raise ConfigError(f"mixture '{name}' names the source '{source}' in two groups. Leave it in one of them.")
        flat[source] = weight
    return _mixture(name, flat)


def bounded(
    mixture: Mixture, floors: Mapping[str, float] | None = None, caps: Mapping[str, float] | None = None
) -> Mixture:
    """The nearest mixture (Euclidean) with every weight between its floor (default 0) and its cap (default 1)."""
    _resolved(mixture)
    floors, caps = floors or {}, caps or {}
    for source in (*floors, *caps):
        if source not in mixture.weights:
            raise ConfigError(
                f"a limit names '{source}', not a source of the mixture.{nearest(source, mixture.weights)}"
            )
    lo = [floors.get(s, 0.0) for s in mixture.weights]
    hi = [caps.get(s, 1.0) for s in mixture.weights]
    moved = project(np.array(list(mixture.weights.values())), lo, hi)
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


def _check_rule(mixture: Mixture, title: str) -> None:
    """ConfigError for a rule with weights, or with a parameter out of range."""
    if mixture.weights:
        raise ConfigError(
            f"{title} follows the rule '{mixture.rule}' and yet has weights. "
            "To use the weights: `mixture=weights`; to use the rule: `~mixture.weights`."
        )
    if mixture.rule == "temperature" and not (math.isfinite(mixture.tau) and mixture.tau > 0):
        raise ConfigError(f"{title}: mixture.tau is {mixture.tau}. Give a number above 0; 1 is the natural mix.")
    if mixture.rule == "unimax" and not mixture.epochs > 0:
        raise ConfigError(f"{title}: mixture.epochs is {mixture.epochs}. Give a number above 0.")


def _way_out(weights: Mapping[str, float], total: float) -> str:
    """The rest of the sentence about a wrong sum: who may be left over from a default, and both ways out."""
    told = ", ".join(f"{s} {w:g}" for s, w in weights.items())
    extra = _leftovers(weights, total)
    if not extra:
        return f": {told}. Divide each by {total:.6g}, or choose a saved mix: `mixture=NAME`."
    names = " and ".join(extra)
    return (
        f": {told}. Without {names} they would: a dict on the command line is merged into the default mixture, so "
        "sources it does not name are left over. Either choose a whole mix (`mixture=weights` starts from an empty one)"
        f", or delete what is left over: {' '.join(f'`~mixture.weights.{s}`' for s in extra)}."
    )


def _leftovers(weights: Mapping[str, float], total: float) -> tuple[str, ...]:
    """The most sources that can be taken away so that the rest sums to 1; none if no choice of up to 12 does."""
    some = [s for s, w in weights.items() if w > 0]
    if total < 1 or len(some) > 12:
        return ()
    for size in range(len(some) - 1, 0, -1):
        for gone in itertools.combinations(some, size):
            if abs(total - math.fsum(weights[s] for s in gone) - 1) <= SUM_TOLERANCE:
                return gone
    return ()


def _flatten(groups: Groups, share: float, path: str) -> list[tuple[str, float]]:
    """(source, weight) of every leaf; each level is checked under the name of its group."""
    tops = {k: v[0] if isinstance(v, tuple) else v for k, v in groups.items()}
    check(Mixture(name=path, rule="weights", weights=tops), tops)
    flat: list[tuple[str, float]] = []
    for key, value in groups.items():
        inner = value[1] if isinstance(value, tuple) else None
        flat += _flatten(inner, share * tops[key], f"{path}/{key}") if inner is not None else [(key, share * tops[key])]
    return flat
