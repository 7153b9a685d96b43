"""`mixlab runs …`: what came out."""

from typing import Annotated

import typer

from mixlab.commands.options import AsJson

app = typer.Typer(no_args_is_help=True, help="What came out.")


@app.command("ls")
def ls(
    as_json: AsJson = False, sweep_name: Annotated[str | None, typer.Option("--sweep", help="Only this sweep.")] = None
) -> None:
    """Every run, the best macro bits per byte first."""
    from mixlab import show as showing
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    rows = [r for r in list_runs(Workspace.open()) if sweep_name in (None, r["sweep"])]
    showing.runs(rows, as_json=as_json)


@app.command("show")
def show(run_id: str, as_json: AsJson = False) -> None:
    """One run: mix, scores, samples. A unique part of its name is enough."""
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    showing.run(Workspace.open(), run_id, as_json=as_json)


@app.command("compare")
def compare(run_a: str, run_b: str, as_json: AsJson = False) -> None:
    """Two runs or mixes side by side: weights in points, scores with their noise."""
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    showing.comparison(Workspace.open(), run_a, run_b, as_json=as_json)
