"""A tiny project: two sources of made-up text in two manners of speaking, and settings that train in a second."""

import json
import os
import random
import string
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's own 15, a worker starves beside other tests

TINY = (
    "source=[lists,prose]",
    "cleaning=none",
    "tokenizer=bytes",
    "holdout.min_docs=4",
    "model.d_model=32",
    "model.n_layers=1",
    "model.n_heads=2",
    "model.max_seq_len=32",
    "train.tokens=8192",
    "train.batch_tokens=512",
    "train.warmup_tokens=512",
    "train.save_every_tokens=2048",
    "evals.every_tokens=4096",
    "evals.live_tokens=400",
    "evals.final_tokens=800",
    "evals.sample_tokens=4",
    "evals.unprompted=0",
)
"""Overrides for a run of 16 steps of a 16 k parameter model."""


MEASURED = "COVERAGE_PROCESS_CONFIG"
"""Set where lines are counted: a process that finds it counts its own, and needs 40 % more time."""


def is_long(item: pytest.Item) -> bool:
    return bool(item.get_closest_marker("slow") or item.get_closest_marker("browser"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first, so that no worker is left alone with one of them at the end."""
    long = {i.path for i in items if is_long(i)}
    items.sort(key=lambda i: i.path not in long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """The processes that a long test starts count no lines: others run the same ones, and CI has its minutes."""
    kept = os.environ.pop(MEASURED, None) if is_long(item) else None
    try:
        return (yield)
    finally:
        if kept is not None:
            os.environ[MEASURED] = kept


def documents(kind: str, n: int) -> list[dict[str, str]]:
    """`n` documents; prose draws words from one alphabet, lists numbers them from another."""
    rng = random.Random(kind)
    letters = string.ascii_lowercase[:13] if kind == "prose" else string.ascii_lowercase[13:]
    words = ["".join(rng.choices(letters, k=rng.randint(2, 7))) for _ in range(200)]
    rows = []
    for i in range(n):
        said = [" ".join(rng.choices(words, k=rng.randint(5, 12))) for _ in range(8)]
        text = (
            ". ".join(s.capitalize() for s in said) + "."
            if kind == "prose"
            else "\n".join(f"{j}. {s}" for j, s in enumerate(said))
        )
        rows.append({"id": f"{kind}-{i}", "text": text})
    return rows


def write_source(project: Path, name: str, rows: list[dict[str, str]], **fields: object) -> None:
    (project / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    told = {"kind": "files", "paths": [f"{name}.jsonl"], "id_field": "id", "licence": "CC0-1.0", **fields}
    folder = project / "sweeps" / "source"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(f"# @package sources.{name}\n" + json.dumps(told) + "\n", encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with the sources `prose` and `lists`, its lab inside; the working directory of the test."""
    for name in ("prose", "lists"):
        write_source(tmp_path, name, documents(name, 60))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXLAB_HOME", str(tmp_path / "lab"))
    return tmp_path


def mixlab(*args: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    told = {**os.environ, **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "mixlab.cli", *args], capture_output=True, text=True, env=told, cwd=cwd, timeout=300
    )
