"""Two processes of torchrun train as one; averaged weights; compiled blocks."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import MODEL, ROWS, SPEC, FakeLoader, logged, run

from mixlab.errors import ConfigError
from mixlab.model.mpt import MPT
from mixlab.train.checkpoint import load_weights
from mixlab.workspace import read_lines

torch.set_num_threads(1)
STEPS = 12


class Sliced(FakeLoader):
    """Gives each rank its rows, as the real loader does."""

    def batch(self, step, rank=0, ranks=1):
        ids, source = super().batch(step)
        at = slice(ROWS * rank // ranks, ROWS * (rank + 1) // ranks)
        return ids[at], source[at]


def launch(out, ranks, device):
    """This file as a script, by torchrun."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={ranks}",
        __file__,
        out,
        device,
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True, timeout=240)


TWO_GPUS = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from its compiler
@pytest.mark.parametrize(("device", "close"), [("cpu", 1e-6), pytest.param("cuda", 1e-5, marks=TWO_GPUS)])
def test_two_ranks_equal_one(tmp_path, device, close):
    run(tmp_path / "one", Sliced(STEPS), replace(SPEC, device=device))
    done = launch(tmp_path / "two", 2, device)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("model", "optimizer"):
        one, two = (load_file(tmp_path / d / "checkpoint" / f"{name}.safetensors") for d in ("one", "two"))
        assert one.keys() == two.keys()
        assert max((one[k] - two[k]).abs().max().item() for k in one) < close
    one, two = (read_lines(tmp_path / d / "metrics.jsonl") for d in ("one", "two"))
    assert [r["step"] for r in one] == [r["step"] for r in two]  # one writer
    assert all(abs(a["m"]["loss/train"] - b["m"]["loss/train"]) < close for a, b in zip(one, two, strict=True))


def test_more_ranks_than_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ConfigError, match="5 processes, but a batch has 4 sequences"):
        run(tmp_path, Sliced(STEPS), SPEC)


def test_averaged_weights_are_what_is_judged_and_they_resume_exactly(tmp_path):
    spec, seen = replace(SPEC, ema=0.9), []

    def evaluate(model, step, tokens, final):
        seen.append(model.transformer.norm_f.weight.detach().to("cpu", copy=True))

    raw = run(tmp_path / "a", FakeLoader(STEPS), spec, evaluate=evaluate)
    judged = MPT(MODEL)
    load_weights(tmp_path / "a", judged)
    assert torch.equal(judged.transformer.norm_f.weight, seen[-1])
    assert not torch.equal(seen[-1], raw.transformer.norm_f.weight.cpu())
    plain = run(tmp_path / "b", FakeLoader(STEPS), SPEC)
    assert torch.equal(plain.transformer.norm_f.weight, raw.transformer.norm_f.weight)  # training itself is the same

    class Cut(FakeLoader):
        def batch(self, step):
            if step == 9:
                raise KeyboardInterrupt
            return super().batch(step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", Cut(STEPS), spec)
    run(tmp_path / "c", FakeLoader(STEPS), spec)
    file = "checkpoint/average.safetensors"
    assert (tmp_path / "c" / file).read_bytes() == (tmp_path / "a" / file).read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what torch warns of when its compiler is imported
def test_compiled_blocks_train_the_same_model(tmp_path):
    run(tmp_path / "plain", FakeLoader(4), SPEC)
    run(tmp_path / "compiled", FakeLoader(4), replace(SPEC, compile=True))
    for a, b in zip(logged(tmp_path / "plain"), logged(tmp_path / "compiled"), strict=True):
        if "m" in a:
            assert a["m"]["loss/train"] == pytest.approx(b["m"]["loss/train"], abs=1e-4)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Sliced(STEPS), replace(SPEC, device=sys.argv[2]))
