"""`mixlab runs star · tag · note · vote · archive · cancel · retry · clone`: what is done with a run that is there."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson, DryRun

app = typer.Typer()
Runs = Annotated[list[str], typer.Argument(help="Runs; a unique part of a name is enough.")]
Undo = Annotated[bool, typer.Option("--undo", help="Take it back.")]


@app.command("star")
def star(run_ids: Runs, undo: Undo = False) -> None:
    """Marks runs to come back to."""
    from mixlab.results import annotations

    for run in _folders(run_ids):
        annotations.star(run, on=not undo)
        _say(run)


@app.command("tag")
def tag(
    tags: Annotated[str, typer.Argument(help="One tag, or several: a,b")], run_ids: Runs, undo: Undo = False
) -> None:
    """Puts tags on runs, or takes them off."""
    from mixlab.results import annotations

    for run in _folders(run_ids):
        for name in tags.split(","):
            annotations.tag(run, name, on=not undo)
        _say(run)


@app.command("note")
def note(run_id: str, text: Annotated[str, typer.Argument(help="Replaces the note; '' takes it away.")]) -> None:
    """Writes a note on a run."""
    from mixlab.results import annotations

    (run,) = _folders([run_id])
    annotations.note(run, text)
    _say(run)


@app.command("vote")
def vote(
    prompt: Annotated[str, typer.Argument(help="The prompt, as it stands on the page Vibes.")],
    texts: Annotated[
        list[str], typer.Argument(help="The better text, then the others: RUN (its last step), RUN@STEP.")
    ],
    temperature: Annotated[float, typer.Option(help="At which the texts were drawn; 0: greedily.")] = 0.0,
    tie: Annotated[bool, typer.Option("--tie", help="No difference between any two of them.")] = False,
) -> None:
    """Votes for what one run wrote to a prompt against what others did, as the app's page Vibes does."""
    from mixlab import show
    from mixlab.results import vibes
    from mixlab.results.store import Store
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    found = list[vibes.Text]()
    for name in texts:
        run, at, step = name.partition("@")
        run_id = show.folder(ws, run).name
        samples = Store.open(ws).samples([run_id])
        found.append(vibes.text_of(f"{run_id}{at}{step}", prompt, temperature, samples))
    vibes.vote(ws, prompt, temperature, found, None if tie else found[0])
    tally = vibes.tally(vibes.votes(Store.open(ws))).set_index("run_id")
    for run_id in dict.fromkeys(run for run, _ in found):
        if run_id in tally.index:
            told = tally.loc[run_id]
            show.say(f"{run_id}: won {told['won']}, lost {told['lost']}, tied {told['tied']}: {told['said']}")


@app.command("archive")
def archive(run_ids: Runs, undo: Undo = False) -> None:
    """Puts runs away: lists leave them out, nothing is deleted, advice goes on counting them."""
    from mixlab.results import annotations

    for run in _folders(run_ids):
        annotations.archive(run, on=not undo)
        _say(run)


@app.command("cancel")
def cancel(name: Annotated[str, typer.Argument(help="A job, as `mixlab runs status` lists it, or a run.")]) -> None:
    """Asks a job, or the process that trains one run, to write a checkpoint and stop."""
    from mixlab import claims, jobs, show
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    if (ws.jobs / name).is_dir() or not any(name in run.name for run in ws.runs()):
        if jobs.cancel(ws, name):
            show.say(f"{name} is asked to stop; the same command continues it.")
        else:
            show.say(f"{name} has ended already: {jobs.state_of(ws, name)}.")
        return
    run = show.folder(ws, name)
    claims.stop(ws, run.name)
    show.say(f"{run.name} is asked to stop; `mixlab runs retry {run.name}` continues it.")


@app.command("retry")
def retry(run_ids: Runs, as_json: AsJson = False) -> None:
    """Trains runs that stopped, were killed or failed to their end, from their checkpoints."""
    from mixlab import again, show
    from mixlab.commands.sweep import publish
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    runs = _folders(run_ids)
    with show.progress() as watch:
        for run in runs:
            again.retry(run, ws, watch.stage)
    publish(ws)
    show.outcome(ws, [run.name for run in runs], {}, as_json=as_json)


@app.command("clone")
def clone(
    run_id: str,
    overrides: Annotated[list[str], typer.Argument(help="What is to differ, e.g. seed=1 train.tokens=2e6 name=longer")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """A new run with the settings of an old one, but for those named."""
    from mixlab import again, pipeline, show, show_run
    from mixlab.commands.sweep import publish
    from mixlab.results.speeds import measured
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    (run,) = _folders([run_id])
    spec = again.changed(run, overrides)
    with show.progress() as watch:
        if dry_run:
            told = pipeline.rehearse(spec, pipeline.prepare(spec, ws, watch.stage), ws, speeds=measured(ws))
            show.rehearsal([told], as_json=as_json)
            return
        out = pipeline.run(spec, ws, watch=watch.stage)
    publish(ws)
    show_run.run(ws, out.name, as_json=as_json)


def _folders(run_ids: list[str]) -> list[Path]:
    """Directories of runs, all of them found before anything is done."""
    from mixlab import show
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    return [show.folder(ws, name) for name in run_ids]


def _say(run: Path) -> None:
    from mixlab import show
    from mixlab.results import annotations

    told = annotations.remarks(run)
    said = [word for word in ("starred", "archived") if told[f"is_{word}"]]
    said += [f"tags {', '.join(told['tags'])}"] if told["tags"] else []
    said += [f"note: {told['note']}"] if told["note"] else []
    show.say(f"{run.name}: {'; '.join(said) or 'no remarks'}")
