"""Runs as their directories tell it, with nothing heavier than the standard library: the fast path of `runs ls`.

Reads run.json, plan.json, status.json, done.json and scores.jsonl below `runs/`; writes nothing. A run's state is
derived each time it is asked for, so no run is stuck on "running".
"""

import hashlib
import json
import logging
import math
import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mixlab.alive import is_alive
from mixlab.errors import ConfigError, MissingError, nearest
from mixlab.results.flat import Json, dig
from mixlab.types import TrainSpec
from mixlab.workspace import Workspace, read_json

SILENT_S = 60.0
"""Where a status does not say how long its steps take; the loop writes one every 2 s."""
SLOW_FRAC = 0.5
"""Of the run's own median speed: below it a run is `slow`."""
SLOW_LINES = 4
"""Metric lines before a speed can be called usual."""
TERMINAL = frozenset({"finished", "failed", "diverged"})
"""States that stay as they are until a file of the run changes."""
logger = logging.getLogger(__name__)
Row = Mapping[str, Any]
"""A run as `list_runs` tells it."""


def list_runs(ws: Workspace) -> list[dict[str, Any]]:
    """One dict a run, oldest first: what `describe` tells of it, and `sweeps`, the names of all that asked for it."""
    runs = [describe(path) for path in ws.runs() if path.exists()]
    lists = {path.stem: set(read_object(path).get("runs") or ()) for path in ws.sweeps.glob("*.json")}
    for run in runs:
        own = {run["sweep"]} - {None}  # the one that trained it; an import is of that one alone
        asked = set[str]() if run["origin"] else {name for name, ids in lists.items() if run["run_id"] in ids}
        run["sweeps"] = sorted(own | asked)
    return sorted(runs, key=lambda run: (run["started"] or 0.0, run["run_id"]))


def of_sweep(runs: Sequence[Row], sweep: str | None) -> list[Row]:
    """Those of `list_runs` that a sweep asked for, whichever trained them; all if `sweep` is None.

    MissingError if none of the runs is of a sweep called so.
    """
    known = {name for run in runs for name in run["sweeps"]}
    if sweep is not None and sweep not in known:
        raise MissingError(f"no run belongs to a sweep '{sweep}'.{nearest(sweep, known)}")
    return [run for run in runs if sweep is None or sweep in run["sweeps"]]


def describe(path: Path) -> dict[str, Any]:
    """A run as plain values.

    `run_id, name, sweep, state, reason, seed, mixture` (its name), `weights` (source -> share), `step, steps, tokens,
    target_tokens, tokens_per_s, bpb_macro, bpb` (source -> bits per byte), `evals_key` (what was
    measured), `exams` (source, or "macro" -> which held-out documents), `recipe` (runs with the same one differ in
    mixture and seed alone), `n_params, wall_s, started, heartbeat` (unix seconds); of a run that was imported `origin`
    (where from), `loss_macro, loss` (what was measured -> value) and `unit`, where that is not bits per byte.
    Scores are the last final ones, else the last live ones; None where there is none or the model diverged. A run
    whose run.json cannot be read has state "damaged".
    """
    files = {name: read_object(path / f"{name}.json") for name in ("run", "status", "done", "plan")}
    rows = read_rows(path / "scores.jsonl")
    last = _last(rows, "bpb")
    scores = {source: _number(row.get("value")) for source, row in last.items()}
    told: dict[str, Any] = {"bpb_macro": scores.pop("macro", None), "bpb": scores}
    other = _last(rows, "loss") if files["run"].get("origin") else {}
    losses = {what: _number(row.get("value")) for what, row in other.items()}
    unit = next((dig(row, "detail", "unit") for row in other.values()), None)
    told |= {"loss_macro": losses.pop("macro", None), "loss": losses, "unit": unit}
    last = {**other, **last}
    exams = {source: dig(row, "detail", "exam") for source, row in last.items()}
    return told_by(path, files) | told | {"evals_key": last.get("macro", {}).get("evals_key"), "exams": exams}


