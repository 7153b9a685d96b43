"""`mixlab data …`: sources, and the corpora made of them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson, Overrides
from mixlab.errors import MissingError

app = typer.Typer(no_args_is_help=True, help="Sources, and the corpora made of them.")


@app.command("prepare")
def prepare(overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Sources → clean → dedup → hold-out → tokens."""
    from mixlab import compose, show
    from mixlab.data.prepare import prepare as corpora_of
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    with show.progress() as watch:
        corpora = corpora_of(compose.spec_of(overrides or [], Path.cwd()), ws, watch.stage)
    show.corpora(list(corpora.values()), as_json=as_json)


@app.command("dedup")
def dedup(overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Near-duplicates of the sources: what goes, because of what, how far to trust it (dedup.threshold=0.9 …)."""
    from mixlab import compose, show, show_dedup
    from mixlab.data.prepare import deduplicate
    from mixlab.workspace import Workspace, read_manifest

    with show.progress() as watch:
        at = deduplicate(compose.spec_of(overrides or [], Path.cwd()), Workspace.open(), watch.stage)
    show_dedup.dedup(read_manifest(at.dedup), at.dedup, as_json=as_json)


@app.command("contamination")
def contamination(
    overrides: Overrides = None,
    tasks: Annotated[
        list[Path] | None, typer.Option("--tasks", help="Task files (JSON lines), or folders of them.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="report, drop (the documents) or cut (the spans).")] = None,
    min_share: Annotated[float | None, typer.Option(help="Share of an item's words from which it is dirty.")] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluation items in the cleaned sources: which, where, how much (as decontamination.tasks=[…] .policy=drop)."""
    from mixlab import compose, show, show_dedup
    from mixlab.data.prepare import decontaminated
    from mixlab.errors import ConfigError
    from mixlab.workspace import Workspace, read_manifest

    options = {"tasks": tasks and json.dumps([str(t) for t in tasks]), "policy": policy, "min_share": min_share}
    told = [f"decontamination.{name}={value}" for name, value in options.items() if value is not None]
    spec = compose.spec_of([*(overrides or []), *told], Path.cwd())
    if not spec.decontamination.tasks:
        raise ConfigError(
            "no evaluation items are named: give --tasks FILE_OR_FOLDER, or decontamination.tasks=[FILE]."
        )
    with show.progress() as watch:
        at = decontaminated(spec, Workspace.open(), watch.stage)
    assert at.contamination is not None
    show_dedup.contamination(read_manifest(at.contamination), at.contamination, as_json=as_json)


@app.command("spans")
def spans(
    overrides: Overrides = None,
    min_words: Annotated[int, typer.Option(help="Words from which a run that was there before is cut.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Repeated spans in the documents that dedup keeps: how many words are cut, per source (as spans.min_words=50)."""
    from mixlab import compose, show, show_dedup
    from mixlab.data.prepare import without_repeats
    from mixlab.workspace import Workspace, read_manifest

    spec = compose.spec_of([*(overrides or []), f"spans.min_words={min_words}"], Path.cwd())
    with show.progress() as watch:
        at = without_repeats(spec, Workspace.open(), watch.stage)
    show_dedup.spans(read_manifest(at.kept), at.kept, as_json=as_json)


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
