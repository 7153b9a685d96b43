"""The trainer itself on a GPU: mixlab's loop with its logbook, guard and checkpoint, fed random tokens.

The rate is the median of what the run logged after its first 20 steps; `of peak` as in gpu_steps. `busy`: time inside
the step's CUDA graph, by the device's own clock, of the time from the 20th step to the last. The last row is RegMix's
proxy with a vocabulary of 8,192: 1.05 B tokens.
"""

# B batch, T sequence

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from mixlab.mix.budget import flops
from mixlab.model.mpt import MPT
from mixlab.train.loop import train
from mixlab.types import ModelSpec, TrainSpec
from mixlab.workspace import read_lines
from tests.bench.gpu_kernels import PEAK, fresh, need_gpu
from tests.bench.gpu_steps import CONF, V8K, V50K

WARM_UP = 20  # steps, compiling included
TABLE = [  # preset, vocabulary, rows of a batch, steps, rows of a pass (None: all)
    ("mpt-1m", V8K, 19, 400, None),
    ("mpt-1m", V8K, 256, 100, None),
    ("mpt-4m", V8K, 40, 300, None),
    ("mpt-15m", V50K, 41, 60, None),
    ("mpt-60m", V50K, 36, 30, None),
    ("mpt-125m", V50K, 136, 20, 34),
    ("mpt-125m", V50K, 136, 20, 17),
    ("mpt-350m", V50K, 32, 14, None),
    ("mpt-1m", V8K, 256, 4006, None),
]


class RandomTokens:
    """Sixteen batches made before, again and again."""

    def __init__(self, spec: ModelSpec, n_rows: int, steps: int):
        self.steps = steps
        rng = np.random.default_rng(0)
        self.kept = [rng.integers(spec.vocab_size, size=(n_rows, spec.max_seq_len)) for _ in range(16)]

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        ids_BT = self.kept[step % len(self.kept)]
        return ids_BT, np.zeros(len(ids_BT), np.int64)

    def ledger(self, step: int) -> dict[str, int]:
        return {"step": step}


def rows() -> list[dict[str, str]]:
    need_gpu()
    return list(worker())


def worker(table: list[tuple[str, int, int, int, int | None]] | None = None) -> Iterator[dict[str, str]]:
    """One row for each of the table."""
    for preset, vocab, n_rows, steps, part in table or TABLE:
        spec = replace(ModelSpec(**yaml.safe_load((CONF / f"{preset}.yaml").read_text())), vocab_size=vocab)
        passes = {} if part is None else {"micro_batch_tokens": part * spec.max_seq_len}
        yield measured(preset, spec, n_rows, steps, **passes)


def measured(name: str, spec: ModelSpec, n_rows: int, steps: int, **changes: object) -> dict[str, str]:
    fresh()
    began = time.monotonic()
    per_step = n_rows * spec.max_seq_len
    told = {"precision": "bf16", "compile": torch.cuda.is_available(), "batch_tokens": per_step, "lr": 1e-4}
    train_spec = replace(TrainSpec(save_every_tokens=10**12), **{**told, **changes})
    with tempfile.TemporaryDirectory() as out, replays() as marks:
        model, loader = MPT(spec, seed=0), RandomTokens(spec, n_rows, steps)
        train(model, loader, train_spec, Path(out), evaluate=lambda *_: None, every_tokens=10**12, run_key="0" * 8)
        metrics = read_lines(Path(out) / "metrics.jsonl")
    rates = [row["m"]["tokens_per_s"] for row in metrics if row["step"] > min(WARM_UP, steps // 2)]
    rate = statistics.median(rates)
    return {
        "what": f"{name} V{spec.vocab_size}, {n_rows}x{spec.max_seq_len}",
        "variant": f"the trainer, {spec.attn_impl}",
        "ms": f"{1e3 * per_step / rate:.2f}",
        "tokens/s": f"{rate / 1e6:.3f} M",
        "of peak": f"{rate * flops(spec, 1).total / PEAK:.1%}",
        "note": f"loss {metrics[0]['m']['loss/train']:.3f} to {metrics[-1]['m']['loss/train']:.3f}{busy(marks)}, "
        f"whole {time.monotonic() - began:.1f} s",
    }


@contextmanager
def replays() -> Iterator[list[tuple[Any, Any]]]:
    """A mark before and one after each CUDA graph that runs meanwhile."""
    marks: list[tuple[Any, Any]] = []
    replay = torch.cuda.CUDAGraph.replay

    def marked(graph: torch.cuda.CUDAGraph) -> None:
        marks.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
        marks[-1][0].record()
        replay(graph)
        marks[-1][1].record()

    torch.cuda.CUDAGraph.replay = marked
    try:
        yield marks
    finally:
        torch.cuda.CUDAGraph.replay = replay


def busy(marks: list[tuple[Any, Any]]) -> str:
    """How long a graph takes, and its share of the time after the warm-up; nothing without graphs."""
    if len(marks) <= WARM_UP + 1:
        return ""
    torch.cuda.synchronize()
    late = marks[WARM_UP:]
    inside = sum(a.elapsed_time(b) for a, b in late[:-1])
    return f", graph {inside / (len(late) - 1):.2f} ms, {inside / late[0][0].elapsed_time(late[-1][0]):.1%} busy"
