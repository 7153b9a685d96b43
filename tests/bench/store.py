"""The store on a lab of 1,000 runs of 2,000 logged steps each (364 MB of metrics): publishing, asking, memory.

Runs as training leaves them: four metrics a step, 55 scores, 33 samples, 3 events. Each figure is one fresh process:
cold has no `mixlab.duckdb`, the next three have one from which one run, 100 runs and no run differ. The leaderboard is
asked twice in a process: the first time pandas is imported. Seconds are wall time; beside them the CPU time of the
process, which other work on the machine changes less; memory is the peak of the resident set, DuckDB's included.
"""

import json
import multiprocessing as mp
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixlab.results.listing import list_runs
from mixlab.results.store import Store, publish
from mixlab.workspace import Workspace

RUNS, STEPS = 1000, 2000
SOURCES = ("books", "code", "docs", "wiki")
REQUIRED_PUBLISH_S, REQUIRED_ASK_S = 5.0, 1.0


def rows() -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        ws = Workspace.open(Path(folder))
        for i in range(RUNS):
            write_run(ws, i)
        told = [
            _row(f"publish {RUNS:,} runs, cold", _apart(publish, ws), REQUIRED_PUBLISH_S),
            _row("publish when one run is new", _apart(publish, _touched(ws, 1)), REQUIRED_PUBLISH_S),
            _row("publish when 100 runs are new", _apart(publish, _touched(ws, 100)), REQUIRED_PUBLISH_S),
            _row("publish when nothing is new", _apart(publish, ws), REQUIRED_PUBLISH_S),
            _row("leaderboard, first in a process", _apart(_leaderboard, ws), REQUIRED_ASK_S),
            _row("leaderboard, again", _apart(_leaderboard, ws, again=True), REQUIRED_ASK_S),
            _row(
                "leaderboard while one run is live", _apart(_leaderboard, _touched(ws, 1), again=True), REQUIRED_ASK_S
            ),
            _row("`runs ls` without the index", _apart(list_runs, ws), REQUIRED_ASK_S),
        ]
        size = f"{ws.database.stat().st_size / 1e6:.0f} MB"
        return [*told, {"what": "size of mixlab.duckdb", "seconds": size, "CPU s": "", "peak MB": "", "required": ""}]


def _leaderboard(ws: Workspace) -> None:
    assert len(Store.open(ws).sql("FROM leaderboard")) == RUNS


def _apart(work: Callable[[Workspace], Any], ws: Workspace, *, again: bool = False) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of the work in a process of its own."""
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(work, ws, again, theirs))
    process.start()
    found = ours.recv()
    process.join()
    return found


def _measure(work: Callable[[Workspace], Any], ws: Workspace, again: bool, pipe: Any) -> None:
    if again:
        work(ws)
    began, cpu = time.perf_counter(), time.process_time()
    work(ws)
    took = time.perf_counter() - began, time.process_time() - cpu
    pipe.send((*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def _row(what: str, found: tuple[float, float, float], required: float) -> dict[str, str]:
    wall, cpu, peak = found
    told = {"what": what, "seconds": f"{wall:.2f}", "CPU s": f"{cpu:.2f}", "peak MB": f"{peak:.0f}"}
    return told | {"required": f"< {required:g} s"}


def _touched(ws: Workspace, runs: int) -> Workspace:
    """The lab after some of its runs changed."""
    for run in ws.runs()[:runs]:
        os.utime(run / "metrics.jsonl")
    return ws


def write_run(ws: Workspace, i: int) -> None:
    """One finished run."""
    rng = random.Random(i)
    run = ws.run_dir(f"swarm-{i}", 0, f"{i:08x}")
    run.mkdir(parents=True)
    parts = [rng.random() for _ in SOURCES]
    weights = {s: p / sum(parts) for s, p in zip(SOURCES, parts, strict=True)}
    began, end = 1.7e9 + i, {"steps": STEPS, "tokens": STEPS * 2048}
    spec: dict[str, Any] = {"model": {"d_model": 64, "n_layers": 2}, "seed": 0}
    spec["train"] = {"tokens": STEPS * 2048, "lr": 0.02, "max_epochs": 4.0}
    about_draw = {"tokens": 10**5, "available": 10**6, "epochs": 0.1, "licence": "CC0-1.0"}
    draws = [{"source": s, "weight": w, **about_draw} for s, w in weights.items()]
    about = {"run_id": run.name, "name": f"swarm-{i}", "seed": 0, "key": f"{i:08x}", "sweep": "swarm", "spec": spec}
    about |= {"mixture": {"name": f"swarm-{i}", "weights": weights}, "n_params": 229696, "created_at": began}
    about |= {"corpora": dict.fromkeys(SOURCES, "00000001"), "flops": 1e12}
    files: dict[str, Any] = {"run.json": about, "plan.json": {"tokens": STEPS * 2048, "draws": draws}}
    files["status.json"] = {"state": "finished", "step": STEPS, "heartbeat": began, **end}
    names = ["grad_norm", "loss/train", "lr", "tokens_per_s"]
    files["done.json"] = {"finished_at": began + 60, "wall_s": 60.0, "metrics": names, **end}
    off = rng.random()
    metrics = [
        {
            "loss/train": 8 / (1 + s / 100) + off,
            "lr": 0.02 * (1 - s / STEPS),
            "grad_norm": off,
            "tokens_per_s": 2e4 + s % 97,
        }
        for s in range(1, STEPS + 1)
    ]
    lines = {"metrics": [{**_at(began, s), "attempt": 1, "m": m} for s, m in enumerate(metrics, 1)]}
    points = range(0, STEPS + 1, STEPS // 10)
    score = {"metric": "bpb", "stderr": 0.01, "n": 200, "higher_is_better": False, "evals_key": "e"}
    detail = {"detail": {"nats": 9.5, "bytes": 40000, "tokens": 12000}}
    lines["scores"] = [
        {**_at(began, s), "task": f"bpb/{t}", "value": 4 - s / STEPS + off, "final": s == STEPS, **score, **detail}
        for s in points
        for t in (*SOURCES, "macro")
    ]
    sample = {"prompt": "Once upon", "output": "a time " * 10, "temperature": 0.8}
    lines["samples"] = [{**_at(began, s), "prompt_id": p, "seed": p, **sample} for s in points for p in range(3)]
    lines["events"] = [{"ts": began, "step": s, "level": "info", "kind": "x", "text": "x"} for s in range(3)]
    for name, value in files.items():
        (run / name).write_text(json.dumps(value), encoding="utf-8")
    for name, many in lines.items():
        (run / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many), encoding="utf-8")


def _at(began: float, step: int) -> dict[str, float]:
    return {"step": step, "tokens": step * 2048, "ts": began + step * 0.03}
