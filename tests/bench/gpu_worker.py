"""The trainer itself on a GPU: mixlab's loop with its logbook, guard and checkpoint, fed random tokens.

The rate is the median of what the run logged after its first 20 steps; `of peak` as in gpu_steps.
"""

# B batch, T sequence

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

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
TABLE = [("mpt-1m", V8K, 19, 400), ("mpt-1m", V8K, 256, 150), ("mpt-15m", V50K, 32, 100), ("mpt-125m", V50K, 32, 60)]


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


def worker(table: list[tuple[str, int, int, int]] | None = None) -> Iterator[dict[str, str]]:
    """One row a preset; rows of a sequence in a batch, and steps, from the table."""
    for preset, vocab, n_rows, steps in table or TABLE:
        spec = ModelSpec(**yaml.safe_load((CONF / f"{preset}.yaml").read_text()))
        yield measured(preset, replace(spec, vocab_size=vocab), n_rows, steps)


def measured(name: str, spec: ModelSpec, n_rows: int, steps: int, **changes: object) -> dict[str, str]:
    fresh()
    per_step = n_rows * spec.max_seq_len
    told = {"precision": "bf16", "compile": torch.cuda.is_available(), "batch_tokens": per_step, "lr": 1e-4}
    train_spec = replace(TrainSpec(save_every_tokens=10**12), **{**told, **changes})
    with tempfile.TemporaryDirectory() as out:
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
        "note": f"loss {metrics[0]['m']['loss/train']:.3f} to {metrics[-1]['m']['loss/train']:.3f}",
    }
