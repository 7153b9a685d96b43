"""`mixlab mix …`: what a mix is, costs and exposes; designs of experiment; recipes for other trainers."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mixlab.commands.options import AsJson, Device, Devices, Hourly, Overrides, Utilisation
from mixlab.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Mixes: show, diff, check, design, export.")
Name = Annotated[str, typer.Argument(help="A config (natural), a saved mix, a run, or design.csv:row.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="File to write.")]


@app.command("show")
def show(
    name: Name,
    overrides: Overrides = None,
    device: Device = "cpu",
    devices: Devices = 1,
    hourly: Hourly = None,
    utilisation: Utilisation = None,
    as_json: AsJson = False,
) -> None:
    """Exact draws, epochs, phases, price and licences of a mix."""
    from mixlab import show_mix
    from mixlab.mix.speed import repriced

    told, corpora, _ = _rehearsed(name, overrides, device)
    price = repriced(told.price, told.spec.model, dollars_per_hour=hourly, utilisation=utilisation)
    told = replace(told, price=price)
    show_mix.mix(told, corpora, devices=devices, as_json=as_json)


@app.command("diff")
def diff(name_a: Name, name_b: Name, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Two mixes side by side, in points."""
    from mixlab import show_mix

    a, b = (_rehearsed(name, overrides)[0].spec.mixture for name in (name_a, name_b))
    show_mix.difference(a, b, as_json=as_json)


@app.command("check")
def check(name: Name, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Can this mix be served? Exit code 2 and the way out if not."""
    from mixlab import show_mix

    show_mix.checked(_rehearsed(name, overrides)[0], as_json=as_json)


@app.command("export")
def export(
    name: Name,
    overrides: Overrides = None,
    to: Annotated[str, typer.Option(help="llm-foundry, olmo-core, megatron, nanotron or datasets.")] = "datasets",
    out: Out = None,
    root: Annotated[str, typer.Option(help="Where that trainer keeps its own form of each source.")] = "data",
    phase: Annotated[str | None, typer.Option(help="Which phase, if the plan has several.")] = None,
) -> None:
    """The weights in another trainer's own format."""
    from mixlab.data.places import places
    from mixlab.mix.export import Recipe
    from mixlab.mix.export import export as exported

    told, corpora, ws = _rehearsed(name, overrides)
    step = max(1, told.spec.train.batch_tokens // told.plan.seq_len) * told.plan.seq_len
    recipe = Recipe(
        plan=told.plan,
        corpora=corpora,
        texts=places(told.spec, ws).clean,
        root=root.rstrip("/"),
        batch_tokens=step,
        seed=told.spec.seed,
    )
    text = exported(recipe, to, phase)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    typer.echo(f"written to {out}", err=True)


@app.command("design")
def design(
    kind: Annotated[
        str, typer.Argument(help="swarm, space-filling, dirichlet, one-up, leave-one-out, grid, around, …")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="sweeps/design/NAME.csv; gets a sweeps/NAME.yaml, too.")],
    overrides: Overrides = None,
    n: Annotated[int, typer.Option("-n", help="Mixtures, at most.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the design, not of the runs.")] = 0,
    reseeds: Annotated[int, typer.Option(min=0, help="The first mixture again, so many times, for the noise.")] = 0,
    middle: Annotated[str, typer.Option("--around", help="Of the kind `around`: the mix in the middle.")] = "natural",
    spread: Annotated[float, typer.Option(help="Of the kind `around`: sd of a weight, as a share.")] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Mixtures to train, as a CSV that a sweep runs by row. Every one of them can be served."""
    from mixlab import compose, show_mix
    from mixlab import show as showing
    from mixlab.data.prepare import prepare
    from mixlab.mix import designs, repetition, swarm
    from mixlab.mix.mixture import resolve
    from mixlab.workspace import Workspace

    ws, is_around = Workspace.open(), kind == "around"
    spec = (
        compose.named(middle, overrides or [], Path.cwd(), ws)
        if is_around
        else compose.spec_of(overrides or [], Path.cwd())
    )
    if out.suffix != ".csv":
        raise ConfigError(f"a design is a CSV, and '{out}' does not end in .csv.")
    with showing.progress() as watch:
        corpora = prepare(spec, ws, watch.stage)
    sizes = repetition.meant(corpora, spec.train)
    caps = repetition.caps(corpora, spec.train, spec.model.max_seq_len)
    if is_around:
        found = designs.around(resolve(spec.mixture, sizes, spec.train.tokens), n, seed, caps, spread)
    else:
        found = designs.make(kind, {s: float(t) for s, t in sizes.items()}, n, seed, caps)
    found += [found[0]] * reseeds
    swarm.write_design(out, found)
    told = out.with_suffix("").name
    sweep = out.parent.parent / f"{told}.yaml" if out.parent.name == "design" else None
    if sweep is not None and not sweep.exists():
        sweep.write_text(swarm.sweep_file(told, kind, out, len(found)), encoding="utf-8")
    show_mix.design(out, sweep, found, as_json=as_json)


def _rehearsed(name: str, overrides: list[str] | None, device: str = "cpu") -> tuple[Any, Any, Any]:
    """The run that a mix would be, the corpora it draws from, and the lab."""
    from mixlab import compose
    from mixlab import show as showing
    from mixlab.data.prepare import prepare
    from mixlab.rehearsal import rehearse
    from mixlab.results.speeds import measured
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    spec = compose.named(name, overrides or [], Path.cwd(), ws)
    with showing.progress() as watch:
        corpora = prepare(spec, ws, watch.stage)
    return rehearse(spec, corpora, ws, device=device, speeds=measured(ws)), corpora, ws
