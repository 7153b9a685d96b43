"""An MPT as a Hugging Face folder and back: config.json, model.safetensors, and the tokenizer files it is given.

Writes a folder whole or not at all; reads any folder that says it is an MPT. Hugging Face's MptForCausalLM ignores
many of MPT's settings without a word, so each of those is refused by name: reference mpt-and-training.md 1.2 and 2.
"""

# V vocab, B batch, T sequence

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.model.mpt import MPT
from mixlab.seeds import generator
from mixlab.types import ModelSpec
from mixlab.workspace import disk_errors, read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
EXPANSION_RATIO, BIAS_MAX = 4, 8  # what MptForCausalLM computes whatever the config says
PROBE_ROWS = 2
Refusal = tuple[str, Any, str]
"""(setting, the only value that is possible, what goes wrong with another)."""


def export_hf(model: MPT, out: Path, files: Mapping[str, bytes]) -> float:
    """Largest difference of a logit between `model` and the folder `out` read back; `files` (tokenizer) go beside.

    logit_scale is folded into norm_f, exactly for powers of two; dropout is left behind, as it matters in training
    only. Raises ConfigError for a setting that Hugging Face would silently compute otherwise and for a folder that is
    not empty, EnvironmentFault if it cannot be written.
    """
    refuse(model.spec)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already and not empty: export into a new folder.")
    tmp = out.parent / f".{out.name}.tmp-{uuid.uuid4().hex[:8]}"
    with disk_errors(out):
        try:
            tmp.mkdir(parents=True)
            config = json.dumps(config_of(model.spec), indent=2) + "\n"
            (tmp / "config.json").write_text(config, encoding="utf-8")
            (tmp / WEIGHTS).write_bytes(save(_folded(model), {"format": "pt"}))
            for name, content in files.items():
                (tmp / name).write_bytes(content)
            difference = _difference(model, tmp)
            if out.exists():
                out.rmdir()  # empty, as was checked above
            tmp.rename(out)
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
    return difference


def refuse(spec: ModelSpec) -> None:
    """Raises ConfigError that names every setting of `spec` that MptForCausalLM would ignore."""
    wrong = [(f"model.{name}={getattr(spec, name)}", why) for name, can, why in REFUSED if getattr(spec, name) != can]
    if wrong:
        told = "; ".join(f"{setting} ({why})" for setting, why in wrong)
        raise ConfigError(
            f"this model cannot be exported to Hugging Face, which would load it without a word and compute something "
            f"else: {told}. Train one with the defaults of these settings."
        )


def config_of(spec: ModelSpec) -> dict[str, Any]:
    """config.json of an exported model. max_position_embeddings is where lm-evaluation-harness reads the context."""
    return {
        "architectures": ["MptForCausalLM"],
        "model_type": "mpt",
        "d_model": spec.d_model,
        "n_heads": spec.n_heads,
        "n_layers": spec.n_layers,
        "expansion_ratio": EXPANSION_RATIO,
        "max_seq_len": spec.max_seq_len,
        "max_position_embeddings": spec.max_seq_len,
        "vocab_size": spec.vocab_size,
        "no_bias": True,
        "learned_pos_emb": False,
        "layer_norm_epsilon": spec.norm_eps,
        "tie_word_embeddings": True,
        "dtype": "float32",
        "attn_config": {
            "alibi": True,
            "alibi_bias_max": BIAS_MAX,
            "attn_impl": "torch",
            "attn_pdrop": 0,  # an integer: transformers 5 refuses 0.0 here, and integers in the next two
            "clip_qkv": None if spec.clip_qkv is None else float(spec.clip_qkv),
            "softmax_scale": None if spec.softmax_scale is None else float(spec.softmax_scale),
        },
    }


def shape_of(folder: Path, spec: ModelSpec) -> ModelSpec:
    """`spec` with the architecture of the model in `folder`; length, backend, dropout and document masks stay.

    Raises ConfigError, naming the setting, for a folder whose model is not an MPT as mixlab builds it, or is one that
    transformers would compute differently from what its config says.
    """
    told = _config(folder)
    attention: dict[str, Any] = told.get("attn_config") or {}
    if told.get("model_type") != "mpt":
        raise ConfigError(
            f"{folder}: its model_type is '{told.get('model_type')}', not 'mpt': only an MPT can be read."
        )
    wrong = [f"{n}={told[n]} ({why})" for n, can, why in IMPORTABLE if n in told and told[n] != can]
    wrong += [
        f"attn_config.{n}={attention[n]} ({why})"
        for n, can, why in IMPORTABLE_ATTENTION
        if n in attention and attention[n] != can
    ]
    if wrong:
        raise ConfigError(f"{folder} cannot be read: {'; '.join(wrong)}.")
    missing = [n for n in ("d_model", "n_heads", "n_layers", "vocab_size") if not isinstance(told.get(n), int)]
    if missing:
        raise ConfigError(f"{folder / 'config.json'} does not say {', '.join(missing)}.")
    eps = told.get("layer_norm_epsilon", told.get("norm_eps", 1e-5))
    return replace(
        spec,
        d_model=told["d_model"],
        n_heads=told["n_heads"],
        n_layers=told["n_layers"],
        vocab_size=told["vocab_size"],
        expansion_ratio=EXPANSION_RATIO,
        alibi=True,
        alibi_bias_max=BIAS_MAX,
        no_bias=True,
        qk_ln=False,
        norm_eps=eps,
        logit_scale=None,
        clip_qkv=attention.get("clip_qkv"),
        softmax_scale=attention.get("softmax_scale"),
    )


