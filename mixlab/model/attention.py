"""Causal attention with ALiBi and document masks behind one signature, whichever kernel computes it.

`backend(impl, view)` gives the function that each block of one forward pass calls; what the blocks share (the bias,
the block mask) is made once. Reads and writes nothing. Definition: llm-foundry `attention.py`, reference 1.3 and 1.6.
"""

# B batch, T queries, S keys (the T queries are the last T of the S positions), N heads, H head dim

import importlib
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mixlab.errors import ConfigError, nearest

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(q_BNTH, k_BNSH, v_BNSH) -> ctx_BNTH."""
FLEX_MIN_HEAD_DIM = 16  # smallest tile of FlexAttention's Triton kernel


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What one forward pass lets a query see."""

    slopes: tuple[float, ...]
    """ALiBi slope of each head, from `alibi_slopes`."""
    scale: float
    """Multiplies q k^T before the bias."""
    n_queries: int
    n_keys: int
    device: torch.device
    documents: Tensor | None = None
    """Document of each key, (B, S); a query sees its own document only. None: everything before it."""
    tree: tuple[Tensor, Tensor] | None = None
    """(depths, ends), (B, S) each: rows are trees in depth-first order. A query sees its ancestors and itself, which
    are the keys j <= i < ends[j], as far away as they are less deep. Without documents; torch and sdpa only."""


def alibi_slopes(n_heads: int, bias_max: int = 8) -> tuple[float, ...]:
    """Slope of each head, in head order, for any number of heads (Press et al. 2022; llm-foundry `gen_slopes`).

    >>> alibi_slopes(6)
    (0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125)
    """
    power = 2 ** math.ceil(math.log2(n_heads))
    slopes = [2.0 ** -(i * bias_max / power) for i in range(1, power + 1)]
    if power != n_heads:
        slopes = (slopes[1::2] + slopes[0::2])[:n_heads]
    return tuple(slopes)


def device_name(device: torch.device) -> str:
    """What the machine calls this device, such as "NVIDIA H200"; "cpu" for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def memory(device: torch.device) -> int:
    """Bytes of memory that a GPU has; 0 for a CPU, whose memory is not its own."""
    cuda: Any = torch.cuda  # what it tells of a device has no types
    return cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def resolve(impl: str, device: torch.device | str, precision: str, *, documents: bool = False) -> str:
    """The backend that `impl` means on this device: itself, or for `auto` the best that is there.

    `documents`: whether it has to keep documents apart. Raises ConfigError where a named backend cannot run, or cannot
    do what is asked; nothing falls back in silence.
    """
    if impl not in (*BACKENDS, "auto"):
        raise ConfigError(f"model.attn_impl={impl} is not known.{nearest(impl, [*BACKENDS, 'auto'])}")
    on_gpu = torch.device(device).type == "cuda"
    if impl == "auto":
        # sdpa: within 5 % of the reference in speed, without keeping every score for backward. flex: a quarter faster
        # than flash-attn with ALiBi and a backward pass that repeats, on an H200 at length 2048 (BENCHMARKS.md, gpu)
        return "flex" if on_gpu else "sdpa"
    if impl in ("flex", "flash") and not on_gpu:
        why = "FlexAttention has no backward pass on a CPU" if impl == "flex" else "flash-attn is for GPUs"
        raise ConfigError(f"model.attn_impl={impl} needs a GPU ({why}). Use torch, sdpa or auto.")
    if impl == "flash" and importlib.util.find_spec("flash_attn") is None:
        raise ConfigError(
            "model.attn_impl=flash needs the package flash-attn: pip install 'mixlab[flash]', or use auto."
        )
    if impl == "flash" and precision != "bf16":
        raise ConfigError(f"model.attn_impl=flash needs train.precision=bf16, not {precision}. Use sdpa or auto.")
    if impl == "flash" and documents:
        raise ConfigError(
            "model.attn_impl=flash does not keep documents apart (attn_uses_sequence_id): use flex or auto."
        )
    return impl


def backend(impl: str, view: View) -> Attend:
    """The attention function of one forward pass; `impl` is a name that `resolve` returned."""
    return BACKENDS[impl](view)


def torch_attention(view: View) -> Attend:
    """The reference: every step written out, on any device."""
    bias = _bias_of(view)

    def attend(q_BNTH: Tensor, k_BNSH: Tensor, v_BNSH: Tensor) -> Tensor:
        scores_BNTS = (q_BNTH * view.scale) @ k_BNSH.transpose(-1, -2)
        scores_BNTS = scores_BNTS.float().add_(bias)  # the bias stays float32, and so do the scores it is added to
        return torch.softmax(scores_BNTS, -1).to(v_BNSH.dtype) @ v_BNSH

    return attend


def sdpa_attention(view: View) -> Attend:
    """torch's scaled_dot_product_attention with ALiBi, causality and documents as one additive mask."""
    bias = _bias_of(view)
    bias_BNTS = bias if bias.dim() == 4 else bias[None]

    def attend(q_BNTH: Tensor, k_BNSH: Tensor, v_BNSH: Tensor) -> Tensor:
        mask = bias_BNTS.to(q_BNTH.dtype)
        return scaled_dot_product_attention(q_BNTH, k_BNSH, v_BNSH, attn_mask=mask, scale=view.scale)

    return attend


