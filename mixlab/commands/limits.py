"""Limits on a mix as options: what `recommend` and `advise next` keep to."""

from typing import TYPE_CHECKING, Annotated

import typer

from mixlab.errors import ConfigError

if TYPE_CHECKING:
    from mixlab.advise.region import Group, Limits

MaxEpochs = Annotated[float | None, typer.Option(help="Passes over a source, at most.")]
Tokens = Annotated[float | None, typer.Option("--target-tokens", help="Tokens of the run it is for.")]
Licences = Annotated[str | None, typer.Option(help="SPDX names, by commas: other sources get nothing.")]
Floors = Annotated[list[str] | None, typer.Option(metavar="SOURCE=SHARE", help="At least.")]
Caps = Annotated[list[str] | None, typer.Option(metavar="SOURCE=SHARE", help="At most.")]
Sums = Annotated[list[str] | None, typer.Option(metavar="A+B<=SHARE", help="A sum, <= or >=.")]
Frozen = Annotated[list[str] | None, typer.Option(metavar="A=2,B=1", help="Move together, so mixed.")]


def limits(floor: Floors, cap: Caps, group: Sums, freeze: Frozen) -> "Limits":
    """What a mix must keep to, from the options of that name."""
    from mixlab.advise.region import Limits

    frozen = tuple(numbers(f.split(","), "--freeze") for f in freeze or [])
    return Limits(floors=numbers(floor, "--floor"), caps=numbers(cap, "--cap"), groups=_groups(group), frozen=frozen)


def numbers(told: list[str] | None, option: str) -> dict[str, float]:
    """NAME=NUMBER pairs. ConfigError: something else."""
    found = dict[str, float]()
    for pair in told or []:
        name, _, number = pair.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError as e:
            raise ConfigError(f"{option} is given as NAME=NUMBER, for instance {option} code=0.2; not '{pair}'.") from e
    return found


def _groups(told: list[str] | None) -> "tuple[Group, ...]":
    """Limits on sums, from `a+b<=0.4` or `a+b>=0.2`."""
    from mixlab.advise.region import Group

    found: list[Group] = []
    for text in told or []:
        sign = "<=" if "<=" in text else ">="
        names, _, number = text.partition(sign)
        share = next(iter(numbers([f"sum={number}"], "--group").values()))
        members = tuple(n.strip() for n in names.split("+"))
        found.append(Group(sources=members, **({"most": share} if sign == "<=" else {"least": share})))
    return tuple(found)
