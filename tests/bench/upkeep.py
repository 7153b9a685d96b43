"""What a run costs beside its steps: live and final evaluation, going on from a checkpoint, the logbook, memory.

One process, one thread, fp32; seconds are CPU seconds, so other work on the machine changes them little. Evaluation:
the demo's model (2 layers, width 64, 2,048 words, sequences of 128, 2,048 tokens a step) on four made-up sources, with
the settings of `evals: live`: every 100 thousand tokens bits per byte of 768 held-out tokens a source and three
prompts answered twice. The final one comes after training: 16,384 tokens a source, windows of 1 to 8 times the length,
64 samples of 64 tokens. Memory: peak of a process that trains three steps, torch and its imports included.
"""

import functools
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from mixlab import lengths
from mixlab.eval import evaluate, samples
from mixlab.eval.evaluate import Chosen
from mixlab.model.generate import generate
from mixlab.model.mpt import MPT, token_logprobs
from mixlab.train.logbook import Logbook
from mixlab.train.loop import train
from mixlab.types import EvalSpec, TrainSpec
from tests.bench.training import SHAPES, Ids

SPEC, BATCH, _ = SHAPES["0.2 M"]
TRAIN = TrainSpec(batch_tokens=BATCH, lr=1e-3, warmup_tokens=0, save_every_tokens=10**12)
EVALS = EvalSpec(prompts=("def main():\n    ", "And it came to pass", "The capital of France is"))
SOURCES = ("books", "code", "docs", "wiki")


class Words:
    """A codec whose tokens are made of characters: sampling needs one."""

    end_of_text_id = 0

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        return [np.array([1 + ord(c) % 2_000 for c in text], np.int64) for text in texts]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


def rows() -> list[dict[str, str]]:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    step = min(_step_seconds() for _ in range(3))
    held = {name: _documents(seed) for seed, name in enumerate(SOURCES)}
    model = MPT(SPEC)
    live = min(_timed(lambda: _live(model, held)) for _ in range(3))
    final = {name: min(_timed(part) for _ in range(2)) for name, part in _final(model, held).items()}
    between = EVALS.every_tokens / BATCH * step
    told = [
        (
            "live evaluation, each, of 100 thousand tokens of training",
            f"{live:.3f} s of {between:.2f} s: {live / between:.1%}",
            "3 %",
        )
    ]
    told += [
        (f"final evaluation: {name}", f"{seconds:.2f} s, as {seconds / step:.0f} steps", "after training, not counted")
        for name, seconds in final.items()
    ]
    told += [
        (f"resume at step {at}, to its first batch", f"{_resume(at):.2f} s", "2 s, at any step") for at in (10, 60)
    ]
    book = _logbook()
    told.append(("logbook, a step", f"{book * 1e6:.0f} us: {book / step:.2%}", "1 %"))
    for name in SHAPES:
        told.append((f"peak memory, {name}", f"{_memory(name):,} MB", "stated"))
    return [{"what": what, "found": found, "required": required} for what, found, required in told]


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _documents(seed: int) -> Chosen:
    """Sixty documents of 20 to 2,000 tokens."""
    rng = np.random.default_rng(seed)
    tokens = [rng.integers(1, SPEC.vocab_size, n) for n in rng.integers(20, 2_000, 60)]
    return Chosen([f"{seed}-{i}" for i in range(60)], ["x" * 3 * len(t) for t in tokens], tokens)


def _live(model: MPT, held: dict[str, Chosen]) -> None:
    some = {name: evaluate.take(docs, EVALS.live_tokens) for name, docs in held.items()}
    _bpb(model, some)
    write = functools.partial(generate, model, stop_id=0)
    samples.sample(write, Words(), EVALS.prompts, EVALS, 0, functools.partial(token_logprobs, model))


def _bpb(model: MPT, held: dict[str, Chosen]) -> None:
    evaluate.summarise(evaluate.document_scores(functools.partial(token_logprobs, model), held, 0, SPEC.max_seq_len))


def _final(model: MPT, held: dict[str, Chosen]) -> dict[str, Callable[[], object]]:
    many = {name: evaluate.take(docs, EVALS.final_tokens) for name, docs in held.items()}
    write = functools.partial(generate, model, stop_id=0)
    logprobs = functools.partial(token_logprobs, model)
    return {
        "bits per byte": lambda: _bpb(model, many),
        "1 to 8 times the length": lambda: lengths.length_scores(model, held, 0),
        "64 samples from nothing": lambda: samples.answers(
            write, Words(), [""] * 64, [1.0] * 64, list(range(64)), 64, logprobs
        ),
    }


class Timed(Ids):
    """Stops after some steps if asked to; takes the time of each batch."""

    def __init__(self, steps: int, stop_at: int | None = None):
        super().__init__(SPEC, BATCH, steps)
        self.stop_at, self.stamps = stop_at, list[float]()

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        self.stamps.append(time.process_time())
        if step == self.stop_at:
            raise KeyboardInterrupt
        return super().batch(step)


def _train(out: Path, loader: Ids, spec: TrainSpec = TRAIN) -> None:
    train(MPT(SPEC), loader, spec, out, evaluate=lambda *_: None, every_tokens=10**12, run_key="x")


def _step_seconds() -> float:
    loader = Timed(8)
    with tempfile.TemporaryDirectory() as out:
        _train(Path(out), loader)
    return float(np.median(np.diff(loader.stamps[1:])))


def _resume(at: int) -> float:
    """CPU seconds from the call of `train` to the first batch, with a checkpoint of step `at` there."""
    spec = TrainSpec(batch_tokens=BATCH, lr=1e-3, warmup_tokens=0, save_every_tokens=at * BATCH)
    with tempfile.TemporaryDirectory() as out:
        with suppress(KeyboardInterrupt):
            _train(Path(out), Timed(at + 5, stop_at=at), spec)
        loader = Timed(at + 5)
        began = time.process_time()
        _train(Path(out), loader, spec)
        return loader.stamps[0] - began


def _logbook() -> float:
    """Seconds a step, over 2,000 steps with a heartbeat as usual."""
    with tempfile.TemporaryDirectory() as out, Logbook(Path(out), steps=2_000, tokens_per_step=BATCH) as book:
        return _timed(lambda: [book.record(5.0, 1e-3, 1.0, 0.1) for _ in range(2_000)]) / 2_000


def _memory(name: str) -> int:
    """MB, in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.upkeep", name], capture_output=True, text=True, check=True
    )
    return int(told.stdout)


if __name__ == "__main__":
    spec, batch, _ = SHAPES[sys.argv[1]]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSpec(batch_tokens=batch, lr=1e-3, warmup_tokens=0, save_every_tokens=10**12)
        ids = Ids(spec, batch, 3)
        train(MPT(spec), ids, settings, Path(folder), evaluate=lambda *_: None, every_tokens=10**12, run_key="x")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
