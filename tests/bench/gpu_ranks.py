"""One run on one GPU and on two: tokens a second of the trainer, each process on a GPU of its own.

`python -m tests.bench.gpu_ranks`, on a machine with two GPUs; it starts torchrun for each row.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from mixlab.model.mpt import MPT
from mixlab.train.loop import train
from mixlab.types import ModelSpec, TrainSpec
from mixlab.workspace import read_lines
from tests.bench.gpu_steps import CONF, V8K, V50K
from tests.bench.gpu_worker import RandomTokens

TABLE = [  # preset, vocabulary, rows of a batch, steps, rows of a pass
    ("mpt-125m", V50K, 136, 20, 34),
    ("mpt-4m", V8K, 128, 100, 128),
]


class Sliced(RandomTokens):
    """Gives each rank its rows."""

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> tuple[np.ndarray, np.ndarray]:
        ids_BT, sources = super().batch(step)
        at = slice(len(ids_BT) * rank // ranks, len(ids_BT) * (rank + 1) // ranks)
        return ids_BT[at], sources[at]


def trained(row: int, out: Path) -> None:
    """One process of a row's run."""
    preset, vocab, n_rows, steps, part = TABLE[row]
    model = replace(ModelSpec(**yaml.safe_load((CONF / f"{preset}.yaml").read_text())), vocab_size=vocab)
    spec = TrainSpec(
        precision="bf16",
        compile=True,
        batch_tokens=n_rows * model.max_seq_len,
        micro_batch_tokens=part * model.max_seq_len,
        lr=1e-4,
        save_every_tokens=10**12,
    )
    loader = Sliced(model, n_rows, steps)
    train(MPT(model, seed=0), loader, spec, out, evaluate=lambda *_: None, every_tokens=10**12, run_key="0" * 8)


def rate(row: int, ranks: int) -> tuple[float, float]:
    """Tokens a second over all ranks (median of the second half of the log), and the last loss."""
    with tempfile.TemporaryDirectory() as out:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        env = {**os.environ, "OMP_NUM_THREADS": "4"}
        subprocess.run([*torchrun, "-m", "tests.bench.gpu_ranks", str(row), out], env=env, check=True)
        told = read_lines(Path(out) / "metrics.jsonl")
    late = [line["m"]["tokens_per_s"] for line in told[len(told) // 2 :]]
    return statistics.median(late), told[-1]["m"]["loss/train"]


def main() -> None:
    for row, (preset, vocab, n_rows, _, part) in enumerate(TABLE):
        (one, loss), (two, loss2) = rate(row, 1), rate(row, 2)
        told = f"{preset} V{vocab}, {n_rows} rows in passes of {part}"
        print(f"{told} | {one / 1e6:.3f} M | {two / 1e6:.3f} M | {two / one:.2f} x | loss {loss:.4f}, {loss2:.4f}")


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else trained(int(sys.argv[1]), Path(sys.argv[2]))
