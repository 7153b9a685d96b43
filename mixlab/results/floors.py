"""Tasks of one run with their floors: what its untrained start and the text alone reach. Reads rows, writes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

ELSEWHERE = ("bpb/", "length/", "samples")
"""Beginnings of what scores.jsonl holds beside tasks."""


def tasks_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a task, in the order they were asked, from the rows of a scores.jsonl.

    `task, step, n, n_truncated, status`, `metrics` (name -> value, stderr, untrained: the same at step 0 under the same
    hashes, None without one) and `floors` (heuristic -> accuracy; empty where there is nothing to choose). The last
    final row counts, else the last live one.
    """
    told: dict[str, dict[str, Any]] = {}
    starts: dict[tuple[str, str, str], float | None] = {}
    for row in rows:
        task = str(row.get("task"))
        detail: dict[str, Any] = row.get("detail") or {}
        if task.startswith(ELSEWHERE) or "floors" not in detail:
            continue
        key = (task, row["metric"], row["evals_key"])
        if not row["step"]:
            starts[key] = row["value"]
        rank = (bool(row["final"]), row["step"], row.get("ts", 0.0))
        found = told.setdefault(task, {"task": task, "rank": rank, "rows": {}})
        if rank > found["rank"]:
            found |= {"rank": rank, "rows": {}}
        if rank == found["rank"]:
            found["rows"][row["metric"]] = row
    return [_entry(found, starts) for found in told.values()]


def _entry(found: Mapping[str, Any], starts: Mapping[tuple[str, str, str], float | None]) -> dict[str, Any]:
    some = next(iter(found["rows"].values()))
    metrics = {
        name: {
            "value": row["value"],
            "stderr": row["stderr"],
            "untrained": starts.get((found["task"], name, row["evals_key"])),
        }
        for name, row in found["rows"].items()
    }
    about = {"task": found["task"], "step": some["step"], "n": some["n"]}
    about |= {name: some["detail"].get(name) for name in ("n_truncated", "status", "seconds")}
    return {**about, "metrics": metrics, "floors": some["detail"]["floors"]}
