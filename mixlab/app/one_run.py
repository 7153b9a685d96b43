"""What the page Run reads: one run's folder in frames and words. Writes nothing.

Everything is read anew, as one run is little; what is missing because the run has not come so far is empty.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from mixlab import jobs
from mixlab.results.annotations import remarks
from mixlab.results.flat import flatten
from mixlab.results.health import headline, health
from mixlab.results.listing import describe, read_object, read_rows
from mixlab.workspace import Workspace

TAIL_LINES = 200
"""Of metrics.jsonl, for a run that has no log."""


def folder(run_id: str | None) -> Path | None:
    """The directory of the run with exactly this id; None if there is none (any more)."""
    return next((run for run in Workspace.open().runs() if run.name == run_id), None)


def facts(run: Path) -> dict[str, Any]:
    """State, progress, size and remarks of a run, and its health: the keys of `describe`, `remarks` and `report`."""
    report = health(run)
    told = read_object(run / "run.json")
    about = {"machine": told.get("host"), "device": told.get("device"), "commit": told.get("git_sha")}
    return {**describe(run), **remarks(run), **about, "report": report, "headline": headline(report)}


def seconds_left(facts: dict[str, Any]) -> float | None:
    """How long the run will still train at its speed so far; None where it has none, or has ended."""
    left = (facts["target_tokens"] or 0) - (facts["tokens"] or 0)
    speed = facts["tokens_per_s"]
    return left / speed if facts["state"] in ("running", "slow") and speed and left > 0 else None


def scores(run: Path) -> pd.DataFrame:
    """The last final score of each task, else its last live one: task, metric, value, stderr, n, step, is_final."""
    last: dict[tuple[str, str], tuple[tuple[bool, int], dict[str, Any]]] = {}
    for row in read_rows(run / "scores.jsonl"):
        key, rank = (str(row.get("task")), str(row.get("metric"))), (bool(row.get("final")), row.get("step") or 0)
        if key not in last or rank >= last[key][0]:
            last[key] = rank, row
    names = ("task", "metric", "value", "stderr", "n", "step")
    rows = [{n: row.get(n) for n in names} | {"is_final": rank[0]} for rank, row in last.values()]
    order = sorted(
        rows, key=lambda r: (not str(r["task"]).startswith("bpb/"), r["task"] != "bpb/macro", str(r["task"]))
    )
    return pd.DataFrame(order, columns=[*names, "is_final"])


def draws(run: Path) -> pd.DataFrame:
    """What the plan draws from each source: source, weight, tokens, available, epochs, licence."""
    rows: list[dict[str, Any]] = read_object(run / "plan.json").get("draws") or []
    return pd.DataFrame(rows, columns=["source", "weight", "tokens", "available", "epochs", "licence"])


def settings(run: Path) -> pd.DataFrame:
    """Every setting that decided the run: setting, value (as text)."""
    told = read_object(run / "run.json")
    rows = flatten(told.get("spec") or told.get("origin") or {})
    return pd.DataFrame([(r["key"], r["value_text"]) for r in rows], columns=["setting", "value"])


def lineage(run: Path) -> pd.DataFrame:
    """From the run back to its sources: what, which, state. Looks at the sources' own files."""
    from mixlab.lineage import lineage as trace  # loads the data stages, numba with them: 1 s, and only this tab asks

    return pd.DataFrame(trace(run, Workspace.open())["steps"], columns=["what", "which", "state"])


def events(run: Path) -> pd.DataFrame:
    """What happened, newest first: time_utc, step, level, kind, text."""
    rows = read_rows(run / "events.jsonl")
    frame = pd.DataFrame(rows, columns=["ts", "step", "level", "kind", "text"])
    times: Any = pd.to_datetime(frame["ts"].astype("float64"), unit="s")
    return frame.assign(ts=times.dt.floor("s")).rename(columns={"ts": "time_utc"}).iloc[::-1].reset_index(drop=True)


def log(run: Path) -> tuple[str, str]:
    """Where the log stands, and its last 64 KiB without colours: the job's log, else the last lines of the metrics."""
    path = jobs.log_of(Workspace.open(), run)
    if path is not None:
        return str(path), jobs.tail(path)
    path = run / "metrics.jsonl"
    text = jobs.tail(path) if path.exists() else ""
    return str(path), "\n".join(text.splitlines()[-TAIL_LINES:])
