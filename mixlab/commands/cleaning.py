"""`mixlab data atlas · audit · explain · label · labels`: what cleaning removed, and why; what people think of it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson

app = typer.Typer()
OneSource = Annotated[str | None, typer.Argument(help="A cleaned source, or all.")]


@app.command("atlas")
def atlas(
    source: OneSource = None,
    asked: Annotated[
        list[str] | None,
        typer.Option("--what-if", help="rule=off, or rule=number to move its threshold; again for several at once."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What each cleaning rule removes, alone and with the others, in documents, bytes and tokens."""
    from mixlab import show_atlas
    from mixlab.data import atlas as book
    from mixlab.data import switches
    from mixlab.data.cleaned import cleaned_sources
    from mixlab.workspace import Workspace

    cleaned = cleaned_sources(Workspace.open(), source)
    if asked and len(asked) > 1:
        told = switches.answer(cleaned, [book.change(one) for one in asked])
        show_atlas.switched(told, asked, as_json=as_json)
        return
    if asked:
        change = book.change(asked[0])
        answer, moved = book.what_if(cleaned, change), book.moved_documents(cleaned, change)
        show_atlas.what_if(answer, moved, asked[0], as_json=as_json)
        return
    looks = {"waterfall": book.waterfall, "kills": book.kills, "overlap": book.overlap, "lines": book.lines}
    show_atlas.atlas({name: look(cleaned) for name, look in looks.items()}, as_json=as_json)


@app.command("audit")
def audit(
    source: OneSource = None,
    max_risk: Annotated[
        float | None, typer.Option("--max-risk", help="Exit with 3 if a relative risk exceeds this, beyond its noise.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Does cleaning remove documents that name a group of people more often than others?"""
    from mixlab import show_atlas
    from mixlab.data import audit as bias
    from mixlab.data.cleaned import cleaned_sources
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    cleaned = cleaned_sources(ws, source)
    found = bias.audit(ws, cleaned)
    bias.keep(ws, found, cleaned)
    alarms = found.alarms(max_risk if max_risk is not None else float("inf"))
    show_atlas.audit(found, alarms, max_risk, as_json=as_json)
    if len(alarms):
        sys.exit(3)


@app.command("explain")
def explain(source: str, doc_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """One document, line by line: which rule did what; for a near-duplicate, the copy that was kept."""
    from mixlab import show_atlas
    from mixlab.data.cleaned import cleaned_sources
    from mixlab.data.explain import explain as look
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    show_atlas.explained(look(ws, cleaned_sources(ws, source)[0], doc_id), as_json=as_json)


@app.command("label")
def label(
    source: str,
    doc_id: Annotated[str, typer.Argument(metavar="ID")],
    verdict: Annotated[str, typer.Argument(help="good, bad, or none to take a label away.")],
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Calls a document good or bad: a judgement kept in the lab, no filter."""
    from mixlab import show
    from mixlab.data import labels as book
    from mixlab.data.cleaned import cleaned_sources
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    book.put(ws, cleaned_sources(ws, source)[0], doc_id, verdict, note)
    show.say(f"{source} {doc_id}: {verdict}. All labels: mixlab data labels")


@app.command("labels")
def labels(
    out: Annotated[Path | None, typer.Option(help="Write them as .csv or .jsonl.")] = None,
    as_json: AsJson = False,
) -> None:
    """Documents that were called good or bad, with what cleaning made of them."""
    from mixlab import show, show_atlas
    from mixlab.data import labels as book
    from mixlab.workspace import Workspace

    found = book.read(Workspace.open())
    if out is not None:
        book.export(found, out)
    if as_json:
        show.print_json(show_atlas.records(found))
    else:
        show_atlas.labels(found)
