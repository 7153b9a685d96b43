"""A lab made of small files in the shapes that runs and prepared sources leave: four sources, five runs."""

import json
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "app.py"
SOURCES = {
    "books": ("CC0-1.0", 400_000),
    "code": ("PSF-2.0", 2_000_000),
    "docs": ("Apache-2.0", 900_000),
    "wiki": ("", 50_000),
}
"""Source -> licence, training tokens."""
STEPS = (0, 40, 80, 120, 160, 200)
TOKENS = 450_000
BEGAN = 1_790_000_000.0
PROMPTS = ("Once upon", "def f(")
HOSTILE = "<script>alert(1)</script> ![x](http://127.0.0.1:9/x.png) {{7*7}} \x1b[31mred\x1b[0m \u202eabc **bold**"
VERDICT = {
    "mixture": {"name": "recommended", "weights": {"books": 0.3, "code": 0.3, "docs": 0.3, "wiki": 0.1}},
    "sentences": ["Train on 30 % books, 30 % code, 30 % docs, 10 % wiki."],
    "realised": {"words": "The gain over natural is 0.05 ± 0.01."},
}


def make_lab(root: Path) -> None:
    """Writes the lab below `root`: three finished runs (two seeds of one mix), one live, one failed, and a verdict."""
    write_sources(root)
    uniform = dict.fromkeys(SOURCES, 0.25)
    natural = {s: t / sum(t for _, t in SOURCES.values()) for s, (_, t) in SOURCES.items()}
    codeish = {"books": 0.1, "code": 0.7, "docs": 0.1, "wiki": 0.1}
    _run(root, "natural", 0, "aaaa0001", natural, "finished")
    _run(root, "uniform", 0, "aaaa0002", uniform, "finished", samples=True)
    _run(root, "uniform", 1, "aaaa0003", uniform, "finished")
    _run(root, "code-x2", 0, "aaaa0004", codeish, "running", upto=120)
    _run(root, "broken", 0, "aaaa0005", codeish, "failed", upto=40)
    _json(root / "verdict.json", VERDICT)


def make_demo(root: Path) -> None:
    """Writes a lab like the one that the demo leaves: twelve mixes and three seeds of the recommended and natural one.

    Everything is finished, and bits per byte fall smoothly with the weights, so that a fit has something to find.
    """
    write_sources(root)
    natural = {s: t / sum(t for _, t in SOURCES.values()) for s, (_, t) in SOURCES.items()}
    _run(root, "demo-natural", 0, "bbbb0000", natural, "finished", samples=True)
    for i in range(1, 12):
        drawn = np.random.default_rng(i).dirichlet([1.0] * len(SOURCES)).round(3)
        drawn[-1] = 1 - drawn[:-1].sum()
        mix = dict(zip(SOURCES, drawn.tolist(), strict=True))
        _run(root, f"demo-d{i:02d}", 0, f"bbbb{i:04x}", mix, "finished")
    for seed in (1, 2):
        _run(root, "demo-natural", seed, f"cccc{seed:04x}", natural, "finished")
    for seed in (0, 1, 2):
        _run(root, "demo-recommended", seed, f"dddd{seed:04x}", VERDICT["mixture"]["weights"], "finished")
    _json(root / "verdict.json", VERDICT)


def write_sources(root: Path) -> None:
    for name, (licence, tokens) in SOURCES.items():
        _source(root, name, licence, tokens)


