"""Optimizers against composer's and llm-foundry's numbers; schedules against their definitions."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from mixlab.config import convert
from mixlab.errors import ConfigError
from mixlab.mix.budget import Params
from mixlab.train.optim import make_optimizer, set_lr
from mixlab.train.rates import SCHEDULES, learning_rate, resolve_lr
from mixlab.types import TrainSpec

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "mpt" / "optimizer_golden.json"
LR = 0.06


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"golden data not there: {GOLDEN}")
@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        ("adamw", "DecoupledAdamW(betas=.9,.95,eps=1e-8,wd=1e-4)"),
        ("adamw", "torch.AdamW(wd=1e-4/lr0)"),
        ("lion", "DecoupledLionW(betas=.9,.95,wd=1e-4)"),
    ],
)
def test_trajectories_are_the_decoupled_optimizers(optimizer, name):
    check_trajectory(TrainSpec(optimizer=optimizer, lr=LR, weight_decay=1e-4 / LR, betas=(0.9, 0.95)), name)


def check_trajectory(spec, name):
    model = nn.Module()
    model.p = nn.Parameter(torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64))
    ours = make_optimizer(model, spec)
    for t, expected in enumerate(json.loads(GOLDEN.read_text())[name]):
        p = model.p.detach()[0].tolist()
        gradient = [math.sin(3 * p[0] + t), 0.1 * p[1] ** 2, math.cos(p[2] + 0.3 * t), -0.2 * p[3]]
        model.p.grad = torch.tensor([gradient], dtype=torch.float64)
        set_lr(ours, LR * (0.1 + 0.45 * (1 + math.cos(math.pi * t / 12))))
        ours.step()
        assert model.p.detach()[0].tolist() == pytest.approx(expected, abs=1e-12, rel=0)


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"golden data not there: {GOLDEN}")
@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        ("decoupled_adamw", "DecoupledAdamW(betas=.9,.95,eps=1e-8,wd=1e-4)"),
        ("decoupled_lion", "DecoupledLionW(betas=.9,.95,wd=1e-4)"),
    ],
)
def test_the_decoupled_ones_take_mpts_own_weight_decay(optimizer, name):
    check_trajectory(TrainSpec(optimizer=optimizer, lr=LR, weight_decay=1e-4, betas=(0.9, 0.95)), name)


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_matrices_decay_and_vectors_do_not(optimizer):
    model = nn.Linear(2, 2)
    ours = make_optimizer(model, TrainSpec(optimizer=optimizer, lr=0.1, weight_decay=0.5))
    before = [p.detach().clone() for p in (model.weight, model.bias)]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    ours.step()
    assert torch.allclose(model.weight, before[0] * 0.95)
    assert torch.equal(model.bias, before[1])


def test_adamw_is_torchs_to_the_bit_and_a_dropped_step_is_none():
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    spec = TrainSpec(optimizer="adamw", lr=0.1, weight_decay=0.5, betas=(0.9, 0.95))
    moves = make_optimizer(ours, spec)
    groups = [{"params": [theirs.weight], "weight_decay": 0.5}, {"params": [theirs.bias], "weight_decay": 0.0}]
    torchs = torch.optim.AdamW(groups, lr=0.1, betas=spec.betas, fused=True)
    for step, is_bad in enumerate([0.0, 1.0, 0.0, 0.0]):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = q.grad = torch.full_like(p, math.nan if is_bad else math.sin(step))
        moves.step(torch.tensor(is_bad))
        if not is_bad:
            torchs.step()
        assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_step_on_a_cpu_does_not_load_torchs_compiler():
    code = """import sys, torch
from mixlab.train.optim import apply_step, make_optimizer
from mixlab.types import TrainSpec
model = torch.nn.Linear(2, 2)
optimizer = make_optimizer(model, TrainSpec(lr=0.1))
model(torch.ones(1, 2)).sum().backward()
apply_step(model, optimizer, torch.zeros(()), 0.9)
assert "torch._dynamo" not in sys.modules and optimizer.state[model.bias]["step"] == 1"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_warm_up_starts_at_zero_and_the_end_is_as_told(schedule):
    spec = TrainSpec(lr=2.0, warmup_tokens=100, lr_final_frac=0.1, schedule=schedule)
    rates = [learning_rate(spec, t, 1000) for t in range(0, 1001, 10)]
    assert rates[:11] == pytest.approx([0.2 * i for i in range(11)])
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(2.0 if schedule == "constant" else 0.2)


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate(TrainSpec(lr=2.0, warmup_tokens=0), 0, 1000) == 2.0


@pytest.mark.parametrize("changes", [{"optimizer": "adamm"}, {"schedule": "cosin"}])
def test_an_unknown_name_is_refused_with_the_nearest_one(changes):
    with pytest.raises(ConfigError, match="Did you mean"):
        spec = replace(TrainSpec(), **changes)
        make_optimizer(nn.Linear(2, 2), spec)
        learning_rate(spec, 10**6, 10**7)


def test_auto_is_the_ladder_rule_and_reproduces_the_presets():
    for n, preset in ((1_572_864, 0.00962), (84_934_656, 0.00255), (1_207_959_552, 0.00105)):
        found = resolve_lr(TrainSpec(lr="auto"), Params(total=n, non_embedding=n)).lr
        assert found == pytest.approx(preset, rel=0.01)
    with pytest.raises(ConfigError, match=r"train\.lr=auto is resolved when a run is planned"):
        learning_rate(TrainSpec(lr="auto"), 0, 10)
    assert convert(TrainSpec, {"lr": "auto"}).lr == "auto" and convert(TrainSpec, {"lr": 1}).lr == 1.0
    with pytest.raises(ConfigError, match="Known: auto"):
        convert(TrainSpec, {"lr": "autom"})
