"""K runs of one shape stacked into one program (mixlab's train/stacked.py), against one after another (train/loop.py).

Both with their logbooks and as CUDA graphs, fed random tokens. d256, 2 layers, vocabulary 8,192 (mpt-1m). `tokens/s` is
over all members: the median of what the first one logged after its first 20 steps, times K.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from mixlab.mix.budget import flops
from mixlab.model.mpt import MPT
from mixlab.train.stacked import train_stacked
from mixlab.types import ModelSpec, TrainSpec
from mixlab.workspace import read_lines
from tests.bench import gpu_worker
from tests.bench.gpu_kernels import PEAK, fresh, need_gpu

SPEC = ModelSpec(d_model=256, n_layers=2, n_heads=4, vocab_size=8192, max_seq_len=1024, attn_impl="auto")
TABLE = [(1, 4), (4, 4), (16, 4), (1, 19), (4, 19), (16, 19)]  # members, rows of each
STEPS = 150


def rows() -> list[dict[str, str]]:
    need_gpu()
    return list(stacked())


def stacked(spec: ModelSpec = SPEC, table: list[tuple[int, int]] | None = None, steps: int = STEPS) -> Iterator[dict]:
    for members, n_rows in table or TABLE:
        if members == 1:  # a member in turn costs what one alone costs
            yield gpu_worker.measured("1 in turn", spec, n_rows, steps)
        yield measured(spec, members, n_rows, steps)


def measured(spec: ModelSpec, members: int, n_rows: int, steps: int) -> dict[str, str]:
    fresh()
    began, per_step = time.monotonic(), n_rows * spec.max_seq_len
    told = {"precision": "bf16", "compile": torch.cuda.is_available(), "batch_tokens": per_step, "lr": 1e-4}
    with tempfile.TemporaryDirectory() as out:
        outs = [Path(out) / str(k) for k in range(members)]
        train_stacked(
            [MPT(spec, seed=k) for k in range(members)],
            [gpu_worker.RandomTokens(spec, n_rows, steps)] * members,
            replace(TrainSpec(save_every_tokens=10**12), **told),
            outs,
            evaluate=[lambda *_: None] * members,
            every_tokens=10**12,
            run_keys=["0" * 8] * members,
        )
        lines = read_lines(outs[0] / "metrics.jsonl")
    rates = [row["m"]["tokens_per_s"] for row in lines if row["step"] > min(gpu_worker.WARM_UP, steps // 2)]
    rate = members * statistics.median(rates)
    return {
        "what": f"{members} stacked V{spec.vocab_size}, {n_rows}x{spec.max_seq_len} each",
        "variant": f"the stacked trainer, {spec.attn_impl}",
        "ms": f"{1e3 * members * per_step / rate:.2f}",
        "tokens/s": f"{rate / 1e6:.3f} M",
        "of peak": f"{rate * flops(spec, 1).total / PEAK:.1%}",
        "note": f"whole {time.monotonic() - began:.1f} s, loss {lines[-1]['m']['loss/train']:.3f}",
    }