def _source(root: Path, name: str, licence: str, tokens: int) -> None:
    path = root / "tokens" / f"{name}-00000001"
    path.mkdir(parents=True)
    told = {"source": name, "key": "00000001", "path": str(path), "docs": tokens // 100, "bytes": tokens * 4}
    held = {"heldout_docs": 20, "heldout_tokens": 2000, "heldout_bytes": 8000, "tokens": tokens, "vocab_size": 2048}
    terms = {"licence": licence, "language": "en", "licences": {licence: tokens}, "dropped": {"too short": 3}}
    file = {"dtype": "uint16", "end_of_text_id": 0, "sha256": {}, "name": path.name, "built_s": 0.1}
    _json(path / "manifest.json", told | held | terms | file)


def _run(
    root: Path, name: str, seed: int, key: str, weights: Mapping[str, float], state: str, upto=200, samples=False
) -> None:
    path = root / "runs" / f"{name}-s{seed}-{key}"
    path.mkdir(parents=True)
    told = {"run_id": path.name, "name": name, "seed": seed, "key": key, "sweep": "starter", "created_at": BEGAN}
    train = {"tokens": TOKENS, "lr": 0.008, "max_epochs": 4.0}
    spec = {"name": name, "seed": seed, "model": {"d_model": 64}, "train": train}
    sizes = {"n_params": 230_000, "n_params_nonembed": 99_000, "flops": 1e12, "threads": 1, "device": "cpu"}
    about = {"corpora": dict.fromkeys(SOURCES, "00000001"), "mixture": {"name": name, "weights": weights}, "spec": spec}
    _json(path / "run.json", told | sizes | about | {"host": "h", "git_sha": "0", "versions": {}, "attn_impl": "torch"})
    draws = [_draw(source, weight) for source, weight in weights.items()]
    _json(path / "plan.json", {"tokens": TOKENS, "seq_len": 128, "sequences": 3515, "draws": draws})
    at = {"state": state, "step": upto, "steps": STEPS[-1], "tokens": TOKENS * upto // STEPS[-1], "tokens_per_s": 3e4}
    beat = {"heartbeat": time.time() + 86_400 if state == "running" else BEGAN}  # a live run stays live for the tests
    reason = {"reason": "loss is not finite"} if state == "failed" else {}
    _json(path / "status.json", at | beat | {"pid": os.getpid(), "host": socket.gethostname()} | reason)
    _lines(path / "metrics.jsonl", [_metric(step) for step in range(0, upto + 1, 5)])
    _lines(path / "scores.jsonl", [row for s in STEPS if s <= upto for row in _scores(s, seed, weights)])
    _lines(path / "samples.jsonl", [_sample(s, i, p) for s in (0, 200) for i, p in enumerate(PROMPTS) if samples])
    _lines(path / "events.jsonl", [])
    if state == "finished":
        _json(path / "done.json", {"finished_at": BEGAN + 15, "steps": 200, "tokens": TOKENS, "wall_s": 15.0})


def _draw(source: str, weight: float) -> dict:
    licence, available = SOURCES[source]
    drawn = int(TOKENS * weight)
    sizes = {"sequences": drawn // 128, "tokens": drawn, "available": available, "epochs": drawn / available}
    return {"source": source, "weight": weight, "licence": licence, **sizes}


def _metric(step: int) -> dict:
    m = {"loss/train": 7.6 * math.exp(-step / 90) + 3, "lr": 0.008, "grad_norm": 1.0, "tokens_per_s": 3e4}
    return {"step": step, "tokens": step * TOKENS // STEPS[-1], "ts": BEGAN + step, "m": m}


def _scores(step: int, seed: int, weights: Mapping[str, float]) -> list[dict]:
    noise = np.random.default_rng([step, seed]).normal(0, 0.002, len(weights))
    values = {
        s: 2 + 0.2 * i + 3 * math.exp(-step / 60) - 0.5 * w + noise[i] for i, (s, w) in enumerate(weights.items())
    }
    values["macro"] = np.mean([*values.values()])
    at = {"step": step, "tokens": step * TOKENS // STEPS[-1], "ts": BEGAN + step, "final": step == STEPS[-1]}
    kind = {"metric": "bpb", "stderr": 0.01, "n": 20, "higher_is_better": False, "evals_key": "00000000"}
    detail = {"detail": {"nats": 1.0, "bytes": 1, "tokens": 1, "docs": 20}}
    return [{**at, **kind, **detail, "task": f"bpb/{domain}", "value": float(v)} for domain, v in values.items()]


def _sample(step: int, prompt_id: int, prompt: str) -> dict:
    told = {"step": step, "tokens": step * TOKENS // STEPS[-1], "ts": BEGAN, "prompt_id": prompt_id, "prompt": prompt}
    return told | {"output": f"at step {step}: {HOSTILE}", "temperature": 0.8, "seed": 0}


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def _lines(path: Path, rows: Iterable[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
