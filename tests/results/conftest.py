"""A small lab made by hand: run directories as training writes them, prepared sources, a sweep."""

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mixlab.workspace import Workspace, append_line, write_json

BEGAN = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


@pytest.fixture(scope="session")
def golden() -> dict:
    """Reference vectors of the paired statistics."""
    path = Path(__file__).parents[3] / "shared" / "golden" / "eval_metrics" / "stats.json"
    if not path.exists():
        pytest.skip(f"reference vectors are not here: {path}")
    return json.loads(path.read_text())


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "runs" / "a lab [1]")  # a path that invites mistakes


@pytest.fixture
def make_run(ws) -> Callable[..., Path]:
    """Writes a run of `steps` steps; ended, unless state says otherwise."""

    def make(name="even", seed=0, *, weights=None, steps=3, bpb=2.5, state="finished", sweep=None, heartbeat=None):
        weights = weights or {"code": 0.5, "wiki": 0.5}
        path = ws.run_dir(name, seed, f"{abs(hash((name, seed))) % 16**8:08x}")
        path.mkdir(parents=True)
        run = {"run_id": path.name, "name": name, "seed": seed, "created_at": BEGAN + seed, "sweep": sweep}
        run |= {"mixture": {"name": name, "weights": weights}, "n_params": 1000, "flops": 1e9, "host": "h"}
        run |= {"spec": {"model": {"d_model": 64, "attn_impl": "torch"}, "sources": [{"name": "wiki", "kind": "pypi"}]}}
        write_json(path / "run.json", run)
        draws = [
            {"source": s, "weight": w, "sequences": 1, "tokens": 10, "available": 40, "epochs": 0.25, "licence": "MIT"}
            for s, w in weights.items()
        ]
        write_json(path / "plan.json", {"tokens": steps * 100, "seq_len": 8, "sequences": 2, "draws": draws})
        for step in range(1, steps + 1):
            _write_step(path, step, bpb=bpb, sources=weights, final=state == "finished" and step == steps)
        status = {"state": state if state != "finished" else "running", "step": steps, "steps": steps}
        status |= {"tokens": steps * 100, "tokens_per_s": 9.0, "pid": os.getpid(), "host": socket.gethostname()}
        status |= {"heartbeat": heartbeat or time.time(), "reason": "loss is nan" if state == "failed" else None}
        write_json(path / "status.json", status)
        if state == "finished":
            done = {"finished_at": BEGAN + 60, "steps": steps, "tokens": steps * 100, "wall_s": 59.5}
            write_json(path / "done.json", done)
        return path

    return make


def _write_step(path: Path, step: int, *, bpb=2.5, sources=("code", "wiki"), final=False) -> None:
    """What a run appends at one step."""
    at = {"step": step, "tokens": step * 100, "ts": BEGAN + step}
    append_line(path / "metrics.jsonl", {**at, "m": {"loss/train": 4.0 / step, "lr": 0.01}})
    for task in [*sources, "macro"]:
        row = {"task": f"bpb/{task}", "metric": "bpb", "value": bpb + 1 / step, "stderr": 0.01, "n": 7}
        row |= {"higher_is_better": False, "final": final, "evals_key": "e", "detail": {"nats": 9.5, "bytes": 4}}
        append_line(path / "scores.jsonl", {**at, **row})
    sample = {"prompt_id": 0, "prompt": "Once", "output": f"{step} 'times' \u2028", "temperature": 0.8, "seed": 1}
    append_line(path / "samples.jsonl", {**at, **sample})
    append_line(path / "events.jsonl", {"ts": at["ts"], "step": step, "level": "info", "kind": "eval", "text": "x"})


@pytest.fixture
def write_step() -> Callable[..., None]:
    """Appends what a run appends at one step."""
    return _write_step


@pytest.fixture
def began() -> float:
    """When the run of seed 0 was made, in unix seconds."""
    return BEGAN


@pytest.fixture
def make_source(ws) -> Callable[..., None]:
    """Writes the manifests of one prepared source."""

    def make(name="wiki", key="0a0b0c0d"):
        tokens = {"source": name, "key": key, "docs": 10, "bytes": 900, "tokens": 300, "licence": "MIT"}
        tokens |= {"language": "en", "heldout_docs": 2, "dropped": {"too_short": 3, "duplicate": 1}, "licences": {}}
        clean = {"profile": "c4", "docs_in": 14, "docs": 11, "bytes_in": 1500, "bytes": 1000}
        clean |= {"dropped": {"too_short": 3}, "lines_dropped": {"no_punctuation": 20, "too_short": 1}}
        for stage, manifest in (("tokens", tokens), ("clean", clean)):
            path = ws.artefact(stage, name, key)
            path.mkdir(parents=True)
            write_json(path / "manifest.json", manifest)

    return make
