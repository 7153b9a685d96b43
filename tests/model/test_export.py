"""An exported folder computes what the model computed; what would not, is refused by name."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.model.export import REFUSED, WEIGHTS, export_hf, load_hf, shape_of
from mixlab.model.mpt import MPT
from mixlab.types import ModelSpec

torch.set_num_threads(1)
SPEC = ModelSpec(
    d_model=48, n_heads=6, n_layers=2, vocab_size=101, max_seq_len=32
)  # 6 heads: slopes off the power of 2
IDS_BT = torch.arange(48).mul(37).add(11).remainder(101).view(2, 24)
VARIANTS = [
    {},
    {"clip_qkv": 1, "softmax_scale": 0.2},
    {"logit_scale": 0.3},
    {"logit_scale": "inv_sqrt_d_model"},
    {"norm_eps": 1e-3, "attn_uses_sequence_id": True, "resid_pdrop": 0.1},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_folder_read_back_is_the_same_model(tmp_path, changes):
    model = MPT(replace(SPEC, **changes), seed=3).eval()
    assert export_hf(model, tmp_path / "hf", {"tokenizer.json": b"{}"}) < 1e-5
    copy = MPT(shape_of(tmp_path / "hf", SPEC)).eval()
    load_hf(copy, tmp_path / "hf")
    assert torch.allclose(copy(IDS_BT), model(IDS_BT), atol=1e-5)
    assert {p.name for p in (tmp_path / "hf").iterdir()} == {"config.json", WEIGHTS, "tokenizer.json"}


@pytest.mark.parametrize("changes", VARIANTS)
def test_transformers_loads_it_and_gives_the_same_logits(tmp_path, changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        model = MPT(replace(SPEC, **changes), seed=3).eval()
        export_hf(model, tmp_path / "hf", {})
        theirs, told = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", output_loading_info=True)
        config = transformers.AutoConfig.from_pretrained(tmp_path / "hf")
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    with torch.no_grad():
        assert torch.allclose(theirs.eval()(IDS_BT).logits, model(IDS_BT), atol=1e-5)
    assert config.max_position_embeddings == config.max_seq_len == SPEC.max_seq_len  # lm-evaluation-harness reads one


@pytest.mark.parametrize(("name", "value"), [
    ("alibi_bias_max", 16), ("expansion_ratio", 2), ("no_bias", False), ("qk_ln", True)
])  # fmt: skip
def test_what_transformers_would_ignore_is_refused_by_name(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"model.{name}={value}"):
        export_hf(MPT(replace(SPEC, **{name: value})), tmp_path / "hf", {})
    assert not list(tmp_path.iterdir())
    assert name in [n for n, _, _ in REFUSED]


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "mine").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        export_hf(MPT(SPEC), tmp_path / "hf", {})
    assert [p.name for p in (tmp_path / "hf").iterdir()] == ["mine"]


def test_an_unwritable_folder_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"cannot write .*file/hf: it lies below something that is no folder"):
        export_hf(MPT(SPEC), tmp_path / "file" / "hf", {})


@pytest.mark.parametrize(("change", "told"), [
    ({"model_type": "gpt2"}, "model_type is 'gpt2'"),
    ({"attn_config": {"alibi": False}}, "attn_config.alibi=False"),
    ({"attn_config": {"alibi": True, "qk_ln": True}}, "attn_config.qk_ln=True"),
    ({"logit_scale": 0.5}, "logit_scale=0.5"),
    ({"d_model": None}, "does not say d_model"),
])  # fmt: skip
def test_a_foreign_folder_that_is_ambiguous_is_refused_by_name(tmp_path, change, told):
    export_hf(MPT(SPEC), tmp_path / "hf", {})
    path = tmp_path / "hf" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=told):
        shape_of(tmp_path / "hf", SPEC)


def test_weights_that_do_not_fit_are_refused_with_a_sentence(tmp_path):
    export_hf(MPT(SPEC), tmp_path / "hf", {})
    with pytest.raises(ConfigError, match=r"does not fit model\.\*"):
        load_hf(MPT(replace(SPEC, d_model=24)), tmp_path / "hf")
    with pytest.raises(ConfigError, match=r"no config\.json"):
        shape_of(tmp_path, SPEC)
    (tmp_path / "hf" / WEIGHTS).write_bytes(b"torn")
    with pytest.raises(EnvironmentFault, match="damaged"):
        load_hf(MPT(SPEC), tmp_path / "hf")


def test_an_untied_head_is_refused_and_a_tied_copy_is_not(tmp_path):
    export_hf(MPT(SPEC), tmp_path / "hf", {})
    path: Path = tmp_path / "hf" / WEIGHTS
    tensors = load(path.read_bytes())
    path.write_bytes(save({**tensors, "lm_head.weight": tensors["transformer.wte.weight"].clone()}))
    load_hf(MPT(SPEC), tmp_path / "hf")
    path.write_bytes(save({**tensors, "lm_head.weight": tensors["transformer.wte.weight"] + 1}))
    with pytest.raises(ConfigError, match="lm_head of its own"):
        load_hf(MPT(SPEC), tmp_path / "hf")
