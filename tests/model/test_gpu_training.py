"""Training on a GPU: repeatable and resumable to the bit, bf16 within the noise of float32; with CPU siblings."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mixlab.model.mpt import MPT
from mixlab.seeds import generator
from mixlab.train.loop import train
from mixlab.train.stacked import train_stacked
from mixlab.types import ModelSpec, TrainSpec
from mixlab.workspace import read_lines

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, from its compiler
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # read by Dynamo itself
]
ROWS, SEQ_LEN, VOCAB = 8, 32, 48
MODEL = ModelSpec(d_model=32, n_heads=2, n_layers=2, vocab_size=VOCAB, max_seq_len=SEQ_LEN)
SPEC = TrainSpec(lr=1e-2, warmup_tokens=256, batch_tokens=ROWS * SEQ_LEN, save_every_tokens=8 * ROWS * SEQ_LEN)
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
FLASH = [*GPU, pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="flash-attn is not installed")]
HERE = [
    ("cpu", "sdpa", False),
    pytest.param("cuda", "torch", False, marks=GPU),
    pytest.param("cuda", "flex", False, marks=GPU),
    pytest.param("cuda", "flex", True, marks=GPU),
    pytest.param("cuda", "flash", True, marks=FLASH),
]


class Counting:
    """Rows that count up by one or two; a function of the step alone."""

    def __init__(self, stop: int | None = None):
        self.steps, self.stop = 30, stop

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        if self.stop is not None and step >= self.stop:
            raise InterruptedError
        rng = generator(0, "counting", step)
        by = rng.integers(1, 3, size=(ROWS, 1))
        return (rng.integers(VOCAB, size=(ROWS, 1)) + by * np.arange(SEQ_LEN)) % VOCAB, np.zeros(ROWS, np.int64)

    def ledger(self, step: int) -> dict[str, int]:
        return {"count": step}


def run(out: Path, device: str, impl: str, compiled: bool, stop: int | None = None, precision: str = "bf16") -> None:
    model = MPT(replace(MODEL, attn_impl=impl), seed=1)
    spec = replace(SPEC, device=device, precision=precision, compile=compiled)
    train(model, Counting(stop), spec, out, evaluate=lambda *_: None, every_tokens=10**9, run_key="abcd0123")


def losses(out: Path) -> list[float]:
    return [row["m"]["loss/train"] for row in read_lines(out / "metrics.jsonl")]


@pytest.mark.parametrize(("device", "impl", "compiled"), HERE)
def test_a_run_is_repeatable_and_resumable_to_the_bit(tmp_path, device, impl, compiled):
    whole, again, stopped = (tmp_path / name for name in ("whole", "again", "stopped"))
    run(whole, device, impl, compiled)
    run(again, device, impl, compiled)
    with pytest.raises(InterruptedError):
        run(stopped, device, impl, compiled, stop=19)
    run(stopped, device, impl, compiled)
    for other in (again, stopped):
        assert losses(other) == losses(whole)
        for name in ("model", "optimizer"):
            file = f"checkpoint/{name}.safetensors"
            assert (other / file).read_bytes() == (whole / file).read_bytes(), (other.name, name)


@pytest.mark.parametrize(("device", "impl", "compiled"), HERE)
def test_bf16_learns_as_float32_does(tmp_path, device, impl, compiled):
    run(tmp_path / "bf16", device, impl, compiled)
    run(tmp_path / "fp32", device, "torch", False, precision="fp32")
    bf16, fp32 = (np.array(losses(tmp_path / name)) for name in ("bf16", "fp32"))
    assert fp32[-1] < fp32[0] - 1
    spread = np.abs(np.diff(fp32[-10:])).mean()  # from one batch to the next: the noise of the curve itself
    assert np.abs(bf16 - fp32).max() < spread + 0.02


@pytest.mark.parametrize(("device", "impl", "compiled"), HERE)
def test_a_stacked_run_is_the_run_alone(tmp_path, device, impl, compiled):
    precision = "fp32" if impl in ("sdpa", "torch") else "bf16"
    run(tmp_path / "alone", device, impl, compiled, precision=precision)
    spec = replace(SPEC, device=device, precision=precision, compile=compiled)
    told = train_stacked(
        [MPT(replace(MODEL, attn_impl=impl), seed=s) for s in (0, 1)],
        [Counting(), Counting()],
        spec,
        [tmp_path / "other", tmp_path / "same"],
        evaluate=[lambda *_: None] * 2,
        every_tokens=10**9,
        run_keys=["abcd0123"] * 2,
    )
    assert told == [None, None]
    ours, theirs = (np.array(losses(tmp_path / name)) for name in ("same", "alone"))
    assert np.abs(ours - theirs).max() < (1e-3 if precision == "fp32" else 0.1)
