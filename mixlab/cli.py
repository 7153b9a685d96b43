"""The words people type. stdout is data, stderr is messages; each command imports its room when it runs.

Exit codes: 0 ok · 1 run failed · 2 usage or config · 3 sweep finished with failures · 4 nothing matched ·
5 environment · 75 stopped with a checkpoint, run again · 130 interrupted.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixlab import __version__
from mixlab.commands import advise, carry, cleaning, data, db, explain, keep, mix, report, runs, sweep
from mixlab.commands.options import CORES, AsJson, Device, Devices, DryRun, Overrides, Workers
from mixlab.errors import MixlabError
from mixlab.requeue import requeue_on_sigterm

INTERRUPTED = 130  # exit code of Ctrl-C

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="mixlab: which mix of data sets should I train on?",
)
data.app.add_typer(cleaning.app)
app.add_typer(data.app, name="data")
app.add_typer(mix.app, name="mix")
app.add_typer(db.app, name="db")
runs.app.add_typer(keep.app)
runs.app.add_typer(carry.app)
app.add_typer(runs.app, name="runs")
advise.app.add_typer(explain.app)
app.add_typer(advise.app, name="advise")


def main() -> None:
    """Entry of the `mixlab` command: our own errors become one sentence and their exit code."""
    verbose = "-v" in sys.argv
    if verbose:
        sys.argv.remove("-v")
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        app(standalone_mode=True)
    except MixlabError as e:
        if verbose:
            raise
        sys.stderr.write(f"error: {e}\n")
        sys.exit(e.exit_code)
    except SystemExit as e:
        if e.code == INTERRUPTED:  # typer's word for Ctrl-C
            sys.stderr.write("interrupted: what is finished is kept; the same command continues.\n")
        raise
    except KeyboardInterrupt:  # before typer looks out for it
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `mixlab … | head` is no error


@app.command()
def demo(as_json: AsJson = False, workers: Workers = CORES) -> None:
    """The whole journey on the starter sources: text, mixes, runs, a verdict."""
    from mixlab import demo as journey

    journey.demo(workers=workers, as_json=as_json)


@app.command()
@requeue_on_sigterm()
def run(
    overrides: Overrides = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    device: Device = "cpu",
    devices: Devices = 1,
) -> None:
    """One proxy run, from raw text to scores."""
    from mixlab import compose
    from mixlab.workspace import Workspace

    spec, ws = compose.spec_of(overrides or [], Path.cwd()), Workspace.open()
    from mixlab import show, show_run  # after the line above: mistakes are told before much is loaded
    from mixlab.data.prepare import prepare
    from mixlab.rehearsal import rehearse
    from mixlab.results.speeds import measured

    with show.progress() as watch:
        if dry_run:
            corpora, speeds = prepare(spec, ws, watch.stage), measured(ws)
            told = rehearse(spec, corpora, ws, device=device, speeds=speeds)
            show.rehearsal([told], as_json=as_json, devices=devices)
            return
        from mixlab import pipeline  # loads torch

        out = pipeline.run(spec, ws, watch=watch.stage)
    sweep.publish(ws)
    show_run.run(ws, out.name, as_json=as_json)


app.command()(sweep.sweep)
app.command()(advise.recommend)
app.command()(report.report)


@app.command("app")
def start_app(
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; default: the first free from 8501.")] = None,
) -> None:
    """Opens the Streamlit app on what is in the lab."""
    import signal
    import subprocess

    from mixlab.app.launch import HOST, command, free_port
    from mixlab.commands.sweep import publish
    from mixlab.workspace import Workspace

    at, ws = free_port(port), Workspace.open()
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server begins so: else it ends with a traceback
    with subprocess.Popen(command(at)) as server:
        signal.signal(signal.SIGINT, ctrl_c)
        try:
            typer.echo(f"The app on {ws.root}: http://{HOST}:{at}  (Ctrl-C ends it; jobs that it started go on)")
            if ws.runs():
                publish(ws)  # while it starts: pages read an index that is old, or of an older mixlab, run by run
            sys.exit(server.wait())
        except KeyboardInterrupt:
            server.terminate()
            sys.exit(0)  # the way to end an app; its jobs go on


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What is there, what is missing, and what it would give."""
    from mixlab import doctor as checks
    from mixlab import show

    sys.exit(0 if show.doctor(checks.report(), as_json=as_json) else 5)


@app.command()
def version() -> None:
    """The version of mixlab."""
    sys.stdout.write(f"{__version__}\n")


if __name__ == "__main__":
    main()
