"""Can this mixture be meant? Every way to write one, judged before any corpus is read. Reads and writes nothing.

Each error names the setting, its value, what is possible and what to do.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mixlab.errors import ConfigError, nearest
from mixlab.types import Mixture

SUM_TOLERANCE = 1e-6


def check(mixture: Mixture, sources: Iterable[str]) -> None:
    """Raises ConfigError if the mixture cannot be meant: unknown source, impossible weight, weights that miss 1, …"""
    known, title = sorted(sources), f"mixture '{mixture.name}'"
    named = {*mixture.weights, *(s for inside in mixture.groups.values() for s in inside)} - mixture.groups.keys()
    for source in sorted(named - set(known)):
        names = [*known, *mixture.groups]
        raise ConfigError(f"{title} gives a weight to '{source}', which is not a source here.{nearest(source, names)}")
    for group in sorted(mixture.groups.keys() & set(known)):
        raise ConfigError(f"{title} has a group '{group}', which is also a source. Give the group another name.")
    if mixture.rule != "weights":
        _check_rule(mixture, title)
    elif not mixture.weights:
        raise ConfigError(f"{title} has no weights. Give `mixture.weights`, or a rule: `mixture=natural`.")
    else:
        _check_level(mixture.weights, title)
        check_groups(mixture.weights, mixture.groups, mixture.name)
    if not 0 <= mixture.t <= 1:
        raise ConfigError(f"{title}: mixture.t is {mixture.t}. Give a number from 0 (this mixture) to 1 (mixture.to).")
    if mixture.to is not None:
        check(replace(mixture.to, name=f"{mixture.name}.to"), known)
    elif mixture.t != Mixture().t:
        raise ConfigError(f"{title} goes a part t = {mixture.t:g} of the way, but where to? Give mixture.to as well.")
    _check_shape(mixture, known, title)


def check_groups(weights: Mapping[str, float], groups: Mapping[str, Mapping[str, float]], name: str) -> None:
    """ConfigError for a group that is empty, unused, in a circle or misses 1, and for a source in two places."""
    title, places = f"mixture '{name}'", [("the weights", weights), *((f"group '{g}'", w) for g, w in groups.items())]
    where: dict[str, str] = {}
    for place, inside in places:
        if not inside:
            raise ConfigError(f"{title}: {place} is empty. Name what is in it, with weights that sum to 1.")
        if inside is not weights:
            _check_level(inside, f"{place} of {title}")
        for s in inside:
            if s in where:
                what = "group" if s in groups else "source"
                raise ConfigError(
                    f"{title} names the {what} '{s}' in two places, {where[s]} and {place}. Leave it in one of them."
                )
            where[s] = place
    reached: set[str] = set()
    todo = [g for g in weights if g in groups]
    while todo:
        reached.add(group := todo.pop())
        todo += [g for g in groups[group] if g in groups]  # everything has one place: no circle is reached from here
    for group in groups.keys() - reached:
        raise ConfigError(
            f"{title} describes the group '{group}', but nothing gives it a weight.{nearest(group, weights)} Give it "
            f"one, or delete it: `~mixture.groups.{group}`."
        )


def check_room(mixture: Mixture, found: Mapping[str, float]) -> None:
    """ConfigError if the caps of those that have a weight in `found` leave tokens that no source may take."""
    most = {s: mixture.caps.get(s, 1.0) if w > 0 else mixture.floors.get(s, 0.0) for s, w in found.items()}
    if (total := math.fsum(most.values())) >= 1 - SUM_TOLERANCE:
        return
    told = ", ".join(f"{s} {w:g}" for s, w in most.items() if w)
    others = " or ".join(s for s, w in found.items() if not w)
    raise ConfigError(
        f"mixture '{mixture.name}': the caps sum to {total:.6g}, less than 1: {told}. {1 - total:.1%} of the tokens "
        f"have no source. Raise a cap{f', or give a weight to {others}' if others else ''}."
    )


def _check_level(weights: Mapping[str, float], title: str) -> None:
    """ConfigError unless these weights are shares that sum to 1."""
    for source, w in weights.items():
        if not (math.isfinite(w) and w >= 0):
            raise ConfigError(f"{title}: the weight of '{source}' is {w}. A weight is a share of tokens, from 0 to 1.")
    total = math.fsum(weights.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise ConfigError(f"the weights of {title} sum to {total:.6g}, not 1{_way_out(weights, total)}")


def _check_shape(mixture: Mixture, known: Sequence[str], title: str) -> None:
    """ConfigError for factors and limits of sources that are not there, or that leave no mixture."""
    for field in ("scale", "floors", "caps"):
        for source, x in getattr(mixture, field).items():
            if source in mixture.groups:
                raise ConfigError(f"{title}: mixture.{field} names the group '{source}'. Name its sources instead.")
            if source not in known:
                raise ConfigError(
                    f"{title}: mixture.{field} names '{source}', which is not a source here.{nearest(source, known)}"
                )
            if not (math.isfinite(x) and x >= 0) or (x > 1 and field != "scale"):
                limit = "a factor from 0 up" if field == "scale" else "a share of tokens, from 0 to 1"
                raise ConfigError(f"{title}: mixture.{field}.{source} is {x:g}. Give {limit}.")
    for source in mixture.floors.keys() & mixture.caps.keys():
        if mixture.floors[source] > mixture.caps[source]:
            raise ConfigError(
                f"{title}: the floor of '{source}', {mixture.floors[source]:g}, is above its cap, "
                f"{mixture.caps[source]:g}. Lower mixture.floors.{source} or raise mixture.caps.{source}."
            )
    if (total := math.fsum(mixture.floors.values())) > 1 + SUM_TOLERANCE:
        told = ", ".join(f"{s} {w:g}" for s, w in mixture.floors.items())
        raise ConfigError(
            f"{title}: the floors sum to {total:.6g}, more than 1: {told}. Lower them by {total - 1:.6g} in all."
        )
    if (total := math.fsum(mixture.caps.get(s, 1.0) for s in known)) < 1 - SUM_TOLERANCE:
        told = ", ".join(f"{s} {w:g}" for s, w in mixture.caps.items())
        raise ConfigError(
            f"{title}: the caps sum to {total:.6g}, less than 1: {told}. {1 - total:.1%} of the tokens have no source. "
            "Raise a cap or add a source."
        )


def _check_rule(mixture: Mixture, title: str) -> None:
    """ConfigError for a rule with weights, or with a parameter out of range."""
    if mixture.weights:
        raise ConfigError(
            f"{title} follows the rule '{mixture.rule}' and yet has weights. "
            "To use the weights: `mixture=weights`; to use the rule: `~mixture.weights`."
        )
    if mixture.groups:
        raise ConfigError(
            f"{title} follows the rule '{mixture.rule}' and yet has groups, {', '.join(mixture.groups)}. Groups need "
            "weights of their own: `mixture=weights`."
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
