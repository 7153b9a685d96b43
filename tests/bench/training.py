"""Training tokens per second of mixlab's MPT and trainer against transformers' `MptForCausalLM` (requirements.txt) and
`torch.optim.AdamW`: each in a process of its own, as a user runs it, one thread, fp32, the same shape, ids and batch,
alternating in rounds, medians. Both sides do forward, backward, clipping and the optimizer's step; ours also its guard
and logbook. Seconds are CPU seconds of the one thread, which other work on the machine changes little. `share of
sgemm`: of the FLOP/s that a 512-cube float32 product reached in the same run, by the model's own FLOPs (causal half of
the attention). Where the CPU multiplies bf16 in tiles (AMX) also `train.precision=bf16`, against the peer in fp32 and
in bf16 autocast.
"""

import itertools
import logging
import multiprocessing as mp
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mixlab.mix import budget
from mixlab.model.mpt import MPT
from mixlab.train.loop import train
from mixlab.types import ModelSpec, TrainSpec

SHAPES = {
    "0.2 M": (
        ModelSpec(d_model=64, n_heads=4, n_layers=2, vocab_size=2048, max_seq_len=128, attn_impl="auto"),
        2048,
        5,
    ),
    "1 M": (ModelSpec(d_model=128, n_heads=4, n_layers=4, vocab_size=2048, max_seq_len=256, attn_impl="auto"), 2048, 3),
    "10 M": (
        ModelSpec(d_model=320, n_heads=5, n_layers=6, vocab_size=8192, max_seq_len=256, attn_impl="auto"),
        1024,
        2,
    ),
}  # (model, tokens a step, steps a round)
ROUNDS = 3
Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


class Ids:
    """Random ids; as many steps as asked for."""

    def __init__(self, spec: ModelSpec, batch_tokens: int, steps: int):
        self.steps = steps
        rng = np.random.default_rng(0)
        self.ids_BT = rng.integers(spec.vocab_size, size=(batch_tokens // spec.max_seq_len, spec.max_seq_len))

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        return self.ids_BT, np.zeros(len(self.ids_BT), np.int64)

    def ledger(self, step: int) -> dict[str, int]:
        return {}


def rows() -> list[dict[str, str]]:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    gemm = max(_gemm() for _ in range(5))
    told = [_row(name, *shape, gemm) for name, shape in SHAPES.items()]
    if torch.cpu.get_capabilities().get("amx_bf16"):
        for name, peers in itertools.product(("1 M", "10 M"), PRECISIONS):
            told.append(_row(f"{name}, bf16 against {peers}", *SHAPES[name], gemm, "bf16", peers))
    return told


def _row(
    name: str,
    spec: ModelSpec,
    batch_tokens: int,
    steps: int,
    gemm: float,
    precision: Precision = "fp32",
    peers: Precision = "fp32",
) -> dict[str, str]:
    ours_s, theirs_s = [], []
    with _theirs(spec, batch_tokens, steps, peers) as peer_s:
        for _ in range(ROUNDS):
            ours_s.append(_ours(spec, batch_tokens, steps, precision))
            theirs_s.append(peer_s())
    ours, peer = (batch_tokens / statistics.median(s) for s in (ours_s, theirs_s))
    share = ours * budget.flops(spec, 1).total / gemm
    return {
        "model": name,
        "parameters": f"{budget.params(spec).total:,}",
        "mixlab tokens/s": f"{ours:,.0f}",
        "transformers tokens/s": f"{peer:,.0f}",
        "ratio": f"{ours / peer:.2f}",
        "share of sgemm": f"{share:.0%} of {gemm / 1e9:.0f} GFLOP/s",
    }


def _ours(spec: ModelSpec, batch_tokens: int, steps: int, precision: Precision) -> float:
    """Seconds a step of the real loop, its first step and everything around it left out: two lengths, subtracted."""
    told = TrainSpec(batch_tokens=batch_tokens, lr=1e-3, warmup_tokens=0, save_every_tokens=10**12, precision=precision)
    stamps: list[float] = []

    class Timed(Ids):
        def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
            stamps.append(time.process_time())
            return super().batch(step)

    loader, never = Timed(spec, batch_tokens, steps + 2), 10**12
    with tempfile.TemporaryDirectory() as out:
        train(MPT(spec), loader, told, Path(out), evaluate=lambda *_: None, every_tokens=never, run_key="x")
    return (stamps[-1] - stamps[-1 - steps]) / steps


@contextmanager
def _theirs(spec: ModelSpec, batch_tokens: int, steps: int, precision: Precision) -> Iterator[Callable[[], float]]:
    """A function that gives the peer's seconds a step, over `steps` steps; its process lives as long as the block."""
    context = mp.get_context("spawn")
    pipe, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, spec, batch_tokens, steps, precision), daemon=True)
    process.start()

    def seconds() -> float:
        pipe.send(True)
        return pipe.recv()

    yield seconds
    pipe.send(False)
    process.join()


def _serve(pipe: Connection, spec: ModelSpec, batch_tokens: int, steps: int, precision: Precision) -> None:
    torch.set_num_threads(1)
    step = _peer(spec, batch_tokens, precision)
    step()
    while pipe.recv():
        began = time.process_time()
        for _ in range(steps):
            step()
        pipe.send((time.process_time() - began) / steps)


def _peer(spec: ModelSpec, batch_tokens: int, precision: Precision) -> Callable[[], None]:
    """One step of transformers and torch."""
    from transformers import MptConfig, MptForCausalLM

    config = MptConfig(
        d_model=spec.d_model,
        n_heads=spec.n_heads,
        n_layers=spec.n_layers,
        vocab_size=spec.vocab_size,
        max_seq_len=spec.max_seq_len,
        use_cache=False,
    )
    model = MptForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    ids_BT = torch.from_numpy(Ids(spec, batch_tokens, 1).ids_BT)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(ids_BT, labels=ids_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return step


def _gemm() -> float:
    """FLOP/s of a float32 product of two 512 x 512 matrices."""
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    torch.mm(a, b)
    began = time.process_time()
    for _ in range(20):
        torch.mm(a, b)
    return 20 * 2 * 512**3 / (time.process_time() - began)
