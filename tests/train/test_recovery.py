"""A bad step is dropped, bad data is left out and written down, and leaving it out again gives the same curve."""

import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_run import ROWS, SEQ_LEN, SPEC, VOCAB, FakeLoader, logged, run, status

from mixlab.errors import RunFailed
from mixlab.train import loop
from mixlab.train.guard import MIN_STEPS, WINDOW, Guard
from mixlab.train.recovery import MAX_REWINDS
from mixlab.workspace import read_json, read_lines

torch.set_num_threads(1)
STEPS = 230  # the fall of the first steps has left the guard's window when the poison comes
POISON = range(200, 206)
SLOW = replace(SPEC, lr=3e-3, save_every_tokens=9 * ROWS * SEQ_LEN)


class Poisoned(FakeLoader):
    """Sequences of one kind, but for some steps of pure noise; dies where it is told to."""

    def __init__(self, poison=POISON, dies_at=None):
        super().__init__(STEPS)
        self.poison, self.dies_at = poison, dies_at

    def batch(self, step):
        if step == self.dies_at:
            raise KeyboardInterrupt
        rng = np.random.default_rng(step)
        start = rng.integers(VOCAB, size=(ROWS, 1))
        ids = (start + np.arange(SEQ_LEN)) % VOCAB
        if step in self.poison:
            ids = rng.integers(VOCAB, size=(ROWS, SEQ_LEN))
        return ids, np.zeros(ROWS, np.int64)


class WeightPoisoner:
    """An evaluation that spoils the model, as a hardware fault would: at one step, `times` often."""

    def __init__(self, at: int, times: int, factor: float = math.nan):
        self.at, self.times, self.factor = at, times, factor

    def __call__(self, model, step, tokens, final):
        if step == self.at and self.times > 0:
            self.times -= 1
            with torch.no_grad():
                model.transformer.norm_f.weight.mul_(self.factor)


class Ahead:
    """What a GPU's captured step is to the loop: does the next step before this one's numbers are read, if it may."""

    def __init__(self, run):
        self.run, self.told, self.times = run, None, 0

    @property
    def is_ahead(self):
        return self.told is not None

    def __call__(self, step, *, is_free, meanwhile):
        told = self.told or self.do(step)
        self.told = self.do(step + 1) if is_free else None
        meanwhile()
        self.times += is_free
        return told

    def do(self, step):
        loop.set_lr(self.run.optimizer, loop._rate(self.run, step))
        return loop._update(self.run, loop._fetch(self.run, step), step).tolist()

    def forget(self):
        assert not self.is_ahead


@pytest.fixture(scope="module")
def recovered(tmp_path_factory):
    out = tmp_path_factory.mktemp("recovered")
    run(out, Poisoned(), SLOW)
    return out


def kinds(out):
    return [e["kind"] for e in read_lines(out / "events.jsonl")]


def test_the_poison_is_left_out_and_written_down(recovered):
    assert read_json(recovered / "skips.json") == {"skip": [[192, 204]]}
    (event,) = [e for e in read_lines(recovered / "events.jsonl") if e["kind"] == "rewind"]
    assert "back to step 192, the batches of steps 193 to 205 are skipped" in event["text"]
    assert kinds(recovered) == ["rewind", "spike"]  # the last poisoned batch is dropped by itself
    last = read_lines(recovered / "metrics.jsonl")[-1]
    assert (last["step"], status(recovered)["state"], status(recovered)["rewinds"]) == (STEPS, "finished", 1)


def test_the_same_skips_from_the_start_give_the_same_curve_bit_for_bit(recovered, tmp_path):
    skip = tuple(tuple(r) for r in read_json(recovered / "skips.json")["skip"])
    run(tmp_path, Poisoned(), replace(SLOW, skip=skip))
    assert logged(tmp_path) == logged(recovered)
    for name in ("model", "optimizer"):
        file = f"checkpoint/{name}.safetensors"
        assert (tmp_path / file).read_bytes() == (recovered / file).read_bytes()
    assert "rewind" not in kinds(tmp_path)


@pytest.mark.parametrize("dies_at", [198, 203, 204, 205, 210, 227])
def test_a_run_killed_around_its_rewind_recovers_the_same_way(recovered, tmp_path, dies_at):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Poisoned(dies_at=dies_at), SLOW)
    run(tmp_path, Poisoned(), SLOW)
    assert logged(tmp_path) == logged(recovered)
    assert read_json(tmp_path / "skips.json") == read_json(recovered / "skips.json")
    file = "checkpoint/model.safetensors"
    assert (tmp_path / file).read_bytes() == (recovered / file).read_bytes()


@pytest.mark.parametrize("stop_at", [None, 30, 202, 205])
def test_steps_launched_ahead_change_nothing_whatever_happens(recovered, tmp_path, monkeypatch, stop_at):
    made = []
    monkeypatch.setattr(loop, "_captured", lambda run: made.append(Ahead(run)) or made[-1])
    if stop_at is not None:
        stopped = Poisoned()
        serve = stopped.batch
        stopped.batch = lambda step: (step == stop_at and os.kill(os.getpid(), signal.SIGTERM), serve(step))[1]
        with pytest.raises(SystemExit):
            run(tmp_path, stopped, SLOW)
        assert stop_at < status(tmp_path)["step"] <= stop_at + 2
    run(tmp_path, Poisoned(), SLOW)
    assert sum(ahead.times for ahead in made) > 0.6 * STEPS  # this run stops at a mark every nine or ten steps
    assert logged(tmp_path) == logged(recovered)
    assert read_json(tmp_path / "skips.json") == read_json(recovered / "skips.json")
    file = "checkpoint/model.safetensors"
    assert (tmp_path / file).read_bytes() == (recovered / file).read_bytes()


