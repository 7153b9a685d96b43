"""`mixlab report`: a sweep as one file to send to a colleague."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson


def report(
    sweep: Annotated[str | None, typer.Argument(help="A sweep; without one, every finished run of the lab.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write; an older one is replaced.")] = Path(
        "report.html"
    ),
    as_json: AsJson = False,
) -> None:
    """One self-contained HTML file: question, mixes, curves, verdict, samples, lineage."""
    from mixlab import report as reporting
    from mixlab import show, show_report
    from mixlab.workspace import Workspace, disk_errors

    told = reporting.report(Workspace.open(), sweep, Path.cwd())
    text = show_report.page(told)
    out = out.absolute()
    with disk_errors(out):
        out.write_text(text, encoding="utf-8")
    facts = {
        "path": out,
        "bytes": len(text.encode()),
        "arms": len(told.arms),
        "runs": sum(len(a.runs) for a in told.arms),
    }
    if as_json:
        show.print_json(facts)
    else:
        show.say(show_report.words_of(facts))
