"""A run told to Weights & Biases, MLflow or trackio while it goes on, by a process of its own.

The run starts `python -m mixlab.trackers` and looks back no more: whatever a tracker does, raise, hang or wait for its
network, costs the run nothing. Reads run.json, metrics.jsonl, scores.jsonl, done.json and status.json; writes
tracker-<name>.json (how far it came, so that a resumed run is told on) and, if the tracker fails, one line of
events.jsonl, whole, by a single write.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mixlab.errors import EnvironmentFault
from mixlab.results.flat import flatten
from mixlab.results.listing import read_object, read_rows
from mixlab.workspace import append_line, write_json

PROJECT = "mixlab"
POLL_S = 1.0
GRACE_S = 60.0
"""After the end of a run a tracker has so long to take what is left; then it is left behind."""
Log = Callable[[int, Mapping[str, float]], None]
"""(step, name -> value) -> None."""


def check(names: Sequence[str]) -> None:
    """Nothing if the packages of these trackers are there; else EnvironmentFault, before anything is trained."""
    missing = [name for name in names if not is_there(name)]
    if missing:
        raise EnvironmentFault(
            f"train.trackers asks for {', '.join(missing)}, which is not installed: pip install {' '.join(missing)}, "
            "or leave it out of train.trackers. (The run's files and `mixlab runs export --to csv` need no tracker.)"
        )


def is_there(package: str) -> bool:
    """True if a package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def start(run: Path, names: Sequence[str], grace_s: float = GRACE_S) -> list[subprocess.Popen[Any]]:
    """Starts a process a tracker that tells it of the run in this directory, and returns at once."""
    found: list[subprocess.Popen[Any]] = []
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for name in names:
        words = [sys.executable, "-m", "mixlab.trackers", str(run), name, str(grace_s), str(os.getpid())]
        process = subprocess.Popen([*words, str(time.time())], **quiet, start_new_session=True)
        threading.Thread(target=process.wait, daemon=True).start()  # takes its exit code when it comes; nobody waits
        found.append(process)
    return found


def follow(run: Path, name: str, grace_s: float, parent: int, began: float) -> None:
    """Tells the tracker of every line of the run until it has ended; on a failure one event in the run says so."""
    state = {"step": -1}

    def give_up(why: str) -> NoReturn:
        told = "not logged" if state["step"] < 0 else f"not logged after step {state['step']}"
        text = f"tracker {name}: {why}: {told}"
        append_line(
            run / "events.jsonl",
            {"ts": time.time(), "step": max(0, state["step"]), "level": "warning", "kind": "tracker", "text": text},
        )
        os._exit(1)  # the tracker's own threads may hang

    def watch() -> None:
        while not _has_ended(run, began, parent):
            time.sleep(POLL_S / 4)
        time.sleep(grace_s)
        give_up(f"no answer {grace_s:g} s after the end of the run")

    threading.Thread(target=watch, daemon=True).start()
    try:
        told = read_object(run / f"tracker-{name}.json")
        log, finish, memory = TRACKERS[name](run, told)
        state["step"] = told.get("step", -1)
        for step, values in _rows(run, state["step"], lambda: _has_ended(run, began, parent)):
            log(step, values)
            state["step"] = step
            write_json(run / f"tracker-{name}.json", {**memory, "step": step})
        finish()
    except BaseException as e:  # noqa: BLE001  # whatever a tracker raises, SystemExit too, is its own failure
        give_up(f"{type(e).__name__}: {' '.join(str(e).split())[:300]}")


def _rows(run: Path, last: int, has_ended: Callable[[], bool]) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, values) of each step after `last`, once, rising, until the run has ended.

    A step is told when a later one is in metrics.jsonl: what was evaluated at it is then in scores.jsonl.
    """
    while True:
        is_over = has_ended()
        found: dict[int, dict[str, float | None]] = {}
        for row in read_rows(run / "metrics.jsonl"):
            found.setdefault(row["step"], {}).update({**row["m"], "tokens": row["tokens"]})
        newest = max(found, default=-1)
        for row in read_rows(run / "scores.jsonl"):
            name = f"{'final' if row['final'] else 'eval'}/{row['task']}"
            name = name if row["metric"] == "bpb" else f"{name}/{row['metric']}"
            found.setdefault(row["step"], {})[name] = row["value"]
        for step in sorted(s for s in found if s > last and (is_over or s < newest)):
            last = step
            yield step, {k: float(v) for k, v in found[step].items() if v is not None}
        if is_over:
            return
        time.sleep(POLL_S)


def _has_ended(run: Path, began: float, parent: int) -> bool:
    """True once the run is done, has stopped since this process began, or has lost the process that trained it."""
    if (run / "done.json").exists() or os.getppid() != parent:
        return True
    told = read_object(run / "status.json")
    return told.get("state") in ("failed", "queued") and told.get("heartbeat", 0.0) >= began


def _about(run: Path) -> tuple[str, dict[str, Any]]:
    """The run's name and settings, a dotted key each."""
    told = read_object(run / "run.json")
    return run.name, {row["key"]: row["value_text"] for row in flatten(told.get("spec") or {})}


def _wandb(run: Path, told: Mapping[str, Any]) -> tuple[Log, Callable[[], None], dict[str, Any]]:
    wandb, (name, config) = importlib.import_module("wandb"), _about(run)
    project = os.environ.get("WANDB_PROJECT") or PROJECT
    there = wandb.init(project=project, name=name, id=name, config=config, resume="allow")
    return lambda step, values: there.log(dict(values), step=step), there.finish, {}


def _trackio(run: Path, told: Mapping[str, Any]) -> tuple[Log, Callable[[], None], dict[str, Any]]:
    trackio, (name, config) = importlib.import_module("trackio"), _about(run)
    trackio.init(project=PROJECT, name=name, config=config, resume="allow")
    return lambda step, values: trackio.log(dict(values), step=step), trackio.finish, {}


def _mlflow(run: Path, told: Mapping[str, Any]) -> tuple[Log, Callable[[], None], dict[str, Any]]:
    mlflow, (name, config) = importlib.import_module("mlflow"), _about(run)
    mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT)
    there = mlflow.start_run(run_id=told.get("run_id"), run_name=name)
    if "run_id" not in told:
        mlflow.log_params(config)
    memory = {"run_id": there.info.run_id}
    return lambda step, values: mlflow.log_metrics(dict(values), step=step), mlflow.end_run, memory


TRACKERS = {"wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}
"""Name, its package's too -> (run, what tracker-<name>.json says) -> how to log, how to finish, what to remember."""

if __name__ == "__main__":
    os.nice(10)  # after the run's own process
    follow(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
