"""How a run is doing, told from its files alone by any process: the state, and one sentence why.

Reads status.json, done.json, events.jsonl and metrics.jsonl; writes nothing. Nothing in it is stored: a run that was
killed cannot say so, so its reader has to.
"""

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mixlab.alive import is_alive
from mixlab.results.listing import SILENT_S, SLOW_FRAC, pace, read_object, read_rows

Health = Literal["queued", "running", "slow", "stalled", "killed", "diverged", "failed", "finished"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """State of one run, why it is thought so, and what happened to it."""

    state: Health
    why: str
    events: tuple[dict[str, Any], ...]
    """Lines of events.jsonl that somebody should know of: warnings and errors."""

    @property
    def is_quiet(self) -> bool:
        """True if nothing happened that needs a person."""
        return not self.events and self.state in ("running", "finished", "queued")


def health(run: Path, now: float | None = None) -> Report:
    """The report of one run directory."""
    events = tuple(e for e in read_rows(run / "events.jsonl") if e.get("level") != "info")
    state, why = _state(run, time.time() if now is None else now)
    return Report(state=state, why=why, events=events)


def headline(report: Report) -> str:
    """One line: what somebody who looks once a day wants to read."""
    told = f"{report.state}: {report.why}"
    if report.is_quiet:
        return f"{told}; nothing happened"
    kinds = [str(e.get("kind")) for e in report.events]
    counted = ", ".join(f"{kinds.count(kind)} × {kind}" for kind in sorted(set(kinds)))
    return f"{told}; {counted}" if counted else told


def _state(run: Path, now: float) -> tuple[Health, str]:
    status, done = read_object(run / "status.json"), read_object(run / "done.json")
    where = f"step {status.get('step', 0)} of {status.get('steps', '?')}"
    if done and done.get("steps") is None:
        return "finished", "elsewhere: it was imported"
    if done:
        return "finished", f"{done.get('steps')} steps in {done.get('wall_s') or 0:.0f} s"
    if not status:
        return "queued", "it has not begun"
    reason = str(status.get("reason") or "")
    if status.get("state") == "failed":
        return ("diverged" if reason.startswith("diverged") else "failed"), reason
    if status.get("state") == "queued":
        return "queued", reason or where
    silent = now - float(status.get("heartbeat") or 0.0)
    is_here, pid = status.get("host") == socket.gethostname(), status.get("pid")
    if is_here and status.get("state") == "running" and isinstance(pid, int) and not is_alive(pid, status.get("born")):
        return "killed", f"its process {pid} is gone at {where}; the same command goes on from the checkpoint"
    if silent > float(status.get("stall_seconds") or SILENT_S):
        told = f"process {pid} lives but" if is_here else f"{status.get('host')}"
        return "stalled", f"{told} has said nothing for {silent:.0f} s at {where}"
    last, usual = pace(run)
    if last < SLOW_FRAC * usual:
        return "slow", f"{last:,.0f} tokens/s, where it mostly had {usual:,.0f}, at {where}"
    return "running", f"{where}, {usual:,.0f} tokens/s" if usual else where
