"""Stacked runs: each member as it is alone, and untouched by one that diverges."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mixlab.errors import ConfigError
from mixlab.model.mpt import MPT
from mixlab.seeds import generator
from mixlab.train.loop import train
from mixlab.train.stacked import train_stacked
from mixlab.types import ModelSpec, TrainSpec
from mixlab.workspace import read_lines

ROWS, SEQ_LEN, VOCAB = 4, 16, 24
MODEL = ModelSpec(d_model=16, n_heads=2, n_layers=2, vocab_size=VOCAB, max_seq_len=SEQ_LEN)
SPEC = TrainSpec(lr=1e-2, warmup_tokens=256, batch_tokens=ROWS * SEQ_LEN, save_every_tokens=10**9, device="cpu")
EVERY = 8 * ROWS * SEQ_LEN


class Counting:
    """Rows that count up; a function of (name, step)."""

    steps = 24

    def __init__(self, name: int):
        self.name = name

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = generator(self.name, "counting", step)
        by = rng.integers(1, 3, size=(ROWS, 1))
        return (rng.integers(VOCAB, size=(ROWS, 1)) + by * np.arange(SEQ_LEN)) % VOCAB, np.zeros(ROWS, np.int64)

    def ledger(self, step: int) -> dict[str, int]:
        return {"count": step}


def stacked(tmp_path: Path, members: int, spec: TrainSpec = SPEC, spoil: int | None = None):
    """(models, what was evaluated, why each was frozen) of a stack; `spoil`: a member that starts with a NaN."""
    models, seen = [MPT(MODEL, seed=k) for k in range(members)], []
    if spoil is not None:
        with torch.no_grad():
            models[spoil].transformer.norm_f.weight[0] = torch.nan
    told = train_stacked(
        models,
        [Counting(k) for k in range(members)],
        spec,
        [tmp_path / f"stack{k}" for k in range(members)],
        evaluate=[lambda _m, step, tokens, final, k=k: seen.append((k, step, tokens, final)) for k in range(members)],
        every_tokens=EVERY,
        run_keys=["abcd0123"] * members,
    )
    return models, seen, told


def alone(tmp_path: Path, k: int) -> tuple[MPT, list[tuple[int, int, int, bool]]]:
    model, seen = MPT(MODEL, seed=k), []
    train(
        model,
        Counting(k),
        SPEC,
        tmp_path / f"alone{k}",
        evaluate=lambda _m, *told: seen.append((k, *told)),
        every_tokens=EVERY,
        run_key="abcd0123",
    )
    return model, seen


def losses(out: Path) -> list[float]:
    return [row["m"]["loss/train"] for row in read_lines(out / "metrics.jsonl")]


def test_a_member_is_the_run_alone_to_1e_5(tmp_path):
    models, seen, told = stacked(tmp_path, 3)
    assert told == [None] * 3
    for k, model in enumerate(models):
        solo, asked = alone(tmp_path, k)
        assert [s for s in seen if s[0] == k] == asked
        for (name, ours), (_, theirs) in zip(model.named_parameters(), solo.named_parameters(), strict=True):
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-5), name
        assert losses(tmp_path / f"stack{k}") == pytest.approx(losses(tmp_path / f"alone{k}"), abs=1e-5)
        with open(tmp_path / f"stack{k}" / "status.json") as f:
            assert json.load(f)["state"] == "finished"
        before = {n: p.clone() for n, p in model.named_parameters()}
        train(  # its checkpoint is one that the loop goes on from: there is nothing left to do
            model, Counting(k), SPEC, tmp_path / f"stack{k}", evaluate=lambda *_: None, every_tokens=EVERY,
            run_key="abcd0123",
        )  # fmt: skip
        assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_a_member_that_diverges_is_frozen_and_leaves_the_others_as_they_are(tmp_path):
    whole, _, _ = stacked(tmp_path / "whole", 3)
    models, _, told = stacked(tmp_path, 3, spoil=1)
    assert told[0] is None and told[2] is None
    assert told[1] is not None and told[1].startswith("diverged at step 2")
    for k in (0, 2):
        for (name, ours), (_, theirs) in zip(models[k].named_parameters(), whole[k].named_parameters(), strict=True):
            assert torch.equal(ours, theirs), (k, name)
    first = MPT(MODEL, seed=1)
    assert torch.equal(models[1].transformer.wte.weight, first.transformer.wte.weight)  # never moved
    with open(tmp_path / "stack1" / "status.json") as f:
        assert json.load(f)["state"] == "failed"


@pytest.mark.parametrize("change", [{"optimizer": "lion"}, {"micro_batch_tokens": 16}, {"ema": 0.9}])
def test_what_is_not_built_is_refused_by_name(tmp_path, change):
    with pytest.raises(ConfigError, match=f"train.{next(iter(change))}"):
        stacked(tmp_path, 2, replace(SPEC, **change))
