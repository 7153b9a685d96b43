"""`mixlab data …`: sources, and the corpora made of them."""

import functools
from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson, Overrides
from mixlab.errors import MissingError

app = typer.Typer(no_args_is_help=True, help="Sources, and the corpora made of them.")


@app.command("prepare")
def prepare(overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Sources → clean → dedup → hold-out → tokens."""
    from mixlab import compose, pipeline, show
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    with show.progress() as watch:
        corpora = pipeline.prepare(compose.spec_of(overrides or [], Path.cwd()), ws, watch.stage)
    show.corpora(list(corpora.values()), as_json=as_json)


@app.command("dedup")
def dedup(overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Near-duplicates of the sources: what goes, because of what, how far to trust it (dedup.threshold=0.9 …)."""
    from mixlab import compose, pipeline, show, show_dedup
    from mixlab.workspace import Workspace, read_manifest

    with show.progress() as watch:
        at = pipeline.deduplicate(compose.spec_of(overrides or [], Path.cwd()), Workspace.open(), watch.stage)
    show_dedup.dedup(read_manifest(at.dedup), at.dedup, as_json=as_json)


@app.command("contamination")
def contamination(
    tasks: Annotated[list[Path], typer.Option("--tasks", help="Task files (JSON lines), or folders of them.")],
    overrides: Overrides = None,
    policy: Annotated[str, typer.Option(help="report, drop (the documents) or cut (the spans).")] = "report",
    min_share: Annotated[float, typer.Option(help="Share of an item's words from which it is dirty.")] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Evaluation items in the cleaned sources: which, where, how much of them."""
    from mixlab import compose, pipeline, show, show_dedup
    from mixlab.data import decontaminate, evalitems
    from mixlab.workspace import Workspace, build, key_of

    ws, items = Workspace.open(), evalitems.read_tasks(tasks)
    with show.progress() as watch:
        at = pipeline.cleaned(compose.spec_of(overrides or [], Path.cwd()), ws, watch.stage)
        asked = {"items": [[i.task, i.number, i.query, i.answer] for i in items], "policy": policy, "share": min_share}
        key = key_of("contamination", decontaminate.VERSION, asked, {n: p.name for n, p in at.clean.items()})
        where = ws.artefact("contamination", policy, key)
        seen = functools.partial(watch.stage, "contamination")
        told = functools.partial(decontaminate.decontaminate, at.clean, items, min_share=min_share, progress=seen)
        facts = build(where, lambda out: told(out, policy).facts())
    show_dedup.contamination(facts, where, as_json=as_json)


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """Corpora that are ready to train on."""
    from mixlab import show
    from mixlab.data.shards import open_corpus
    from mixlab.workspace import Workspace, is_complete

    found = sorted(p for p in (Workspace.open().root / "tokens").glob("*") if is_complete(p))
    if not found:
        raise MissingError("no corpus is prepared yet: run `mixlab data prepare` or `mixlab demo`.")
    show.corpora([open_corpus(p) for p in found], as_json=as_json)
