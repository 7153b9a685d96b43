"""A project whose lab was made by mixlab itself: three small sources with hostile documents, a few trained mixes."""

import os
import random
from collections.abc import Sequence
from pathlib import Path

from mixlab import pipeline
from mixlab.compose import spec_of
from mixlab.results.store import publish
from mixlab.workspace import Workspace, read_json, write_json
from tests.app.synthetic_lab import HOSTILE
from tests.conftest import write_source

NAMES = ("prose", "tales", "notes")
WORDS = ("the", "a", "river", "house", "tree", "small", "old", "and", "but", "walks", "sees", "under", "over", "light",
         "cold", "garden", "letter", "road", "bread", "window")  # fmt: skip
DOCS = 90
TOKENS = 10_000
RECIPE = (f"source=[{','.join(NAMES)}]", f"train.tokens={TOKENS}")
"""The demo's own recipe, shrunken: what the pages Mix and Advice launch over these sources with this budget."""
INERT = (
    "Come home, <script>alert(1)</script> said ![x](http://127.0.0.1:9/x.png) \x1b[31mred\x1b[0m \u202eabc **bold**."
)
"""Kept by cleaning. HOSTILE has curly braces, for which cleaning drops it."""
MIXES = ((0.7, 0.2, 0.1), (0.1, 0.7, 0.2), (0.2, 0.1, 0.7), (0.5, 0.5, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5))


def write_sources(project: Path) -> None:
    """The three sources, as files and YAML."""
    for name in NAMES:
        rng = random.Random(name)
        words = rng.sample(WORDS, 14)
        rows = [{"id": f"{name}-{i}", "text": _text(rng, words)} for i in range(DOCS)]
        rows[0]["text"] += f"\n{INERT}"
        rows[1]["text"] += f"\n{HOSTILE}."
        rows[2]["text"] = "Too short."
        rows[4]["text"] = rows[3]["text"] + "\nOne more line stands here, or so it seems."  # a near-duplicate
        write_source(project, name, rows)


def make_demo(project: Path) -> None:
    """What the demo leaves, in seconds: eight finished mixes, trained in this process."""
    rows = ("{" + ", ".join(f"{n}: {w}" for n, w in zip(NAMES, mix, strict=True)) + "}" for mix in MIXES)
    asked = [("mixture=natural",), ("mixture=uniform",)]
    asked += [("mixture=weights", f"mixture.weights={row}", f"name=m{i}") for i, row in enumerate(rows)]
    before = Path.cwd()
    os.chdir(project)
    try:
        ws = Workspace.open(project / "lab")
        for words in asked:
            pipeline.run(spec_of([*RECIPE, *words], project), ws, sweep="story")
        publish(ws)
    finally:
        os.chdir(before)


def spoil(project: Path) -> None:
    """Two of the runs become one that failed and one that is live and stays so for the tests."""
    failed, live = (p for p in sorted((project / "lab" / "runs").iterdir()) if p.name.startswith(("m0", "m1")))
    for run, told in ((failed, {"state": "failed", "reason": "loss is not finite"}), (live, {"state": "running"})):
        (run / "done.json").unlink()
        status = read_json(run / "status.json")
        beat = {"heartbeat": 4e9, "pid": os.getpid()}
        write_json(run / "status.json", {**status, **beat, **told})


def _text(rng: random.Random, words: Sequence[str]) -> str:
    said = (" ".join(rng.choices(words, k=rng.randint(6, 12))) for _ in range(8))
    return "\n".join(f"{line.capitalize()}." for line in said)
