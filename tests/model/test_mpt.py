"""The model against Hugging Face's numbers (../shared/golden/mpt) and against its own definition."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mixlab.errors import ConfigError
from mixlab.model.mpt import MPT, token_logprobs
from mixlab.types import ModelSpec

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "mpt"
TOLERANCE = 1e-5  # float32; an independent implementation meets these numbers to 2e-6
torch.set_num_threads(1)


def cases() -> list[dict]:
    path = GOLDEN / "tiny_mpt_hf_golden.json"
    return json.loads(path.read_text())["cases"] if path.exists() else []


needs_golden = pytest.mark.skipif(not cases(), reason=f"golden data not there: {GOLDEN}")
each_case = pytest.mark.parametrize("case", cases() or [None], ids=lambda c: str(c and c["config"]["n_heads"]))


def golden_model(case: dict, **changes) -> tuple[MPT, torch.Tensor]:
    config = case["config"]
    spec = ModelSpec(
        d_model=config["d_model"],
        n_heads=config["n_heads"],
        n_layers=config["n_layers"],
        vocab_size=config["vocab_size"],
        max_seq_len=config["max_seq_len"],
        softmax_scale=config["attn_config"].get("softmax_scale"),
        **changes,
    )
    model = MPT(spec)
    state = {}
    for k, name in enumerate(sorted(model.state_dict())):
        shape = model.state_dict()[name].shape
        t = np.arange(shape.numel(), dtype=np.float64)
        if "norm" in name:
            w = 1 + 0.1 * np.sin(0.7 * t + k)
        else:
            x = 43758.5453 * np.sin(12.9898 * t + 78.233 * k + 0.5)
            w = ((x - np.floor(x)) * 2 - 1) * (0.5 if "wte" in name else 1 / math.sqrt(shape[-1]))
        state[name] = torch.from_numpy(w.astype(np.float32)).view(shape)
    model.load_state_dict(state)
    return model, torch.tensor(case["input_ids"])


@needs_golden
@each_case
@pytest.mark.parametrize("impl", ["torch", "sdpa"])
def test_logits_are_hugging_faces(case, impl):
    model, ids = golden_model(case, attn_impl=impl)
    logits = model(ids).detach()
    for row in (0, 1):
        for pos, expected in case[f"logits_row{row}_pos"].items():
            assert torch.allclose(logits[row, int(pos), :8], torch.tensor(expected), atol=TOLERANCE, rtol=0)
    assert logits.double().sum().item() == pytest.approx(case["logits_sum"], abs=TOLERANCE * 500)  # 4848 terms
    assert logits.double().abs().sum().item() == pytest.approx(case["logits_abs_sum"], rel=1e-6)


@needs_golden
@each_case
@pytest.mark.parametrize("impl", ["torch", "sdpa"])
def test_loss_and_gradient_norms_are_hugging_faces(case, impl):
    model, ids = golden_model(case, attn_impl=impl)
    loss = model.loss(ids)
    loss.backward()
    assert loss.item() == pytest.approx(case["loss_mean"], abs=TOLERANCE)
    norms = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    assert norms == pytest.approx(case["grad_norms"], rel=TOLERANCE)


@needs_golden
@each_case
@pytest.mark.parametrize("impl", ["torch", "sdpa"])
def test_packed_documents_give_what_each_gives_alone(case, impl):
    model, ids = golden_model(case, attn_impl=impl)
    lengths = case["docs_lengths_row0"]
    docs = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    logits = model(ids[:1], docs).detach()[0]
    for pos, expected in case["docs_packed_logits_pos"].items():
        assert torch.allclose(logits[int(pos), :8], torch.tensor(expected), atol=TOLERANCE, rtol=0)
    assert logits.double().abs().sum().item() == pytest.approx(case["docs_packed_abs_sum"], rel=1e-6)


@needs_golden
@each_case
def test_what_follows_changes_nothing_before(case):
    model, ids = golden_model(case)
    n = sum(case["right_pad_mask_row1_valid"]) if isinstance(case["right_pad_mask_row1_valid"], list) else 17
    padded = ids[1:].clone()
    padded[:, n:] = 0
    expected = torch.tensor(case["right_pad_logits_row1_pos16"])
    assert torch.allclose(model(padded)[0, 16, :8], expected, atol=TOLERANCE, rtol=0)


def test_the_first_loss_is_about_log_vocabulary_plus_one():
    torch.manual_seed(0)
    model = MPT(ModelSpec(vocab_size=1024, d_model=64))
    loss = model.loss(torch.randint(0, 1024, (8, 64))).item()
    assert loss == pytest.approx(math.log(1024) + 1, abs=0.15)


def test_init_has_mpts_standard_deviations():
    spec = ModelSpec(d_model=64, n_layers=2, vocab_size=1024)
    for name, p in MPT(spec, seed=3).named_parameters():
        if p.dim() < 2:
            assert torch.equal(p, torch.ones_like(p))
            continue
        std = math.sqrt(2 / p.shape[1]) / (2.0 if "out_proj" in name or "down_proj" in name else 1.0)
        assert p.std().item() == pytest.approx(std, rel=0.03)  # 4096 draws or more: 3 sigma = 0.033


def test_weights_depend_on_seed_and_name_alone():
    shallow, deep = MPT(ModelSpec(vocab_size=64), seed=1), MPT(ModelSpec(vocab_size=64, n_layers=2, qk_ln=True), seed=1)
    same = "transformer.blocks.1.ffn.up_proj.weight"
    assert torch.equal(shallow.state_dict()[same], deep.state_dict()[same])
    assert not torch.equal(shallow.state_dict()[same], MPT(ModelSpec(vocab_size=64), seed=2).state_dict()[same])


def test_names_are_hugging_faces():
    names = set(MPT(ModelSpec(n_layers=1, vocab_size=16)).state_dict())
    block = ("norm_1", "attn.Wqkv", "attn.out_proj", "norm_2", "ffn.up_proj", "ffn.down_proj")
    expected = {f"transformer.blocks.0.{part}.weight" for part in block}
    assert names == expected | {"transformer.wte.weight", "transformer.norm_f.weight"}


@pytest.mark.parametrize("scale", [0.3, "inv_sqrt_d_model"])
def test_logit_scale_is_in_loss_and_logprobs_too(scale):
    ids = torch.arange(24)[None]
    model, plain = (MPT(ModelSpec(vocab_size=32, logit_scale=s)) for s in (scale, None))
    assert torch.allclose(model(ids), plain(ids) * (scale if scale == 0.3 else 64**-0.5), rtol=1e-6)
    expected = torch.log_softmax(model(ids), -1)[0, torch.arange(23), torch.arange(1, 24)].detach()
    assert np.allclose(token_logprobs(model, ids.numpy())[0], expected.numpy(), atol=1e-5)
    assert model.loss(ids).item() == pytest.approx(-expected.mean().item(), abs=1e-5)


def test_bf16_stays_near_fp32():
    ids = torch.arange(64).view(2, 32)
    model = MPT(ModelSpec(vocab_size=64))
    with torch.autocast("cpu", torch.bfloat16):
        low = model.loss(ids)
    low.backward()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model.loss(ids).backward()
    assert low.item() == pytest.approx(model.loss(ids).item(), rel=0.01)  # bf16 keeps 8 bits
    assert torch.allclose(torch.stack(norms), torch.stack([p.grad.norm() for p in model.parameters()]), rtol=0.05)


@pytest.mark.parametrize("changes", [{"alibi": False}, {"n_heads": 5}, {"n_layers": 0}, {"attn_impl": "flesh"}])
def test_what_cannot_be_built_is_refused_by_name(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        MPT(ModelSpec(vocab_size=32, **changes)).loss(torch.zeros(1, 4, dtype=torch.int64))


def test_a_model_of_packed_documents_asks_for_them():
    with pytest.raises(ConfigError, match="attn_uses_sequence_id"):
        MPT(ModelSpec(vocab_size=32, attn_uses_sequence_id=True)).loss(torch.zeros(1, 4, dtype=torch.int64))
