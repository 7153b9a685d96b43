"""The presets in conf/model and conf/train: sizes as named, lr and batch by the ladder rule."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from mixlab.compose import spec_of
from mixlab.model.mpt import MPT
from mixlab.types import ModelSpec, TrainSpec

CONF = Path(__file__).parents[2] / "mixlab" / "conf"
SIZES = {
    "1m": 1.6e6,
    "4m": 4.7e6,
    "15m": 14.2e6,
    "30m": 25.2e6,
    "60m": 59e6,
    "125m": 84.9e6,
    "350m": 302e6,
    "1b": 1208e6,
}


def preset(group: str, name: str) -> dict:
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text())


def test_the_tiny_one_is_below_the_demos_limit():
    spec = ModelSpec(**preset("model", "mpt-tiny"))
    model = MPT(spec)
    assert sum(p.numel() for p in model.parameters()) < 300_000
    matrices = sum(p.numel() for n, p in model.named_parameters() if "blocks" in n and p.dim() == 2)
    assert matrices == 12 * spec.n_layers * spec.d_model**2


@pytest.mark.parametrize("size", list(SIZES))
def test_the_ladder_has_the_sizes_it_names_and_the_rules_lr_and_batch(size):
    spec = ModelSpec(**preset("model", f"mpt-{size}"))
    train = TrainSpec(**preset("train", f"mpt-{size}"))
    n = 12 * spec.n_layers * spec.d_model**2
    assert n == pytest.approx(SIZES[size], rel=0.02)
    assert train.lr == pytest.approx(0.5 * 0.0047 * (n / 108e6) ** (-1 / 3), rel=0.03)
    assert train.batch_tokens == pytest.approx(160 * 2048 * (n / 108e6) ** (2 / 3), rel=0.05)
    assert train.batch_tokens % spec.max_seq_len == 0
    assert (train.tokens, train.warmup_tokens, train.save_every_tokens) == (20 * n, n, n)


@pytest.mark.parametrize(("group", "kind"), [("model", ModelSpec), ("train", TrainSpec)])
def test_a_preset_holds_only_what_differs_from_the_defaults(group, kind):
    default = {f.name: f.default for f in fields(kind)}
    for path in (CONF / group).glob("*.yaml"):
        for key, value in preset(group, path.stem).items():
            assert key in default, (path, key)
            assert value != (list(default[key]) if isinstance(default[key], tuple) else default[key]), (path, key)


def test_gpu_is_laid_over_a_sizes_preset(tmp_path):
    plain, on_gpu = (spec_of(["model=mpt-125m", f"train={t}"], tmp_path).train for t in ("mpt-125m", "[mpt-125m,gpu]"))
    assert replace(plain, device="cuda", compile=True) == on_gpu
    assert on_gpu.precision == "bf16" and on_gpu.micro_batch_tokens is not None
    assert on_gpu.batch_tokens % on_gpu.micro_batch_tokens == 0