def test_one_bad_batch_is_dropped_and_costs_nothing_else(tmp_path):
    run(tmp_path, Poisoned(poison=[200]), SLOW)
    assert kinds(tmp_path) == ["spike"] and status(tmp_path)["dropped_steps"] == 1
    assert not (tmp_path / "skips.json").exists()


def test_a_new_level_that_stays_is_accepted(tmp_path):
    run(tmp_path, Poisoned(poison=range(200, STEPS)), SLOW)
    assert status(tmp_path)["state"] == "finished" and kinds(tmp_path)[-1] == "level"
    assert kinds(tmp_path).count("rewind") <= MAX_REWINDS


def test_weights_that_stay_blown_up_are_no_new_level(tmp_path):
    with pytest.raises(RunFailed, match=r"diverged.*an untrained model has 4\.69"):
        run(tmp_path, FakeLoader(260), evaluate=WeightPoisoner(100, times=99, factor=1e3))
    assert kinds(tmp_path)[-1] == "diverged" and "level" in kinds(tmp_path)
    with pytest.raises(RunFailed, match="an untrained model has"):  # from its last checkpoint it ends there again
        run(tmp_path, FakeLoader(260), evaluate=WeightPoisoner(100, times=99, factor=1e3))


def test_spoilt_weights_are_undone_once(tmp_path):
    run(tmp_path, evaluate=WeightPoisoner(10, times=1))
    assert (status(tmp_path)["state"], kinds(tmp_path)) == ("finished", ["rewind"])


@pytest.mark.parametrize("at", [50, 500])
def test_a_bad_batch_is_dropped_while_the_loss_still_falls(tmp_path, at):
    loader = Poisoned(poison=[at])
    loader.steps = at + 4
    run(tmp_path, loader, SLOW, evaluate=lambda *_: None)
    assert kinds(tmp_path) == ["spike"] and status(tmp_path)["dropped_steps"] == 1


def test_a_gradient_far_beyond_any_before_is_dropped_from_the_third_step_on():
    guard = Guard(torch.device("cpu"))
    for _ in range(5):
        assert guard.judge(torch.tensor(4.7), torch.tensor(2.0)) == 0
    for loss, norm in ((4.7, 21.0), (7.1, 2.0)):
        assert guard.judge(torch.tensor(loss), torch.tensor(norm)) == 1
    assert guard.judge(torch.tensor(4.9), torch.tensor(12.0)) == 0


@pytest.mark.parametrize("at", [20, 40])  # 20: a checkpoint is due one step later; 40: the last step
def test_no_checkpoint_ever_holds_spoilt_weights(tmp_path, at):
    with pytest.raises(RunFailed, match="diverged"):
        run(tmp_path, FakeLoader(41), evaluate=WeightPoisoner(at, times=99))
    kept = load_file(tmp_path / "checkpoint" / "model.safetensors")
    assert all(torch.isfinite(t).all() for t in kept.values())


def test_a_nan_that_comes_back_ends_the_run_and_keeps_a_checkpoint(tmp_path):
    with pytest.raises(RunFailed, match=r"diverged at step \d+ of 40.*lower train\.lr"):
        run(tmp_path, evaluate=WeightPoisoner(10, times=99))
    assert status(tmp_path)["state"] == "failed" and status(tmp_path)["reason"].startswith("diverged at step")
    assert kinds(tmp_path)[-1] == "diverged" and (tmp_path / "checkpoint" / "state.json").exists()


def test_the_guard_drops_what_is_far_out_or_no_number_and_learns_from_the_rest():
    guard = Guard(torch.device("cpu"))
    for step in range(MIN_STEPS + 8):
        assert guard.judge(torch.tensor(2.0 + 0.01 * (step % 3)), torch.tensor(1.0)) == 0
    before = guard.state()
    for loss, norm in ((3.0, 1.0), (math.nan, 1.0), (2.0, math.inf), (2.0, 3.5)):
        assert guard.judge(torch.tensor(loss), torch.tensor(norm)) == 1
    assert guard.state() == before
    other = Guard(torch.device("cpu"))
    other.resume(before)
    assert other.state() == before and len(before["recent"][0]) == MIN_STEPS + 8
    for step in range(WINDOW):
        assert guard.judge(torch.tensor(2.0 - step * 0.01), torch.tensor(1.0)) == 0
    assert len(guard.state()["recent"][0]) == WINDOW


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_a_dropped_update_changes_nothing(tmp_path, optimizer):
    from mixlab.train.optim import apply_step, make_optimizer

    model = torch.nn.Linear(3, 2)
    ours = make_optimizer(model, replace(SPEC, optimizer=optimizer))
    for bad in (0.0, 1.0):
        before = [p.detach().clone() for p in model.parameters()]
        model(torch.full((1, 3), math.nan if bad else 1.0)).sum().backward()
        apply_step(model, ours, torch.tensor(bad), 0.0)
        same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
        assert all(same) == bool(bad)
        assert all(torch.isfinite(t).all() for p in model.parameters() for t in ours.state[p].values())
