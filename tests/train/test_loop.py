"""Runs that are stopped anywhere end as if they had not been."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_run
import torch
from tiny_run import MODEL, ROWS, SEQ_LEN, SPEC, FakeLoader, logged, run, status

from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.model.mpt import MPT
from mixlab.train import logbook
from mixlab.workspace import read_lines

torch.set_num_threads(1)


class Killed(BaseException):
    """As sudden as a kill can be inside one process."""


class LoaderKilledAt(FakeLoader):
    def __init__(self, last: int):
        super().__init__()
        self.last = last

    def batch(self, step):
        if step >= self.last:
            raise Killed
        return super().batch(step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(directory, model) of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    return out, run(out)


def assert_same(out: Path, whole_out: Path) -> None:
    assert logged(out) == logged(whole_out)
    for name in ("model", "optimizer"):
        file = f"checkpoint/{name}.safetensors"
        assert (out / file).read_bytes() == (whole_out / file).read_bytes()


def test_it_learns_and_says_so(whole):
    out, _ = whole
    metrics = read_lines(out / "metrics.jsonl")
    assert metrics[-1]["m"]["loss/train"] < metrics[0]["m"]["loss/train"] - 1.0
    assert (metrics[0]["m"]["lr"], metrics[-1]["step"], metrics[-1]["tokens"]) == (0.0, 40, 40 * ROWS * SEQ_LEN)
    assert [(r["step"], r["final"]) for r in read_lines(out / "scores.jsonl")] == [
        (0, False), (10, False), (20, False), (30, False), (40, True)
    ]  # fmt: skip
    assert (status(out)["state"], status(out)["step"], status(out)["steps"]) == ("finished", 40, 40)
    assert not read_lines(out / "events.jsonl")


def test_two_runs_are_equal_to_the_last_bit(whole, tmp_path):
    run(tmp_path)
    assert_same(tmp_path, whole[0])


@pytest.mark.parametrize("stops", [[3], [7], [10], [20, 21], [9, 17, 22, 22, 38]])
def test_resuming_changes_nothing(whole, tmp_path, stops):
    for stop in stops:
        with pytest.raises(Killed):
            run(tmp_path, LoaderKilledAt(stop))
    loader = FakeLoader()
    run(tmp_path, loader)
    assert_same(tmp_path, whole[0])
    assert loader.served[1] == stops[-1] // 7 * 7  # [0] is the look at the batch's shape; the past is not replayed


def test_a_finished_run_is_only_evaluated_again(whole, tmp_path):
    run(tmp_path)
    loader = FakeLoader()
    run(tmp_path, loader)
    assert loader.served == [0]
    assert_same(tmp_path, whole[0])


def test_a_process_killed_at_random_goes_on_as_if_nothing_had_been(whole, tmp_path):
    rng = random.Random()
    command = [sys.executable, tiny_run.__file__, str(tmp_path), "0.02"]
    with subprocess.Popen(command) as process:
        wait_for(tmp_path / "checkpoint", process)
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
    run(tmp_path)
    assert_same(tmp_path, whole[0])


def test_sigterm_leaves_a_checkpoint_and_asks_to_be_run_again(whole, tmp_path):
    command = [sys.executable, tiny_run.__file__, str(tmp_path), "0.05"]
    with subprocess.Popen(command) as process:
        wait_for(tmp_path / "metrics.jsonl", process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 75
    assert status(tmp_path)["state"] == "queued"
    assert 0 < status(tmp_path)["step"] < 40
    spent = status(tmp_path)["heartbeat"] - status(tmp_path)["started"]
    run(tmp_path)
    assert_same(tmp_path, whole[0])
    assert status(tmp_path)["attempt"] == 2 and status(tmp_path)["earlier_s"] == pytest.approx(spent, abs=1e-3)
    assert {r["attempt"] for r in read_lines(tmp_path / "metrics.jsonl")} == {1, 2}
    assert [e["kind"] for e in read_lines(tmp_path / "events.jsonl")] == ["stopped", "resume"]


def test_of_many_sigterms_the_first_is_taken_and_none_does_harm():
    """A group is often told by Slurm, by a terminal and by its parent at once."""
    code = """from mixlab.train.process import until_sigterm
with until_sigterm() as came:
    print(came(), flush=True)
    print(input(), came())"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin and process.stdout and process.stdout.readline() == "False\n"
        for _ in range(3000):
            process.send_signal(signal.SIGTERM)
        try:
            assert process.communicate("on\n", timeout=60)[0] == "on True\n" and process.returncode == 0
        finally:
            process.kill()


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, "the process ended by itself"
        time.sleep(0.01)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(tmp_path, FakeLoader(steps=2))
    with pytest.raises(ConfigError, match=r"abcd0123.*another directory"):
        run(tmp_path, run_key="ffff0000")


def test_data_that_changed_under_a_run_is_refused(tmp_path):
    run(tmp_path, FakeLoader(steps=2))
    other = FakeLoader(steps=2)
    other.ledger = lambda step: {"count": 1}
    with pytest.raises(ConfigError, match="data changed"):
        run(tmp_path, other)


def test_a_full_disk_is_a_sentence_and_the_checkpoint_is_kept(whole, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        run(tmp_path, LoaderKilledAt(8))
    before = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentFault, match="disk is full"):
            run(tmp_path)
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == before
    run(tmp_path)
    assert_same(tmp_path, whole[0])


def test_a_token_beyond_the_vocabulary_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="vocab_size=8"):
        run(tmp_path, model=replace(MODEL, vocab_size=8))


def test_ids_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match=r"shape \(rows, tokens\), not torch\.int64 \(5,\)"):
        MPT(MODEL)(torch.arange(5))
    with pytest.raises(ConfigError, match=r"not torch\.float32"):
        MPT(MODEL)(torch.zeros(1, 5))


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"cannot write .*it lies below something that is no folder"):
        run(tmp_path / "file" / "run")


def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=r"train\.device"):
        run(tmp_path, spec=replace(SPEC, device="cuda"))


def test_micro_batches_sum_to_the_batch(tmp_path):
    final = {}
    for micro in (None, SEQ_LEN):
        spec = replace(SPEC, micro_batch_tokens=micro, z_loss=1e-3)
        final[micro] = run(tmp_path / str(micro), FakeLoader(steps=5), spec)
    for a, b in zip(final[None].parameters(), final[SEQ_LEN].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)  # float32 sums in another order, five Adam steps


@pytest.mark.parametrize("changes", [{"optimizer": "lion", "lr": 1e-3}, {"precision": "bf16", "schedule": "wsd"}])
def test_other_settings_resume_exactly_too(tmp_path, changes):
    spec, model = replace(SPEC, **changes), replace(MODEL, resid_pdrop=0.1)
    run(tmp_path / "whole", spec=spec, model=model)
    with pytest.raises(Killed):
        run(tmp_path / "cut", LoaderKilledAt(16), spec=spec, model=model)
    run(tmp_path / "cut", spec=spec, model=model)
    assert_same(tmp_path / "cut", tmp_path / "whole")
    losses = [r["m"]["loss/train"] for r in read_lines(tmp_path / "cut" / "metrics.jsonl")]
    assert losses[-1] < losses[0] - 0.5


def test_logging_takes_less_than_a_hundredth_of_a_step(tmp_path):
    book = logbook.Logbook(tmp_path, steps=200, tokens_per_step=2048)
    began = time.process_time()
    for _ in range(200):
        book.record(2.0, 0.1, 1.0, 0.06)
    assert (time.process_time() - began) / 200 < 0.01 * 0.06  # the demo's step takes 0.06 s
