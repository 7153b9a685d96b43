"""`mixlab data …`: sources, and the corpora made of them."""

from pathlib import Path

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
