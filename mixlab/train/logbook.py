"""A run's diary: metrics.jsonl, events.jsonl and status.json, written by the training process alone.

What it carries from one step to the next is in `state()`, so a resumed run writes the lines the first would have.
"""

import json
import math
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn

from mixlab.alive import born
from mixlab.errors import RunFailed
from mixlab.requeue import PLEASE_REQUEUE
from mixlab.workspace import append_line, disk_errors, read_json, read_lines, write_json

HEARTBEAT_SECONDS = 2.0
FULL_LINES = (
    64  # metric lines of the first steps, one a step; then 32 while the steps double: 130 of 260, 400 of 90,000
)
STALL_SECONDS, STALL_STEPS = 60.0, 20  # silent for longer than both: the process lives, but nothing moves

State = Literal["queued", "running", "finished", "failed"]


class Logbook:
    """Context of a training run; leaving it by an exception leaves a status that says why."""

    def __init__(self, out: Path, *, steps: int, tokens_per_step: int, writes: bool = True):
        self.out = out
        self.writes = writes
        """False in every process of a run but one."""
        self.steps = steps
        self.tokens_per_step = tokens_per_step
        self.step = 0
        self._losses: list[float] = []  # since the last line
        self._dropped = self._rewinds = 0
        self._seconds = 0.0  # of training since the last line, evaluation and saving left out
        self._timed_steps = 0
        self._speed = 0.0
        self._written_at = -math.inf
        self._reason: str | None = None
        self._host, self._born = socket.gethostname(), born(os.getpid())
        self._attempt, self._started, self._earlier_s = 1, time.time(), 0.0

    def __enter__(self) -> "Logbook":
        with disk_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        self._attempt, self._earlier_s = _before(self.out / "status.json")
        self.status("running")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        with suppress(OSError):  # the disk may be what failed; the error under way says more than this one would
            if isinstance(error, KeyboardInterrupt):
                self.status("queued", "interrupted")
            else:
                self.status("failed", self._reason or str(error) or repr(error))

    def record(self, loss: float, lr: float, grad_norm: float, seconds: float, *, is_dropped: bool = False) -> None:
        """Takes the numbers of one step (nats per token, rate used, norm before clipping, wall time).

        `is_dropped`: its update was not made, as loss or norm are not finite or too far out; that is an event.
        """
        self.step += 1
        self._seconds += seconds
        self._timed_steps += 1
        if is_dropped:
            self._dropped += 1
            kind = "spike" if math.isfinite(loss) and math.isfinite(grad_norm) else "nan"
            told = f"loss {loss:.4f}, gradient norm {grad_norm:.4f}: the update of step {self.step} is dropped"
            self.event("warning", kind, told)
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self._losses.append(loss)
        if self._losses and (self.step % every(self.step) == 0 or self.step == self.steps):
            self._write_line(lr, grad_norm)
        self._beat()

    def pass_over(self) -> None:
        """Takes note of a step whose batch is left out."""
        self.step += 1
        self._beat()

    def rewound(self, snapshot_step: int, told: dict[str, Any], why: str, harmful: int) -> None:
        """Is at a snapshot again, `told` being its state then; says why, and what is skipped from here on."""
        reason = f"{why} at step {harmful + 1}: back to step {snapshot_step}, the batches of steps {snapshot_step + 1} "
        before = self.step
        self.resume(snapshot_step, told)
        self._rewinds += 1
        self.event("warning", "rewind", f"{reason}to {harmful + 1} are skipped ({before - snapshot_step} steps lost)")

    def diverged(self, step: int, why: str) -> NoReturn:
        """Ends the run, which going back has not helped."""
        self._reason = f"diverged at step {step}"
        self.event("error", "diverged", f"{self._reason}: {why}")
        raise RunFailed(
            f"{self.out.name} {self._reason} of {self.steps}: {why}. Its last checkpoint is kept, and the same command "
            "would end here again: lower train.lr, or lengthen train.warmup_tokens."
        )

    def stopped(self) -> NoReturn:
        """Leaves the process, the checkpoint being written, with the exit code that asks to be run again."""
        self.event("info", "stopped", "SIGTERM: checkpoint written, please run again")
        self.status("queued", "stopped by SIGTERM; the same command goes on from here")
        raise SystemExit(PLEASE_REQUEUE)

    def event(self, level: str, kind: str, text: str) -> None:
        """One line in events.jsonl, on the disk when this returns."""
        if not self.writes:
            return
        row = {"ts": time.time(), "step": self.step, "level": level, "kind": kind, "text": text}
        with disk_errors(self.out):
            append_line(self.out / "events.jsonl", row, sync=True)

    def status(self, state: State, reason: str | None = None) -> None:
        """Replaces status.json; its heartbeat tells other processes that this one lives."""
        self._written_at = time.monotonic()
        if not self.writes:
            return
        row: dict[str, Any] = {
            "state": state,
            "step": self.step,
            "steps": self.steps,
            "tokens": self.step * self.tokens_per_step,
            "tokens_per_s": round(self._speed, 1),
            "heartbeat": time.time(),
            "stall_seconds": round(max(STALL_SECONDS, STALL_STEPS * self._step_seconds()), 1),
            "dropped_steps": self._dropped,
            "rewinds": self._rewinds,
            "attempt": self._attempt,
            "started": self._started,
            "earlier_s": round(self._earlier_s, 3),
            "pid": os.getpid(),
            "born": self._born,
            "host": self._host,
        }
        if reason is not None:
            row["reason"] = reason
        tmp = self.out / ".status.json.tmp"
        with disk_errors(self.out):
            tmp.write_text(
                json.dumps(row, ensure_ascii=False), encoding="utf-8"
            )  # no fsync: stale is fine, torn is not
            os.replace(tmp, self.out / "status.json")

    def sync(self) -> None:
        """Waits until the metrics are on the disk: a checkpoint must not be there without the lines before it."""
        path = self.out / "metrics.jsonl"
        if self.writes and path.exists():
            with disk_errors(path), open(path, "rb") as f:
                os.fsync(f.fileno())

    def state(self) -> dict[str, Any]:
        """What a resumed logbook needs, as JSON."""
        return {"losses": list(self._losses), "dropped": self._dropped, "rewinds": self._rewinds}

    def resume(self, step: int, state: dict[str, Any]) -> None:
        """Goes on after `step` steps: rows of later steps leave the files, as if they had never been written.

        Rows of an evaluation at this very step leave too: it comes after the checkpoint, so it is made again.
        """
        self.step = step
        self._losses = list(state.get("losses", ()))
        self._dropped, self._rewinds = state.get("dropped", 0), max(self._rewinds, state.get("rewinds", 0))
        if not self.writes:
            return
        with disk_errors(self.out):
            for name, last in (("metrics", step), ("events", step), ("scores", step - 1), ("samples", step - 1)):
                truncate(self.out / f"{name}.jsonl", last)

    def _write_line(self, lr: float, grad_norm: float) -> None:
        self._speed = self._timed_steps * self.tokens_per_step / max(self._seconds, 1e-9)
        metrics = {
            "loss/train": math.fsum(self._losses) / len(self._losses),
            "lr": lr,
            "grad_norm": grad_norm,
            "tokens_per_s": round(self._speed, 1),
        }
        row = {"step": self.step, "tokens": self.step * self.tokens_per_step, "ts": time.time()}
        row |= {"attempt": self._attempt, "m": metrics}
        if self.writes:
            with disk_errors(self.out):
                append_line(self.out / "metrics.jsonl", row)
        self._losses, self._seconds, self._timed_steps = [], 0.0, 0

    def _beat(self) -> None:
        """Renews the heartbeat if it is time. A step writes it, no thread: what does not move must not look alive."""
        if time.monotonic() - self._written_at >= HEARTBEAT_SECONDS:
            self.status("running")

    def _step_seconds(self) -> float:
        return self.tokens_per_step / self._speed if self._speed else 0.0