def load_hf(model: MPT, folder: Path) -> None:
    """Gives `model` the weights in `folder`, as float32. Raises ConfigError if a name or a shape does not fit."""
    found = {name.removeprefix("model."): t.float() for name, t in _tensors(folder).items()}
    head, wte = found.pop("lm_head.weight", None), found.get("transformer.wte.weight")
    if head is not None and (wte is None or not torch.equal(head, wte)):
        raise ConfigError(
            f"{folder} holds an lm_head of its own, but mixlab's MPT reads its embedding backwards (tied)."
        )
    try:
        model.load_state_dict(found)
    except RuntimeError as e:
        raise ConfigError(f"{folder} does not fit model.* of this run: {' '.join(str(e).split())}") from e


def _folded(model: MPT) -> dict[str, Tensor]:
    """The weights by Hugging Face's names; logit_scale is in norm_f, as there is no other place for it."""
    tensors = {name: t.detach().float().cpu().contiguous() for name, t in model.state_dict().items()}
    if model.logit_scale is not None:
        tensors["transformer.norm_f.weight"] = tensors["transformer.norm_f.weight"] * model.logit_scale
    return tensors


@torch.no_grad()
def _difference(model: MPT, folder: Path) -> float:
    """Largest difference of a logit on random ids between `model` and what `folder` holds."""
    plain = replace(model.spec, attn_impl="torch", attn_uses_sequence_id=False)
    copy = MPT(shape_of(folder, plain))
    load_hf(copy, folder)
    ids = generator(0, "export").integers(model.spec.vocab_size, size=(PROBE_ROWS, min(64, model.spec.max_seq_len)))
    ids_BT = torch.as_tensor(ids.astype(np.int64))
    was_training = model.training
    difference = (model.eval()(ids_BT.to(model.device)).cpu() - copy.eval()(ids_BT)).abs().max().item()
    model.train(was_training)
    return difference


def _config(folder: Path) -> dict[str, Any]:
    """config.json of a folder."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} holds no config.json: name a folder that Hugging Face's MptForCausalLM reads.")
    return read_json(folder / "config.json")


def _tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder, of one file or several; safetensors only, as pickle can run code."""
    names = [WEIGHTS]
    if (folder / INDEX).is_file():
        names = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
    found: dict[str, Tensor] = {}
    for name in names:
        path = folder / Path(name).name
        try:
            found |= load(path.read_bytes())
        except FileNotFoundError:
            raise ConfigError(f"{path} is not there: mixlab reads weights from safetensors files only.") from None
        except SafetensorError as e:
            raise EnvironmentFault(f"{path} is damaged ({e}). Fetch or export it again.") from e
    return found


REFUSED: tuple[Refusal, ...] = (
    ("alibi", True, "it always adds ALiBi"),
    ("alibi_bias_max", BIAS_MAX, "it always takes 8"),
    ("expansion_ratio", EXPANSION_RATIO, "its feed-forward is always 4 d_model wide"),
    ("no_bias", True, "it has no biases"),
    ("qk_ln", False, "it does not norm queries and keys"),
)

IMPORTABLE: tuple[Refusal, ...] = (
    ("expansion_ratio", EXPANSION_RATIO, "transformers ignores it: the weights decide, and only 4 is unambiguous"),
    ("no_bias", True, "transformers drops the biases"),
    ("logit_scale", None, "transformers ignores it"),
    ("final_logit_softcapping", None, "transformers ignores it"),
    ("tie_word_embeddings", True, "mixlab ties the embedding"),
)
"""`learned_pos_emb` is left out: with ALiBi it is off, whatever a config says."""

IMPORTABLE_ATTENTION: tuple[Refusal, ...] = (
    ("alibi", True, "transformers adds ALiBi all the same"),
    ("alibi_bias_max", BIAS_MAX, "transformers takes 8 all the same"),
    ("attn_type", "multihead_attention", "mixlab has multi-head attention only"),
    ("prefix_lm", False, "mixlab's attention is causal"),
    ("qk_ln", False, "transformers ignores it"),
    ("qk_gn", False, "transformers ignores it"),
    ("rope", False, "transformers ignores it"),
    ("sliding_window_size", -1, "transformers ignores it"),
    ("attn_logit_softcapping", None, "transformers ignores it"),
)
