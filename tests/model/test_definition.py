"""Every setting of the model against MPT's definition written out: float64 loops over heads, queries, visible keys."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf

from mixlab.model.mpt import MPT
from mixlab.types import ModelSpec

IDS = np.array([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], [8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2]])
DOCS = np.array([[0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]])
SETTINGS: list[dict[str, Any]] = [
    {},
    {"n_heads": 1},
    {"n_heads": 3, "alibi_bias_max": 16},
    {"n_heads": 12, "softmax_scale": 0.7, "clip_qkv": 0.4},
    {"qk_ln": True, "clip_qkv": 1.5, "norm_eps": 1e-2},
    {"no_bias": False, "qk_ln": True, "expansion_ratio": 2},
    {"logit_scale": 0.3, "expansion_ratio": 5, "n_layers": 3},
    {"logit_scale": "inv_sqrt_d_model", "n_heads": 6, "no_bias": False},
]


def norm(x: np.ndarray, state: dict[str, np.ndarray], name: str, eps: float) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return x * state[f"{name}.weight"] + state.get(f"{name}.bias", 0.0)


def linear(x: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)


def slopes(n: int, bias_max: int) -> list[float]:
    power = 1
    while power < n:
        power *= 2
    whole = [2.0 ** (-bias_max * (i + 1) / power) for i in range(power)]
    return whole if power == n else [*whole[1::2], *whole[0::2]][:n]


def attention(a: np.ndarray, docs: np.ndarray, state: dict[str, np.ndarray], at: str, spec: ModelSpec) -> np.ndarray:
    qkv = linear(a, state, f"{at}.Wqkv")
    if spec.clip_qkv is not None:
        qkv = np.clip(qkv, -spec.clip_qkv, spec.clip_qkv)
    q, k, v = np.split(qkv, 3, axis=-1)
    if spec.qk_ln:
        q, k = norm(q, state, f"{at}.q_ln", spec.norm_eps), norm(k, state, f"{at}.k_ln", spec.norm_eps)
    wide, out = spec.d_model // spec.n_heads, np.zeros_like(q)
    scale = 1 / math.sqrt(wide) if spec.softmax_scale is None else spec.softmax_scale
    for head, slope in enumerate(slopes(spec.n_heads, spec.alibi_bias_max)):
        h = slice(head * wide, (head + 1) * wide)
        for i in range(len(a)):
            seen = [j for j in range(i + 1) if docs[j] == docs[i]]
            p = np.exp([scale * (q[i, h] @ k[j, h]) - slope * (i - j) for j in seen])
            out[i, h] = p @ v[seen][:, h] / p.sum()
    return linear(out, state, f"{at}.out_proj")


def logits(ids: np.ndarray, docs: np.ndarray, state: dict[str, np.ndarray], spec: ModelSpec) -> np.ndarray:
    x = state["transformer.wte.weight"][ids]
    for i in range(spec.n_layers):
        at = f"transformer.blocks.{i}"
        x = x + attention(norm(x, state, f"{at}.norm_1", spec.norm_eps), docs, state, f"{at}.attn", spec)
        up = linear(norm(x, state, f"{at}.norm_2", spec.norm_eps), state, f"{at}.ffn.up_proj")
        x = x + linear(0.5 * up * (1 + erf(up / math.sqrt(2))), state, f"{at}.ffn.down_proj")
    found = norm(x, state, "transformer.norm_f", spec.norm_eps) @ state["transformer.wte.weight"].T
    by = spec.d_model**-0.5 if spec.logit_scale == "inv_sqrt_d_model" else spec.logit_scale
    return found if by is None else found * by


@pytest.mark.parametrize("impl", ["torch", "sdpa"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("changes", SETTINGS)
def test_a_model_is_its_definition(changes, packed, impl):
    spec = ModelSpec(**{"d_model": 24, "n_heads": 4, "vocab_size": 11, "attn_impl": impl, **changes})
    model = MPT(spec, seed=7)
    with torch.no_grad():  # norms and biases that do something
        for n, p in enumerate(p for p in model.parameters() if p.dim() == 1):
            p.add_(torch.sin(torch.arange(len(p)) + n) / 5)
    state = {name: t.double().numpy() for name, t in model.state_dict().items()}
    docs = DOCS if packed else np.zeros_like(DOCS)
    expected = np.stack([logits(row, of, state, spec) for row, of in zip(IDS, docs, strict=True)])
    found = model(torch.from_numpy(IDS), torch.from_numpy(DOCS) if packed else None).detach().double().numpy()
    assert np.abs(found - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())  # float32
