"""`mixlab db …`: the index over all runs, mixlab.duckdb."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson
from mixlab.errors import EnvironmentFault

MOST_COLUMNS = 16  # beside each other; of more no name could be read
app = typer.Typer(no_args_is_help=True, help="The index over all runs, mixlab.duckdb.")


@app.command("sync")
def sync(as_json: AsJson = False) -> None:
    """Brings mixlab.duckdb up to date with the runs' own files."""
    from mixlab import show
    from mixlab.results.store import publish
    from mixlab.workspace import Workspace

    path = publish(Workspace.open())
    if as_json:
        show.print_json({"path": path, "bytes": path.stat().st_size})
    else:
        show.say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


@app.command("check")
def check(as_json: AsJson = False) -> None:
    """Whether every file of every run is whole and the index agrees with them; exit code 5 if not."""
    from mixlab import show
    from mixlab.results import check as checking
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    found = checking.check(ws)
    if as_json:
        show.print_json([{"path": p.path, "what": p.what, "remedy": p.remedy} for p in found])
    elif found:
        show.table("Damage", ("file", "what", "what to do"), [(p.path, p.what, p.remedy) for p in found])
    else:
        show.say(f"{ws.root}: {len(ws.runs())} runs, all whole")
    if found:
        sys.exit(EnvironmentFault.exit_code)


@app.command("query")
def query(sql: Annotated[str, typer.Argument(help="e.g. 'FROM leaderboard'")], as_json: AsJson = False) -> None:
    """The answer to a SELECT over the tables and views, live runs included."""
    from mixlab import show
    from mixlab.results.store import Store
    from mixlab.workspace import Workspace

    frame = Store.open(Workspace.open()).query(sql)
    if as_json:
        sys.stdout.write(f"{frame.to_json(orient='records', date_format='iso', indent=1)}\n")
    else:
        rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)
        names = [str(c) for c in frame.columns]
        if len(names) <= MOST_COLUMNS:
            show.table(f"{len(frame)} rows", names, list(rows))
            return
        for i, row in enumerate(rows, start=1):
            show.table(f"row {i} of {len(frame)}", ("column", "value"), list(zip(names, row, strict=True)))


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="A new file.")],
    storage_version: Annotated[str | None, typer.Option(help="v1.5.0 for an older DuckDB; None: today's.")] = None,
) -> None:
    """The index as a file of its own, also for an older DuckDB."""
    from mixlab import show
    from mixlab.results.export import export as exporting
    from mixlab.workspace import Workspace

    exporting(Workspace.open(), file.absolute(), storage_version)
    show.say(str(file.absolute()))
