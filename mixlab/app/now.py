"""What goes on in a lab: its jobs, the runs that have not ended with how far they are, and the last warnings.

Reads jobs/, the live runs' own files and the store; writes nothing, draws nothing.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import streamlit as st

from mixlab import jobs
from mixlab.app.lab import Stamp, is_live, stamp_of
from mixlab.results.health import health
from mixlab.results.listing import read_object
from mixlab.results.store import Store
from mixlab.workspace import Workspace

ENDED_SHOWN_S = 24 * 3600.0
"""Jobs that ended longer ago than this are history: `mixlab runs status` lists them."""
OPEN = ("running", "queued", "stalled", "slow")
SHOWN_RUNS = 12
"""Live runs told one by one; the others are counted."""


def jobs_now(ws: Workspace, *, ended: int = 3, now: float | None = None) -> list[dict[str, Any]]:
    """Jobs that are alive, the newest first, then up to `ended` that ended within a day and were not taken up again."""
    now = time.time() if now is None else now
    found = jobs.jobs(ws)[::-1]
    alive = [j for j in found if j["state"] in jobs.LIVE]
    newest = {j["key"]: j["job"] for j in reversed(found) if j["key"]}
    over = [j for j in found if j["state"] not in jobs.LIVE and now - (j["created_at"] or 0.0) < ENDED_SHOWN_S]
    return [*alive, *[j for j in over if newest.get(j["key"], j["job"]) == j["job"]][:ended]]


def is_anything_live(ws: Workspace, runs: pd.DataFrame) -> bool:
    """True while a job or a run goes on, so that what shows them should look again."""
    return is_live(runs) or any(j["state"] in jobs.LIVE for j in jobs.jobs(ws))


def live_runs(ws: Workspace, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Runs that have not ended: `run_id, label, state, why, heard, share (0-1), left_s, tokens_per_s`.

    The first SHOWN_RUNS. `heard`: its last sign of life, unix seconds. `left_s`: seconds of training still to come at
    the speed of the last step; None where nothing is known.
    """
    if runs.empty:
        return []
    told: list[dict[str, Any]] = []
    for run in runs.loc[runs["state"].isin(OPEN)].head(SHOWN_RUNS).to_dict("records"):
        found = health(ws.root / "runs" / str(run["run_id"]))
        heard = run["heartbeat_at"]
        about = {"run_id": run["run_id"], "label": run["label"], "state": found.state, "why": found.why}
        about["heard"] = None if pd.isna(heard) else heard.tz_localize("UTC").timestamp()
        told.append({**about, **pace(cast("dict[str, Any]", run))})
    return told


def progress_of(job: Mapping[str, Any], ws: Workspace) -> dict[str, Any] | None:
    """How far a job is: the run that its own process trains, else what it wrote down; `what, done, total, left_s, at`.

    A sweep trains in processes of its own and writes down what they do.
    """
    if job.get("pid") is None:
        return job["progress"]
    for run in ws.runs():
        try:
            is_newer = (run / "status.json").stat().st_mtime >= (job["created_at"] or 0.0)
        except FileNotFoundError:
            continue
        status = read_object(run / "status.json") if is_newer else {}
        if status.get("pid") == job["pid"] and status.get("state") == "running" and status.get("steps"):
            step, steps, tokens = status.get("step") or 0, status["steps"], status.get("tokens") or 0
            speed = status.get("tokens_per_s")
            left = (steps - step) * tokens / step / speed if step and speed else None
            told = {"what": f"{run.name}, step {step} of {steps}", "done": step, "total": steps}
            return {**told, "left_s": left, "at": status.get("heartbeat") or 0.0}
    return job["progress"]


def pace(run: Mapping[str, Any]) -> dict[str, float | None]:
    """How far a run is, and how long it still takes.

    >>> pace({"seen_tokens": 250, "target_tokens": 1000, "tokens_per_s": 50.0})
    {'share': 0.25, 'left_s': 15.0, 'tokens_per_s': 50.0}
    >>> pace({"seen_tokens": None, "target_tokens": None, "tokens_per_s": float("nan")})
    {'share': 0.0, 'left_s': None, 'tokens_per_s': None}
    """
    seen, target, speed = (_number(run.get(c)) for c in ("seen_tokens", "target_tokens", "tokens_per_s"))
    share = min(1.0, (seen or 0.0) / target) if target else 0.0
    left = (target - (seen or 0.0)) / speed if target and speed else None
    return {"share": share, "left_s": left, "tokens_per_s": speed}


def alerts(n: int = 5) -> pd.DataFrame:
    """The last warnings and errors of all runs, newest first: `run_id, step, level, kind, text, at` (unix seconds)."""
    ws = Workspace.open()
    return _alerts(str(ws.root), stamp_of("events.jsonl"), n)


def last_line(log: str | Path) -> str:
    """The last line of a log that says something; empty if there is none."""
    try:
        lines = [line for line in jobs.tail(Path(log)).splitlines() if line.strip()]
    except FileNotFoundError:
        return ""
    return lines[-1].strip() if lines else ""


def words_of(job: Mapping[str, Any]) -> Sequence[str]:
    """The words of a job after `mixlab`."""
    return list(map(str, job["words"]))


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


@st.cache_data(max_entries=4, show_spinner=False)
def _alerts(root: str, stamp: Stamp, n: int) -> pd.DataFrame:
    return Store.open(Workspace(Path(root))).sql(
        "SELECT run_id, step, level, kind, text, epoch(time_utc) AS at FROM event WHERE level <> 'info' "
        "ORDER BY time_utc DESC, run_id LIMIT ?",
        [n],
    )
