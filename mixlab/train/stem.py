"""One WSD stem for several budgets: a run begins where another one, the same but for its budget, began its decay.

Until its decay a WSD run does not depend on its budget, and a longer plan begins with the shorter one. So each WSD run
keeps the checkpoint of its last stable step in stem/, and one with a larger budget may go on from there: to the bit
what it would have been alone. Reads and writes run directories.
"""

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from mixlab.train.checkpoint import NAME, NEW, settle
from mixlab.train.rates import WSD_DECAY_FRAC
from mixlab.types import TrainSpec
from mixlab.workspace import append_lines, disk_errors, read_json, read_lines, write_json

STEM = "stem"
WRITTEN = ("metrics", "events", "scores", "samples")


def stem_step(spec: TrainSpec, steps: int, tokens_per_step: int) -> int | None:
    """Steps done when the decay begins, all of which another budget has too; None for other schedules than WSD.

    >>> stem_step(TrainSpec(schedule="wsd", warmup_tokens=10), steps=100, tokens_per_step=10)
    90
    """
    total = steps * tokens_per_step
    stable = int(total - max(1.0, WSD_DECAY_FRAC * total)) // tokens_per_step
    return stable if spec.schedule == "wsd" and 0 < stable < steps else None


def keep_stem(out: Path) -> None:
    """Keeps out/checkpoint, which is that of the last stable step, as out/stem, whatever comes later."""
    stem, tmp = out / STEM, out / f".{STEM}.tmp"
    if stem.exists():
        return
    with disk_errors(stem):
        shutil.rmtree(tmp, ignore_errors=True)
        shutil.copytree(out / NAME, tmp)
        tmp.rename(stem)


def adopt(out: Path, others: Iterable[Path], steps: int, run_key: str) -> tuple[Path, int] | None:
    """Gives a run without a checkpoint the longest stem of `others` within `steps`: (whose, its step), None if none.

    The caller answers for `others` being the same run but for the budget; the loader's ledger is checked on resuming.
    """
    with disk_errors(out):
        settle(out)
        found = [(read_json(run / STEM / "state.json")["step"], run) for run in others if (run / STEM).is_dir()]
        found = sorted((step, run.name, run) for step, run in found if step <= steps and run != out)
        if (out / NAME).exists() or not found:
            return None
        step, _, run = found[-1]
        out.mkdir(parents=True, exist_ok=True)
        told = f"steps 1 to {step} are those of {run.name}, the same run with another budget"
        event = {"ts": time.time(), "step": step, "level": "info", "kind": "stem", "text": told, "run": run.name}
        for name in WRITTEN:
            rows = [r for r in read_lines(run / f"{name}.jsonl") if r["step"] <= step]
            (out / f"{name}.jsonl").unlink(missing_ok=True)
            if name == "events":
                rows.append(event)
            elif name == "metrics":
                rows = [{**r, "attempt": 0} for r in rows]  # no attempt of this run made them
            if rows:
                append_lines(out / f"{name}.jsonl", rows)
        shutil.copytree(run / STEM, out / NEW, ignore=shutil.ignore_patterns("state.json"))
        write_json(out / NEW / "state.json", {**read_json(run / STEM / "state.json"), "run_key": run_key})
        settle(out)  # whole now, so it becomes the checkpoint
    return run, step