def told_by(path: Path, files: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What `describe` tells but for the scores: by the objects in run.json, status.json, done.json and plan.json."""
    told, status, done, plan = (files[name] for name in ("run", "status", "done", "plan"))
    mixture: dict[str, Any] = told.get("mixture") or {}
    started, heartbeat = _number(told.get("created_at")), _number(status.get("heartbeat"))
    return {
        "run_id": path.name,
        "name": told.get("name") or path.name,
        "sweep": told.get("sweep"),
        "state": _state(path, status, bool(done), started) if told else "damaged",
        "reason": status.get("reason") if told else f"{path / 'run.json'} cannot be read",
        "seed": told.get("seed"),
        "mixture": mixture.get("name"),
        "weights": mixture.get("weights") or {},
        "step": done.get("steps", status.get("step", 0)),
        "steps": done.get("steps", status.get("steps")),
        "tokens": done.get("tokens", status.get("tokens", 0)),
        "origin": dig(told, "origin", "from"),
        "target_tokens": plan.get("tokens"),
        "tokens_per_s": _number(status.get("tokens_per_s")),
        "recipe": _recipe(told) if told else None,
        "n_params": told.get("n_params"),
        "wall_s": _wall(done, status, started, heartbeat),
        "started": started,
        "heartbeat": heartbeat,
    }


def trained_here(run: Path) -> dict[str, Any]:
    """What run.json says of a run that mixlab trained. ConfigError for one that was imported, and so has no model."""
    told = read_json(run / "run.json")
    if "origin" in told:
        raise ConfigError(
            f"{run.name} was imported ({told['origin']['from']}, {told['origin']['path']}): it has scores and a mix, "
            "but no model, no text and no settings of mixlab. It can be listed, ranked and advised from; train "
            "its weights here for more."
        )
    return told


def derive_state(status: dict[str, Any], is_done: bool, created_at: float | None, now: float | None = None) -> str:
    """queued, running, stalled, killed, diverged, failed or finished: by what a run says of itself, not by its speed.

    Killed: the process is gone from this machine. Stalled: no heartbeat for longer than its steps explain.
    """
    if is_done:
        return "finished"
    if status.get("state") == "failed":
        return "diverged" if str(status.get("reason")).startswith("diverged") else "failed"
    if not status or status.get("state") == "queued":
        return "queued"
    pid = status.get("pid")
    if status.get("host") == socket.gethostname() and isinstance(pid, int) and not is_alive(pid, status.get("born")):
        return "killed"
    seen = _number(status.get("heartbeat")) or created_at or 0.0
    silent = (time.time() if now is None else now) - seen
    return "stalled" if silent > (_number(status.get("stall_seconds")) or SILENT_S) else "running"


def pace(run: Path) -> tuple[float, float]:
    """Tokens per second of the last logged step, and the median of all; alike below SLOW_LINES lines, 0 without any."""
    logged: list[dict[str, float]] = [row.get("m") or {} for row in read_rows(run / "metrics.jsonl")]
    known = [float(s) for m in logged if (s := m.get("tokens_per_s"))]
    usual = statistics.median(known) if known else 0.0
    return (known[-1] if len(known) >= SLOW_LINES else usual), usual


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, none if it is missing; lines that are not whole are left out.

    A torn last line is a write in progress. One in the middle is damage, and is logged.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = list[dict[str, Any]]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row: Json = json.loads(line)
        except ValueError:
            if number < len(lines):
                logger.warning("%s line %d is damaged and left out", path, number)
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file is missing, and, with a logged warning, if it is damaged."""
    try:
        value: Json = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as e:
        logger.warning("%s is damaged and left out: %s", path, e)
        return {}
    return value if isinstance(value, dict) else {}


def _last(rows: Sequence[dict[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """Source (or "macro") -> the line of its last final score in this metric, else of its last live one."""
    best: dict[str, tuple[tuple[bool, float, float], dict[str, Any]]] = {}
    for row in rows:
        task = str(row.get("task"))
        if not task.startswith(f"{metric}/") or row.get("metric") != metric or row.get("step") is None:
            continue
        rank = (bool(row.get("final")), row["step"], _number(row.get("ts")) or 0.0)
        if task not in best or rank >= best[task][0]:
            best[task] = rank, row
    return {task.removeprefix(f"{metric}/"): row for task, (_, row) in sorted(best.items())}


def _state(path: Path, status: dict[str, Any], is_done: bool, started: float | None) -> str:
    """`derive_state`, and slow where a running one is below half of its usual speed."""
    told = derive_state(status, is_done, started)
    if told != "running":
        return told
    last, usual = pace(path)
    return "slow" if last < SLOW_FRAC * usual else told


def _recipe(told: dict[str, Any]) -> str:
    """8 hex digits over what a run was made with and of: corpora, model and training, without mixture and seed."""
    if "origin" in told:
        return str(told["origin"]["recipe"])
    spec: dict[str, Any] = told.get("spec") or {}
    asked: dict[str, Any] = spec.get("train") or {}
    phases: list[Any] = spec.get("phases") or []
    cosmetic = {field.name for field in fields(TrainSpec) if field.metadata.get("cosmetic")}
    train = {name: value for name, value in asked.items() if name not in cosmetic}
    made_of = [told.get("corpora"), spec.get("model"), train, *phases]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:8]


def _wall(done: dict[str, Any], status: dict[str, Any], created: float | None, heartbeat: float | None) -> float | None:
    """Seconds that all attempts at the run took, or have taken up to its last sign of life; pauses are not in it."""
    if done.get("wall_s") is not None:
        return _number(done["wall_s"])
    started = _number(status.get("started")) or created
    earlier = _number(status.get("earlier_s")) or 0.0
    return earlier + max(heartbeat - started, 0.0) if started is not None and heartbeat is not None else None


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None
