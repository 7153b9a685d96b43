"""DoReMi: a source on which the proxy lags behind the reference gains weight; the answer is a mix."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mixlab.model.mpt import MPT
from mixlab.train.doremi import group_dro
from mixlab.types import ModelSpec, TrainSpec

SPEC = ModelSpec(d_model=16, n_layers=1, n_heads=2, max_seq_len=16, vocab_size=32, attn_impl="torch")
TRAIN = TrainSpec(tokens=640, batch_tokens=64, lr=1e-3, warmup_tokens=0)


@dataclass
class TwoSources:
    """Source `noise` is random tokens; source `steps` counts up, which a reference can have learned."""

    steps: int = 10
    plan: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            tokens=640, draws=[SimpleNamespace(source="noise"), SimpleNamespace(source="steps")]
        )
    )

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(step)
        counted = (np.arange(16) + rng.integers(32, size=(2, 1))) % 32
        return np.vstack([rng.integers(32, size=(2, 16)), counted]), np.array([0, 0, 1, 1])


@pytest.fixture(scope="module")
def reference() -> MPT:
    torch.set_num_threads(1)
    model = MPT(SPEC, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        model.loss(torch.from_numpy(TwoSources().batch(1000 + step)[0][2:])).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_the_source_where_the_proxy_is_behind_gains_weight(reference):
    found = group_dro(MPT(SPEC, seed=0), reference, TwoSources(), TRAIN)
    assert sum(found.weights.values()) == pytest.approx(1) and len(found.trace) == 10
    assert found.weights["steps"] > 0.8  # noise cannot be learned: nobody is behind there
    assert all(min(w) >= 1e-3 / 2 for w in found.trace)  # smoothing


def test_without_a_lag_nothing_moves(reference):
    twin = MPT(SPEC, seed=1)
    twin.load_state_dict(reference.state_dict())
    still = TrainSpec(tokens=640, batch_tokens=64, lr=1e-12, warmup_tokens=0)
    found = group_dro(twin, reference, TwoSources(), still)
    assert found.weights["steps"] == pytest.approx(0.5, abs=1e-3)
