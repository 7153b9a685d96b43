"""A checkpoint is whole or absent, whenever the writer dies."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from mixlab.errors import EnvironmentFault
from mixlab.train.checkpoint import load_checkpoint, load_weights, save_checkpoint, settle
from mixlab.train.optim import make_optimizer
from mixlab.types import TrainSpec


class Killed(BaseException):
    pass


def state_of(value: float):
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, value)
    optimizer = make_optimizer(model, TrainSpec(lr=1e-3))
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(out: Path, step: int) -> None:
    save_checkpoint(out, *state_of(float(step)), {"step": step}, run_key="k")


@pytest.mark.parametrize("moment", range(12))
def test_killed_inside_the_writing_it_is_the_old_one_or_the_new_one(tmp_path, monkeypatch, moment):
    save(tmp_path, 1)
    left = [moment]

    def dying(real):
        def call(*args, **kwargs):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(os, "replace", dying(os.replace))
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(shutil, "rmtree", dying(shutil.rmtree))
        with suppress(Killed):
            save(tmp_path, 2)
    model, optimizer = state_of(9.0)
    settle(tmp_path)
    found = load_checkpoint(tmp_path, model, optimizer, run_key="k")
    assert found is not None and found[0]["step"] in (1, 2)
    state = found[0]
    expected, expected_optimizer = state_of(float(state["step"]))
    assert torch.equal(model.weight, expected.weight)
    assert torch.equal(
        optimizer.state[model.weight]["exp_avg_sq"], expected_optimizer.state[expected.weight]["exp_avg_sq"]
    )
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoint"}


def test_none_is_none(tmp_path):
    assert load_checkpoint(tmp_path, *state_of(0.0), run_key="k") is None


def test_a_damaged_file_is_named(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "checkpoint" / "optimizer.safetensors").write_bytes(b"torn")
    with pytest.raises(EnvironmentFault, match=r"optimizer\.safetensors is missing or damaged"):
        load_checkpoint(tmp_path, *state_of(0.0), run_key="k")


def test_weights_of_another_shape_are_refused_with_a_sentence(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(EnvironmentFault, match="does not fit this model"):
        load_weights(tmp_path, nn.Linear(4, 2))


def test_it_holds_safetensors_and_json_only(tmp_path):
    save(tmp_path, 1)
    names = {p.name for p in (tmp_path / "checkpoint").iterdir()}
    assert names == {"model.safetensors", "optimizer.safetensors", "state.json"}


def test_earlier_ones_stay_as_many_as_asked_for(tmp_path):
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, *state_of(float(step)), {"step": step}, run_key="k", keep=3)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"step-2", "step-3"}
    assert (tmp_path / "checkpoints" / "step-3" / "model.safetensors").exists()
    save(tmp_path, 5)
    assert not list((tmp_path / "checkpoints").iterdir())