def flex_attention(view: View) -> Attend:
    """FlexAttention: ALiBi as a score function, causality and documents as a block mask that skips blocks. GPU.

    The bias is slope * key, which differs from -slope * (query - key) by a constant a row: softmax removes it, and the
    kernel adds one number a key instead of computing a distance for every score.
    """
    if view.documents is None:
        return _flex_causal(view.slopes, view.scale, view.n_queries, view.n_keys, view.device)
    return _flex(view)


@lru_cache(maxsize=4)
def _flex_causal(slopes: tuple[float, ...], scale: float, n_queries: int, n_keys: int, device: torch.device) -> Attend:
    """Kept: making a block mask takes longer than attention over a small batch, and each step asks for the same one."""
    with torch.inference_mode(False):
        return _flex(View(slopes=slopes, scale=scale, n_queries=n_queries, n_keys=n_keys, device=device))


def _flex(view: View) -> Attend:
    from torch.nn.attention.flex_attention import create_block_mask  # loads the compiler: seconds, GPU runs only
    from torch.nn.attention.flex_attention import flex_attention as kernel

    slopes_N = torch.tensor(view.slopes, device=view.device)
    docs_BS, shift, compiled = view.documents, view.n_keys - view.n_queries, _compiled_flex()

    def biased(score: Tensor, _b: Tensor, head: Tensor, _query: Tensor, key: Tensor) -> Tensor:
        return score + slopes_N[head] * key

    def visible(b: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        causal = query + shift >= key
        return causal if docs_BS is None else causal & (docs_BS[b, query + shift] == docs_BS[b, key])

    n_rows = None if docs_BS is None else docs_BS.shape[0]
    mask = create_block_mask(visible, n_rows, None, view.n_queries, view.n_keys, device=str(view.device))

    def attend(q_BNTH: Tensor, k_BNSH: Tensor, v_BNSH: Tensor) -> Tensor:
        if q_BNTH.shape[-1] < FLEX_MIN_HEAD_DIM:
            raise ConfigError(
                f"model.attn_impl=flex needs a head dimension of {FLEX_MIN_HEAD_DIM} or more, not {q_BNTH.shape[-1]}: "
                "use fewer heads, or sdpa."
            )
        run = kernel if torch.compiler.is_compiling() else compiled
        return run(q_BNTH, k_BNSH, v_BNSH, score_mod=biased, block_mask=mask, scale=view.scale)

    return attend


def flash_attention(view: View) -> Attend:
    """flash-attn 2 with `alibi_slopes`; its backward pass adds up in a fixed order, so a run repeats to the bit."""
    flash_attn_func: Callable[..., Tensor] = importlib.import_module("flash_attn").flash_attn_func  # an extra, GPU only
    if view.documents is not None:
        raise ConfigError("flash-attn does not keep documents apart: use flex or sdpa.")
    slopes_N = _slopes_on(view.slopes, view.device)

    def attend(q_BNTH: Tensor, k_BNSH: Tensor, v_BNSH: Tensor) -> Tensor:
        q_BTNH, k_BSNH, v_BSNH = (x.transpose(1, 2) for x in (q_BNTH, k_BNSH, v_BNSH))
        ctx_BTNH = flash_attn_func(
            q_BTNH, k_BSNH, v_BSNH, softmax_scale=view.scale, causal=True, alibi_slopes=slopes_N, deterministic=True
        )
        return ctx_BTNH.transpose(1, 2)

    return attend


@lru_cache(maxsize=4)
def _slopes_on(slopes: tuple[float, ...], device: torch.device) -> Tensor:
    """(N,) float32; kept, as nothing may be sent to the device while a step is captured as a graph."""
    with torch.inference_mode(False):
        return torch.tensor(slopes, device=device, dtype=torch.float32)


def _bias_of(view: View) -> Tensor:
    """ALiBi and the masks as float32 to add to scores: (N, T, S), or (B, N, T, S) with documents or trees."""
    if view.tree is not None:
        return _tree_bias(view, *view.tree)
    bias_NTS = _alibi_bias(view.slopes, view.n_queries, view.n_keys, view.device)
    if view.documents is None:
        return bias_NTS
    queries_BT = view.documents[:, -view.n_queries :]
    foreign_BTS = queries_BT[:, :, None] != view.documents[:, None, :]
    return bias_NTS[None].masked_fill(foreign_BTS[:, None], -math.inf)


def _tree_bias(view: View, depths_BS: Tensor, ends_BS: Tensor) -> Tensor:
    """-slope * (levels between them) where a key is the query's ancestor or itself, else -inf; (B, N, S, S) float32."""
    at_S = torch.arange(view.n_keys, device=view.device)
    unseen_BSS = (at_S[None, None, :] > at_S[None, :, None]) | (at_S[None, :, None] >= ends_BS[:, None, :])
    ahead_BSS = (depths_BS[:, None, :] - depths_BS[:, :, None]).float().masked_fill_(unseen_BSS, -math.inf)
    slopes_N11 = torch.tensor(view.slopes, device=view.device, dtype=torch.float32)[:, None, None]
    return ahead_BSS[:, None] * slopes_N11


@lru_cache(maxsize=2)
def _alibi_bias(slopes: tuple[float, ...], n_queries: int, n_keys: int, device: torch.device) -> Tensor:
    """-slope * (i - j) for j <= i and -inf above, (N, T, S) float32; kept, as every step asks for the same one."""
    with torch.inference_mode(False):  # a tensor born in inference mode could not be used in training later
        query_T1 = torch.arange(n_keys - n_queries, n_keys, device=device)[:, None]
        ahead_TS = (torch.arange(n_keys, device=device)[None] - query_T1).float()
        slopes_N11 = torch.tensor(slopes, device=device, dtype=torch.float32)[:, None, None]
        return (slopes_N11 * ahead_TS).masked_fill(ahead_TS > 0, -math.inf)


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Tensor]:
    """FlexAttention compiled once per process; uncompiled it would materialise every score."""
    from torch.nn.attention.flex_attention import flex_attention as kernel  # see flex_attention

    return torch.compile(kernel, dynamic=False)  # pyright: ignore[reportUnknownMemberType]  # its backend is a bare Callable


BACKENDS: dict[str, Callable[[View], Attend]] = {
    "torch": torch_attention,
    "sdpa": sdpa_attention,
    "flex": flex_attention,
    "flash": flash_attention,
}