def _before(status: Path) -> tuple[int, float]:
    """Number of the attempt that begins now, and the seconds that those before it took up to their last heartbeat."""
    try:
        told = json.loads(status.read_bytes())
    except (FileNotFoundError, ValueError):  # half of it after a power cut
        return 1, 0.0
    seconds = max(0.0, told.get("heartbeat", 0.0) - told.get("started", math.inf))
    return told.get("attempt", 1) + 1, told.get("earlier_s", 0.0) + seconds


def end_as_diverged(out: Path, why: str) -> NoReturn:
    """Says in status.json, and by RunFailed, that a training which came to its end is worth nothing."""
    status = read_json(out / "status.json")
    write_json(out / "status.json", {**status, "state": "failed", "reason": f"diverged: {why}"})
    raise RunFailed(f"{out.name} diverged: {why}")


def every(step: int) -> int:
    """Steps from one metric line to the next; not by the run's length, so a longer run begins with the same lines.

    >>> [every(step) for step in (1, 63, 64, 127, 128, 100_000)]
    [1, 1, 2, 2, 4, 2048]
    """
    return 1 << max(0, (step // FULL_LINES).bit_length())


def truncate(path: Path, last_step: int) -> None:
    """Leaves the rows up to `last_step` in a JSON-lines file, by replacing it whole; no row, no file."""
    if not path.exists():
        return
    kept = [row for row in read_lines(path) if row["step"] <= last_step]
    if not kept:
        path.unlink()
        return
    tmp = path.with_name(f".{path.name}.tmp")
    with open(tmp, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        f.flush()
        os.fsync(f.fileno())
    os.replace(tmp, path)
