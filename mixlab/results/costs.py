"""What the evaluations of a run cost against its training. Reads metrics.jsonl and scores.jsonl; writes nothing.

Live evaluation takes its time from the training; the final one comes after it, and is told apart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlab.results.listing import read_rows

SAMPLES = "samples"
"""Task of the samples from nothing: each of its rows tells the seconds of all of them."""


def evaluation_cost(run: Path) -> dict[str, float | None]:
    """`train_s, live_s, final_s` in seconds, and `live_frac`, live over training; None where nothing was timed.

    Training: steps alone, by the logged rates. Tasks put to the run later (`mixlab runs eval`) are not counted.
    """
    train = sum(_seconds(before, row) for before, row in _pairs(run))
    live = final = 0.0
    counted: set[tuple[Any, ...]] = set()
    rows = read_rows(run / "scores.jsonl")
    exam = next((r.get("ts", 0.0) for r in rows if r.get("final") and r.get("task") == "bpb/macro"), None)
    for row in rows:
        detail: dict[str, Any] = row.get("detail") or {}
        seconds, task = detail.get("seconds"), row.get("task")
        key = (task, row.get("step"), bool(row.get("final")))
        if seconds is None or key in counted:
            continue
        counted.add(key)
        if not row.get("final"):
            live += seconds
        elif task in ("bpb/macro", SAMPLES):
            final += seconds
    if not train or (exam is None and not counted):
        return {"train_s": train or None, "live_s": None, "final_s": None, "live_frac": None}
    return {"train_s": train, "live_s": live, "final_s": final, "live_frac": live / train}


def told(cost: Mapping[str, float | None]) -> str:
    """The cost as half a sentence; empty where nothing was timed.

    >>> told({"train_s": 20.0, "live_s": 0.5, "final_s": 1.25, "live_frac": 0.025})
    'evaluation took 2.5 % of 20.0 s of training, and 1.2 s after it'
    """
    if cost["live_frac"] is None:
        return ""
    after = f", and {cost['final_s']:.1f} s after it" if cost["final_s"] else ""
    return f"evaluation took {cost['live_frac']:.1%} of {cost['train_s']:.1f} s of training{after}".replace("%", " %")


def _pairs(run: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """(tokens before, line of metrics.jsonl) for each line."""
    lines = read_rows(run / "metrics.jsonl")
    return list(zip([0, *(line.get("tokens", 0) for line in lines)], lines, strict=False))


def _seconds(before: int, line: Mapping[str, Any]) -> float:
    """Seconds of the steps that a line sums up."""
    logged: dict[str, float] = line.get("m") or {}
    rate = logged.get("tokens_per_s") or 0.0
    return (line.get("tokens", 0) - before) / rate if rate else 0.0
