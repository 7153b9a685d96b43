"""Is the lab whole? Every file of every run, the published index against them; reads all of it and writes nothing.

What is missing because a run has not ended yet is no damage: a torn last line, a run that was killed before it began.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlab.results.listing import read_rows
from mixlab.results.store import Store
from mixlab.workspace import Workspace

OBJECTS = ("run.json", "plan.json", "status.json", "done.json")
KEYS = {
    "metrics.jsonl": ("step",),
    "scores.jsonl": ("task", "metric", "step", "final", "evals_key"),
    "samples.jsonl": None,
    "events.jsonl": None,
    "annotations.jsonl": None,
}
"""File -> what no two of its rows share; None: rows may repeat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that is not as a run leaves it."""

    path: Path
    what: str
    remedy: str


def check(ws: Workspace) -> list[Problem]:
    """What is damaged in the lab; empty if it is whole."""
    found = [p for run in ws.runs() for p in _run(run)]
    return found + list(_index(ws))


def _run(run: Path) -> Iterator[Problem]:
    """Problems of one run directory."""
    again = "run the same command again: it writes the file anew"
    told: dict[str, Any] = {}
    for name in OBJECTS:
        if not (run / name).exists():
            continue
        try:
            told[name] = json.loads((run / name).read_bytes())
        except FileNotFoundError:
            continue
        except ValueError as e:
            yield Problem(path=run / name, what=f"not whole: {e}", remedy=again)
    for name, key in KEYS.items():
        yield from _lines(run / name, key)
    if "done.json" in told and "origin" not in told.get("run.json", {}):  # of an imported run others have the files
        last = max((r["step"] for r in read_rows(run / "metrics.jsonl") if "step" in r), default=None)
        if last != told["done.json"].get("steps"):
            what = f"ends at step {last}, though the run ended at step {told['done.json'].get('steps')}"
            yield Problem(path=run / "metrics.jsonl", what=what, remedy=f"delete {run} and run it again")
        if not any(r.get("final") for r in read_rows(run / "scores.jsonl")):
            yield Problem(path=run / "scores.jsonl", what="no final score, though the run ended", remedy=again)


def _lines(path: Path, key: tuple[str, ...] | None) -> Iterator[Problem]:
    """Lines that are damaged, though they are not the last; rows that are there twice."""
    if not path.exists():
        return
    *whole, _torn = path.read_bytes().split(b"\n")
    seen: Counter[tuple[Any, ...]] = Counter()
    for number, line in enumerate(whole, 1):
        try:
            row: dict[str, Any] = json.loads(line) if line.strip() else {}
        except ValueError as e:
            yield Problem(path=path, what=f"line {number} is damaged: {e}", remedy="delete that line")
            continue
        if key and row:
            seen[tuple(row.get(k) for k in key)] += 1
    for row_key, n in seen.items():
        if n > 1:
            what = f"{n} rows for {dict(zip(key or (), row_key, strict=True))}"
            yield Problem(path=path, what=what, remedy=f"delete {path.parent} and run it again")


def _index(ws: Workspace) -> Iterator[Problem]:
    """The index against the files: as many rows of each finished run."""
    if not ws.database.exists():
        return
    remedy = f"`mixlab db sync`, or delete {ws.database}: it is rebuilt"
    store = Store.open(ws)
    if not store.is_published():
        yield Problem(path=ws.database, what="cannot be read", remedy=remedy)
        return
    for table, file in (("metric_line", "metrics.jsonl"), ("score", "scores.jsonl"), ("sample", "samples.jsonl")):
        counted = dict(store.sql(f"SELECT run_id, count(*) FROM {table} GROUP BY run_id").itertuples(index=False))
        for run in ws.runs():
            rows = len([r for r in read_rows(run / file) if r.get("step") is not None])
            told = int(counted.get(run.name, 0))
            if rows != told and (run / "done.json").exists():
                what = f"{told} rows of {table} for {run.name}, whose {file} has {rows}"
                yield Problem(path=ws.database, what=what, remedy=remedy)
