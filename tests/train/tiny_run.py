"""A run small enough for a test, also as a script: `python tiny_run.py OUT [seconds per step]`."""

import json
import sys
import time
from pathlib import Path

import numpy as np

from mixlab.model.mpt import MPT
from mixlab.seeds import generator
from mixlab.train.loop import train
from mixlab.types import ModelSpec, TrainSpec
from mixlab.workspace import append_line, read_lines

ROWS, SEQ_LEN, VOCAB = 4, 16, 40
SPEC = TrainSpec(
    lr=1e-2, warmup_tokens=256, batch_tokens=ROWS * SEQ_LEN, save_every_tokens=7 * ROWS * SEQ_LEN, weight_decay=0.1
)
MODEL = ModelSpec(d_model=16, n_heads=2, n_layers=1, vocab_size=VOCAB, max_seq_len=SEQ_LEN)


class FakeLoader:
    """Noisy counting: a pure function of the step."""

    def __init__(self, steps: int = 40, pause: float = 0.0, poisoned: int | None = None):
        self.steps, self.pause, self.poisoned = steps, pause, poisoned
        self.served: list[int] = []

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(self.pause)
        self.served.append(step)
        rng = generator(0, "fake", step)
        ids = (rng.integers(VOCAB, size=(ROWS, 1)) + np.arange(SEQ_LEN) * rng.integers(1, 3, size=(ROWS, 1))) % VOCAB
        return ids, np.zeros(ROWS, np.int64)

    def ledger(self, step: int) -> dict[str, int]:
        return {"count": step * ROWS * SEQ_LEN}


def evaluator(out: Path):
    """An evaluation whose number depends on the weights."""

    def evaluate(model: MPT, step: int, tokens: int, final: bool) -> None:
        value = sum(p.detach().double().abs().sum().item() for p in model.parameters())
        append_line(out / "scores.jsonl", {"step": step, "tokens": tokens, "value": value, "final": final})

    return evaluate


def run(
    out: Path, loader: FakeLoader | None = None, spec: TrainSpec = SPEC, model: ModelSpec = MODEL, **changes
) -> MPT:
    """Trains a fresh model in `out` and returns it."""
    mpt = MPT(model, seed=1)
    arguments = {"evaluate": evaluator(out), "every_tokens": 10 * ROWS * SEQ_LEN, "run_key": "abcd0123", **changes}
    train(mpt, loader or FakeLoader(), spec, out, **arguments)
    return mpt


def logged(out: Path) -> list:
    """Every logged number, wall clocks and attempts left out."""
    metrics = read_lines(out / "metrics.jsonl")
    for row in metrics:
        del row["ts"], row["attempt"], row["m"]["tokens_per_s"]
    return [*metrics, *read_lines(out / "scores.jsonl")]


def status(out: Path) -> dict:
    return json.loads((out / "status.json").read_text())


if __name__ == "__main__":
    run(Path(sys.argv[1]), FakeLoader(pause=float(sys.argv[2])))
