"""`mixlab runs export · import`: runs leave for other tools, and runs from elsewhere come in."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson

app = typer.Typer()


@app.command("export")
def export(
    words: Annotated[
        list[str], typer.Argument(metavar="[RUN]... FOLDER", help="Runs (hf: one; csv, parquet: none is all), folder.")
    ],
    to: Annotated[str, typer.Option(help="hf, for transformers' MptForCausalLM; csv or parquet, tables.")] = "hf",
    as_json: AsJson = False,
) -> None:
    """A finished run as a folder that transformers loads, or runs as tables: settings, mixes, metrics, scores."""
    from mixlab import handover
    from mixlab import show as showing
    from mixlab.errors import ConfigError, nearest
    from mixlab.results.export import TABLE_FORMATS, tables
    from mixlab.workspace import Workspace

    *names, folder = words
    if to not in ("hf", *TABLE_FORMATS):
        raise ConfigError(f"--to {to} is not known.{nearest(to, ['hf', *TABLE_FORMATS])}")
    if to == "hf" and len(names) != 1:
        raise ConfigError(f"--to hf takes one run and a folder, not {len(names)} runs: mixlab runs export RUN FOLDER.")
    ws = Workspace.open()
    if to != "hf":
        chosen = [showing.find(ws, name)["run_id"] for name in names]
        wrote = tables(ws, Path(folder).absolute(), chosen or None, to)
        if as_json:
            showing.print_json({"path": Path(folder).absolute(), "rows": wrote})
        else:
            showing.say(f"{Path(folder).absolute()}: " + ", ".join(f"{name} {n:,} rows" for name, n in wrote.items()))
        return
    run = showing.folder(ws, names[0])
    done = handover.export_run(run, ws, Path(folder).absolute())
    if as_json:
        showing.print_json({"path": done.path, "largest_logit_difference": done.difference, "notes": done.notes})
        return
    showing.say(f"{done.path}: read back, no logit differs by more than {done.difference:.1e}.")
    for note in done.notes:
        showing.say(f"- {note}")


@app.command("import")
def bring(
    path: Annotated[Path, typer.Argument(help="RegMix's or Olmix's folder; W&B's CSV of runs, or a folder with it.")],
    kind: Annotated[str, typer.Option("--from", help="wandb-csv, regmix or olmix.")],
    sweep_name: Annotated[str | None, typer.Option("--sweep", help="Their sweep; default: the file's name.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Columns that are scores, such as 'eval/*'; again.")] = None,
    unit: Annotated[str | None, typer.Option(help="Of scores not called bpb: 'nats per token', or bpb.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come in; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Runs trained elsewhere become rows here: listed, ranked, advised from. The same table twice is one import."""
    from dataclasses import asdict

    from mixlab import arrivals
    from mixlab import show as showing
    from mixlab.commands.sweep import publish
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    told = arrivals.bring(ws, path, kind, sweep=sweep_name, unit=unit, metrics=tuple(metric or ()), dry_run=dry_run)
    if not dry_run and (told.added or told.renewed):
        publish(ws)
    if as_json:
        showing.print_json(asdict(told))
        return
    showing.table("Scores", ("score", "unit"), list(told.units.items()))
    would = "would be " if dry_run else ""
    renewed = f", {len(told.renewed)} told anew" if told.renewed else ""
    showing.say(f"{len(told.added)} runs {would}imported as sweep {told.sweep}, {told.there} there already{renewed}.")
    for note in told.notes:
        showing.say(f"- {note}")
