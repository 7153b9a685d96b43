"""`mixlab recommend` and `mixlab advise …`: what the finished runs say, and which runs to buy next."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson
from mixlab.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="What the runs say, and which to buy next.")
Sweep = Annotated[str | None, typer.Option("--sweep", help="Only the runs of this sweep.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="bpb_code, bpb/code or code; again for more.")]


def recommend(
    as_json: AsJson = False,
    sweep: Sweep = None,
    metric: Metrics = None,
    max_epochs: Annotated[float | None, typer.Option(help="Passes over a source, at most.")] = None,
    only_licences: Annotated[str | None, typer.Option(help="SPDX names, by commas: other sources get nothing.")] = None,
    floor: Annotated[list[str] | None, typer.Option(metavar="SOURCE=SHARE", help="At least.")] = None,
    cap: Annotated[list[str] | None, typer.Option(metavar="SOURCE=SHARE", help="At most.")] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="A+B<=SHARE", help="A sum, <= or >=.")] = None,
    freeze: Annotated[list[str] | None, typer.Option(metavar="A=2,B=1", help="Move together, so mixed.")] = None,
    weight: Annotated[list[str] | None, typer.Option(metavar="METRIC=NUMBER", help="What it counts.")] = None,
    ceiling: Annotated[list[str] | None, typer.Option(metavar="METRIC=VALUE", help="No worse than.")] = None,
    caution: Annotated[float, typer.Option(help="Sds added to the predicted loss.")] = 0.0,
    target_tokens: Annotated[float | None, typer.Option(help="Tokens of the run it is for.")] = None,
    target_params: Annotated[float | None, typer.Option(help="Parameters of its model.")] = None,
    device: Annotated[str, typer.Option(help="What it is priced on: cpu, a100, h100, h200.")] = "cpu",
    save: Annotated[Path | None, typer.Option(help="Write the mix, e.g. sweeps/mixture/x.yaml.")] = None,
) -> None:
    """The best mix as far as the finished runs tell, and how sure."""
    from mixlab import show
    from mixlab.advise import ledger, runs
    from mixlab.advise.region import Limits
    from mixlab.advise.verdict import Wish
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    frozen = tuple(_numbers(f.split(","), "--freeze") for f in freeze or [])
    limits = Limits(
        floors=_numbers(floor, "--floor"), caps=_numbers(cap, "--cap"), groups=_groups(group), frozen=frozen
    )
    wish = Wish(
        limits=limits,
        importance=_metric(weight, "--weight"),
        ceilings=_metric(ceiling, "--ceiling"),
        kappa=caution,
    )
    ask = runs.Ask(
        sweep=sweep,
        metrics=tuple(metric or ()),
        max_epochs=max_epochs,
        only_licences=tuple(x.strip() for x in (only_licences or "").split(",") if x.strip()),
        target_tokens=None if target_tokens is None else int(target_tokens),
        target_params=target_params,
        device=device,
        wish=wish,
    )
    ws = Workspace.open()
    advice = runs.advise(list_runs(ws), ws, ask)
    if save is not None:
        runs.save(save, advice.verdict.mixture.weights, advice.verdict.sentences[0])
        ledger.propose(ws.ledger, advice.verdict, advice.natural, advice.recipe)
    show.verdict(advice, as_json=as_json)


def _numbers(told: list[str] | None, option: str) -> dict[str, float]:
    """NAME=NUMBER pairs. ConfigError: something else."""
    found = {}
    for pair in told or []:
        name, _, number = pair.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError as e:
            raise ConfigError(f"{option} is given as NAME=NUMBER, for instance {option} code=0.2; not '{pair}'.") from e
    return found


def _metric(told: list[str] | None, option: str) -> dict[str, float]:
    """NAME=NUMBER pairs whose names are metrics, in the spelling of the table."""
    named = _numbers(told, option)
    return {(n.replace("/", "_") if n.startswith("bpb") else f"bpb_{n}"): v for n, v in named.items()}


def _groups(told: list[str] | None):
    """Limits on sums, from `a+b<=0.4` or `a+b>=0.2`."""
    from mixlab.advise.region import Group

    found = []
    for text in told or []:
        sign = "<=" if "<=" in text else ">="
        names, _, number = text.partition(sign)
        share = next(iter(_numbers([f"sum={number}"], "--group").values()))
        members = tuple(n.strip() for n in names.split("+"))
        found.append(Group(sources=members, **({"most": share} if sign == "<=" else {"least": share})))
    return tuple(found)
