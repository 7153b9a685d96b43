"""The MPT model: pre-norm blocks, ALiBi, tied embedding, parameters named as Hugging Face's MptForCausalLM.

Reads and writes nothing. Definition: llm-foundry `modeling_mpt.py` at 8c8dd48; reference mpt-and-training.md 1.
"""

# B batch, T sequence, S keys, D d_model, N heads, H head dim, V vocab, M tokens

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, layer_norm, linear, pad

from mixlab.errors import ConfigError
from mixlab.model.attention import Attend, View, alibi_slopes, backend, resolve
from mixlab.model.judge import judge
from mixlab.model.loss import NO_TARGET, cross_entropy, nats
from mixlab.seeds import seed_of
from mixlab.types import ModelSpec

Cache = list[tuple[Tensor, Tensor]]
"""One (k_BNSH, v_BNSH) per block, of the tokens seen so far; empty at first."""


class MPT(nn.Module):
    """A causal language model of `spec`, with weights that depend on `seed` and each parameter's name alone."""

    def __init__(self, spec: ModelSpec, seed: int = 0):
        super().__init__()
        _check(spec)
        self.spec = spec
        self.seed = seed
        self.slopes = alibi_slopes(spec.n_heads, spec.alibi_bias_max)
        self.scale = (spec.d_model // spec.n_heads) ** -0.5 if spec.softmax_scale is None else spec.softmax_scale
        self.logit_scale = spec.d_model**-0.5 if isinstance(spec.logit_scale, str) else spec.logit_scale
        self.transformer = _Transformer(spec)
        self._kept: Attend | None = None
        _initialise(self, seed)

    def compile_blocks(self) -> None:
        """torch.compile of the blocks: one program for all of them, as they differ in weights alone."""
        for block in self.transformer.blocks:
            block.compile(dynamic=False)  # pyright: ignore[reportUnknownMemberType]  # torch types none of its options

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.transformer.wte.weight.device

    def forward(self, ids_BT: Tensor, doc_ids_BT: Tensor | None = None) -> Tensor:
        """Logits (B, T, V). With `doc_ids_BT` no token sees another document, as if each had been run alone."""
        return self.logits(self.hidden(ids_BT, doc_ids_BT))

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Logits (B, T, V) of final states: the embedding read backwards."""
        logits_BTV = linear(x_BTD, self.transformer.wte.weight)
        return logits_BTV if self.logit_scale is None else logits_BTV * self.logit_scale

    def loss(self, ids_BT: Tensor, doc_ids_BT: Tensor | None = None) -> Tensor:
        """Mean nats per next token over the batch; the last token of a row has no target."""
        return self.losses(ids_BT, doc_ids_BT)[0]

    def losses(self, ids_BT: Tensor, doc_ids_BT: Tensor | None = None, z_loss: float = 0.0) -> tuple[Tensor, Tensor]:
        """(loss to minimise, mean nats per next token); the first adds z_loss * mean(logsumexp^2) (open_lm)."""
        if self.spec.attn_uses_sequence_id and doc_ids_BT is None:
            raise ConfigError("model.attn_uses_sequence_id=true needs the document of each token: give doc_ids_BT.")
        x_BTD, wte_VD = self.hidden(ids_BT, doc_ids_BT), self.transformer.wte.weight
        if x_BTD.device.type == "cuda":  # a row's last token stays, without a target: cutting it off copies all states
            x_MD, targets_M = x_BTD.flatten(0, 1), pad(ids_BT[:, 1:], (0, 1), value=NO_TARGET).flatten()
        else:
            x_MD, targets_M = x_BTD[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten()
        return cross_entropy(x_MD, wte_VD, targets_M, scale=self._logit_scale, z_loss=z_loss)

    def nats(self, ids_BT: Tensor) -> Tensor:
        """-log p(ids[:, t+1] | ids[:, :t+1]), (B, T-1) float32, without a gradient and without keeping logits."""
        x_MD = self.hidden(ids_BT)[:, :-1].flatten(0, 1)
        nats_M = nats(x_MD, self.transformer.wte.weight, ids_BT[:, 1:].flatten(), scale=self._logit_scale)
        return nats_M.view(ids_BT.shape[0], ids_BT.shape[1] - 1)

    def judge(self, x_UD: Tensor, at_M: Tensor, targets_M: Tensor) -> tuple[Tensor, Tensor]:
        """(log p of each target, whether it is the likeliest), (M,): final state `at_M` of U judges target M."""
        return judge(x_UD, self.transformer.wte.weight, at_M, targets_M, scale=self._logit_scale)

    def hidden(
        self,
        ids_BT: Tensor,
        doc_ids_BS: Tensor | None = None,
        cache: Cache | None = None,
        tree: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Final states (B, T, D) after norm_f.

        With a cache the T tokens follow those in it: its keys are used, theirs are added, `doc_ids_BS` covers both,
        and the reference attention is used. Any length goes: ALiBi knows no last position. With `tree` rows are trees
        (attention.View; (1, T) each for all rows alike), and sdpa is used: on a CPU up to four times as fast as the
        reference, from which it differs by 1e-6.
        """
        if ids_BT.dim() != 2 or ids_BT.is_floating_point():
            raise ConfigError(
                f"token ids are whole numbers of shape (rows, tokens), not {ids_BT.dtype} {tuple(ids_BT.shape)}."
            )
        n_before = cache[0][0].shape[2] if cache else 0
        view = View(
            slopes=self.slopes,
            scale=self.scale,
            n_queries=ids_BT.shape[1],
            n_keys=n_before + ids_BT.shape[1],
            device=ids_BT.device,
            documents=doc_ids_BS,
            tree=tree,
        )
        name = "sdpa" if tree is not None else "torch" if cache is not None else self._backend()
        attend = backend(name, view)
        if self.training:
            self._kept = attend  # what a captured step reads must stay, whoever else asks for other shapes
        x_BTD = self.transformer.wte(ids_BT)
        for i, block in enumerate(self.transformer.blocks):
            run = block if self.training else block.forward  # uncompiled: an exam asks for many shapes, once each
            x_BTD = run(x_BTD, attend, cache, i)
        return self.transformer.norm_f(x_BTD)

    def _backend(self) -> str:
        """Name of the attention to use now; on a GPU that of an exam takes every shape and precision uncompiled."""
        if not self.training and self.device.type == "cuda":
            return "sdpa"
        precision = "bf16" if torch.is_autocast_enabled(self.device.type) else "fp32"
        return resolve(self.spec.attn_impl, self.device, precision, documents=self.spec.attn_uses_sequence_id)

    @property
    def _logit_scale(self) -> float:
        return 1.0 if self.logit_scale is None else self.logit_scale


@torch.inference_mode()
def token_logprobs(model: MPT, ids_BT: np.ndarray) -> np.ndarray:
    """log p(ids[:, t+1] | ids[:, :t+1]) in nats, (B, T-1) float64, computed in the model's own precision."""
    ids = torch.as_tensor(np.ascontiguousarray(ids_BT, dtype=np.int64)).to(model.device)
    return -model.nats(ids).double().cpu().numpy()


class _Transformer(nn.Module):
    """Holder of the weights below the name `transformer`."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.wte = nn.Embedding(spec.vocab_size, spec.d_model, _weight=torch.empty(spec.vocab_size, spec.d_model))
        self.blocks = nn.ModuleList(_Block(spec) for _ in range(spec.n_layers))
        self.norm_f = _Norm(spec)


class _Block(nn.Module):
    """x + attention(norm_1(x)), then x + ffn(norm_2(x))."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.resid_pdrop = spec.resid_pdrop
        self.norm_1 = _Norm(spec)
        self.attn = _Attention(spec)
        self.norm_2 = _Norm(spec)
        self.ffn = _FeedForward(spec)

    def forward(self, x_BTD: Tensor, attend: Attend, cache: Cache | None, i: int) -> Tensor:
        x_BTD = x_BTD + self._drop(self.attn(self.norm_1(x_BTD), attend, cache, i))
        return x_BTD + self._drop(self.ffn(self.norm_2(x_BTD)))

    def _drop(self, x_BTD: Tensor) -> Tensor:
        return dropout(x_BTD, self.resid_pdrop, self.training) if self.resid_pdrop else x_BTD


class _Attention(nn.Module):
    """Wqkv gives all q, then all k, then all v, heads contiguous in each."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.n_heads = spec.n_heads
        self.clip_qkv = spec.clip_qkv
        self.Wqkv = _linear(spec, spec.d_model, 3 * spec.d_model)
        self.out_proj = _linear(spec, spec.d_model, spec.d_model)
        self.q_ln = _Norm(spec) if spec.qk_ln else None
        self.k_ln = _Norm(spec) if spec.qk_ln else None

    def forward(self, x_BTD: Tensor, attend: Attend, cache: Cache | None, i: int) -> Tensor:
        qkv = self.Wqkv(x_BTD)
        if self.clip_qkv is not None:
            qkv = qkv.clamp(-self.clip_qkv, self.clip_qkv)
        q_BTD, k_BTD, v_BTD = qkv.chunk(3, dim=-1)
        if self.q_ln is not None and self.k_ln is not None:
            q_BTD, k_BTD = self.q_ln(q_BTD), self.k_ln(k_BTD)
        q_BNTH, k_BNSH, v_BNSH = (y.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for y in (q_BTD, k_BTD, v_BTD))
        if cache is not None:
            k_BNSH, v_BNSH = _remember(cache, i, k_BNSH, v_BNSH)
        return self.out_proj(attend(q_BNTH, k_BNSH, v_BNSH).transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    """down_proj(gelu(up_proj(x))) with the exact (erf) GELU."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.up_proj = _linear(spec, spec.d_model, spec.expansion_ratio * spec.d_model)
        self.down_proj = _linear(spec, spec.expansion_ratio * spec.d_model, spec.d_model)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(gelu(self.up_proj(x_BTD)))


class _Norm(nn.LayerNorm):
    """MPT's low_precision_layernorm: under autocast its input and output are of the lower type; else a LayerNorm."""

    def __init__(self, spec: ModelSpec):
        super().__init__(spec.d_model, eps=spec.norm_eps, bias=not spec.no_bias)  # pyright: ignore[reportUnknownMemberType]  # torch leaves its device and dtype open

    def forward(self, input: Tensor) -> Tensor:
        kind = input.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(input)
        dtype = torch.get_autocast_dtype(kind)
        bias = self.bias.to(dtype) if self.bias is not None else None  # pyright: ignore[reportUnnecessaryComparison]  # torch types it as always there
        with torch.autocast(kind, enabled=False):
            return layer_norm(input.to(dtype), self.normalized_shape, self.weight.to(dtype), bias, self.eps)


class _Linear(nn.Linear):
    """A Linear whose weights are set later, so that none are drawn from the global generator."""

    def reset_parameters(self) -> None:
        """Nothing: a meta device would do as well, and load half a second of torch for it."""


def _linear(spec: ModelSpec, d_in: int, d_out: int) -> nn.Linear:
    return _Linear(d_in, d_out, bias=not spec.no_bias)


def _remember(cache: Cache, i: int, k_BNSH: Tensor, v_BNSH: Tensor) -> tuple[Tensor, Tensor]:
    """All keys and values of block i up to now; the cache is brought up to date."""
    if i == len(cache):
        cache.append((k_BNSH, v_BNSH))
    else:
        cache[i] = (torch.cat((cache[i][0], k_BNSH), 2), torch.cat((cache[i][1], v_BNSH), 2))
    return cache[i]


@torch.no_grad()
def _initialise(model: MPT, seed: int) -> None:
    """MPT's init: normal with std sqrt(2 / fan_in), the embedding included; residual outputs / sqrt(2 n_layers).

    With a tied embedding of std sqrt(2 / d) the first loss is about ln V + 1.
    """
    for name, p in model.named_parameters():
        if p.dim() < 2:
            p.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        std = math.sqrt(2.0 / p.shape[1])
        if name.endswith(("out_proj.weight", "down_proj.weight")):
            std /= math.sqrt(2 * model.spec.n_layers)
        p.normal_(0.0, std, generator=torch.Generator().manual_seed(seed_of(seed, "init", name)))


def _check(spec: ModelSpec) -> None:
    """Refuses shapes that no MPT has, and settings that are not built."""
    if spec.d_model % spec.n_heads:
        raise ConfigError(f"model.d_model={spec.d_model} does not divide into model.n_heads={spec.n_heads} heads.")
    if not spec.alibi:
        raise ConfigError("model.alibi=false is not built: without ALiBi this model would not know any position.")
    if min(spec.n_layers, spec.n_heads, spec.vocab_size, spec.expansion_ratio) < 1:
        raise ConfigError("model.n_layers, n_heads, vocab_size and expansion_ratio must each be at least 1.")
