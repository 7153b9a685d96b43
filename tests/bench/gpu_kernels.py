"""Attention on a GPU, alone: milliseconds of forward and backward of each backend; and what the machine gives.

bf16, 32,768 tokens a pass, head dimension 64. `of peak` counts the causal half (backward 2.5 times the forward)
against 989 TFLOP/s. `no ALiBi` rows are ceilings, not choices.
"""

# B batch, T sequence, S keys, N heads, H head dim, E spare dims

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad, scaled_dot_product_attention

from mixlab.model.attention import Attend, View, alibi_slopes, backend

PEAK = 989e12  # FLOP/s of an H200 in dense bf16 (data sheet)
TOKENS = 32_768


def rows() -> list[dict[str, str]]:
    need_gpu()
    return [*limits(), *attention()]


def need_gpu() -> None:
    """Leaves, on a machine where these figures would mean nothing; the section that is there stays."""
    if not torch.cuda.is_available():
        sys.exit("the gpu topics need a GPU: run `python -m tests.bench.gpu --report FILE` on a machine that has one")


def limits(n: int = 8192) -> Iterator[dict[str, str]]:
    """What the machine gives: a large bf16 product of random numbers, and a copy (bytes read and written)."""
    a, b = (torch.randn(n, n, device=device(), dtype=torch.bfloat16) for _ in range(2))
    ms = milliseconds(lambda: a @ b)
    yield line("limit", f"bf16 product, {n} cubed", ms, f"{2 * n**3 / ms / 1e9:,.0f} TFLOP/s", 2 * n**3)
    big = torch.empty(n * n * 16, device=device(), dtype=torch.bfloat16)
    other = torch.empty_like(big)
    ms = milliseconds(lambda: other.copy_(big))
    yield line("limit", "copy", ms, f"{4 * big.numel() / ms / 1e9:,.2f} TB/s")


def attention(
    n_heads: int = 12, lengths: tuple[int, ...] = (1024, 2048), tokens: int = TOKENS
) -> Iterator[dict[str, str]]:
    """Every backend at head dimension 64; a way that this machine cannot run says so."""
    for length in lengths:
        q, k, v = (
            torch.randn(tokens // length, length, 3, n_heads, 64, device=device(), dtype=torch.bfloat16)
            .unbind(2)[i]
            .transpose(1, 2)
            .detach()
            .requires_grad_()
            for i in range(3)
        )
        grad = torch.randn(tokens // length, length, n_heads, 64, device=device(), dtype=torch.bfloat16).transpose(1, 2)
        slopes = alibi_slopes(n_heads)
        view = View(slopes=slopes, scale=0.125, n_queries=length, n_keys=length, device=q.device)
        flop = 3.5 * 2 * tokens * length * n_heads * 64
        with torch.no_grad():
            exact = reference(q[:1].double(), k[:1].double(), v[:1].double(), view)
        for name, attend in ATTENTION.items():
            yield measured(
                f"attention {n_heads} heads, {length}", name, partial(attend, view), (q, k, v), grad, exact, flop
            )


def measured(what: str, name: str, make: Callable[[], Attend], qkv, grad: Tensor, exact: Tensor, flop: float):
    """One row: forward, and forward with backward; the error of the forward against float64."""
    fresh()
    try:
        attend = make()
        out = attend(*qkv)
        error = float((out[:1].detach().double() - exact).norm() / exact.norm())
        forward = milliseconds(lambda: attend(*[x.detach() for x in qkv]))
        both = milliseconds(lambda: torch.autograd.grad(attend(*qkv), qkv, grad))
    except (RuntimeError, NotImplementedError, ImportError) as e:
        return line(what, name, None, f"{type(e).__name__}: {str(e).splitlines()[0][:60]}")
    return line(what, name, both, f"forward {forward:.2f} ms, error {error:.1e}", flop)


def reference(q: Tensor, k: Tensor, v: Tensor, view: View) -> Tensor:
    """float64, a head at a time."""
    ahead = torch.arange(view.n_keys, device=q.device)[None] - torch.arange(view.n_queries, device=q.device)[:, None]
    outs = []
    for head, slope in enumerate(view.slopes):
        scores = q[:, head] @ k[:, head].transpose(-1, -2) * view.scale + slope * ahead
        outs.append(torch.softmax(scores.masked_fill(ahead > 0, -torch.inf), -1) @ v[:, head])
    return torch.stack(outs, 1)


def named(name: str, view: View) -> Attend:
    """A backend of mixlab's."""
    return backend(name, view)


def flex(view: View, *, key_only: bool, **options: int) -> Attend:
    """FlexAttention; `key_only` adds slope * key, which softmax cannot tell from -slope * (query - key)."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    slopes_N = torch.tensor(view.slopes, device=view.device)

    def far(score: Tensor, _b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + slopes_N[head] * key if key_only else score - slopes_N[head] * (query - key)

    def causal(_b: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return query >= key

    mask = create_block_mask(causal, None, None, view.n_queries, view.n_keys, device=str(view.device))
    kernel = torch.compile(flex_attention, dynamic=False)
    return lambda q, k, v: kernel(
        q, k, v, score_mod=far, block_mask=mask, scale=view.scale, kernel_options=options or None
    )


def plain(view: View, *, kernel: SDPBackend) -> Attend:
    """Causal attention without ALiBi: what the spare dimensions cost is the difference to it."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(kernel):
            return scaled_dot_product_attention(q, k, v, is_causal=True, scale=view.scale)

    return attend


def spare(view: View, *, kernel: SDPBackend, dims: int, values: bool, compiled: bool = True) -> Attend:
    """ALiBi in `dims` spare dimensions of q and k on a plain causal kernel; `values`: v is widened as well."""
    q_NE, k_SE = spare_dims(view, dims)

    def widen(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_extra = q_NE[None, :, None].expand(*q.shape[:3], dims).to(q.dtype)
        k_extra = k_SE[None, None].expand(*k.shape[:3], dims).to(k.dtype)
        return torch.cat((q, q_extra), -1), torch.cat((k, k_extra), -1), pad(v, (0, dims)) if values else v

    widened = torch.compile(widen, dynamic=False) if compiled else widen

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v_wide = widened(q, k, v)
        with sdpa_kernel(kernel):
            ctx = scaled_dot_product_attention(q, k, v_wide, is_causal=True, scale=view.scale)
        return ctx[..., : v.shape[-1]]

    return attend


def spare_dims(view: View, dims: int) -> tuple[Tensor, Tensor]:
    """(q_NE, k_SE) with q . k = slope * key / scale: slope and position as two bf16 parts each."""
    slopes_N = torch.tensor(view.slopes, device=view.device) / view.scale
    high_N = slopes_N.bfloat16().float()
    low_N = slopes_N - high_N
    key_S = torch.arange(view.n_keys, device=view.device)
    far_S, near_S = (key_S // 128 * 128).float(), (key_S % 128).float()
    q_NE = torch.stack((high_N, high_N, low_N, low_N), -1)
    k_SE = torch.stack((far_S, near_S, far_S, near_S), -1)
    return pad(q_NE, (0, dims - 4)), pad(k_SE, (0, dims - 4))


ATTENTION: dict[str, Callable[[View], Attend]] = {
    "torch": partial(named, "torch"),
    "sdpa": partial(named, "sdpa"),
    "flex, query - key": partial(flex, key_only=False),
    "flex, key": partial(flex, key_only=True),
    "flex, key, forward 128x64, 4 warps": partial(
        flex, key_only=True, fwd_BLOCK_M=128, fwd_BLOCK_N=64, fwd_num_warps=4
    ),
    "flex, key, forward 128x128, 8 warps": partial(
        flex, key_only=True, fwd_BLOCK_M=128, fwd_BLOCK_N=128, fwd_num_warps=8
    ),
    "flex, key, every row safe": partial(flex, key_only=True, ROWS_GUARANTEED_SAFE=True, BLOCKS_ARE_CONTIGUOUS=True),
    "flex, key, TMA": partial(flex, key_only=True, USE_TMA=True),
    "flex, key, backward 64x128": partial(
        flex, key_only=True, bwd_BLOCK_M1=64, bwd_BLOCK_N1=128, bwd_BLOCK_M2=128, bwd_BLOCK_N2=64
    ),
    "flex, key, backward 64x128, 8 warps": partial(
        flex, key_only=True, bwd_BLOCK_M1=64, bwd_BLOCK_N1=128, bwd_BLOCK_M2=128, bwd_BLOCK_N2=64, bwd_num_warps=8
    ),
    "flex, key, backward 64x64": partial(
        flex, key_only=True, bwd_BLOCK_M1=64, bwd_BLOCK_N1=64, bwd_BLOCK_M2=64, bwd_BLOCK_N2=64
    ),
    "flash-attn": partial(named, "flash"),
    "flash, 8 spare dims": partial(spare, kernel=SDPBackend.FLASH_ATTENTION, dims=8, values=True),
    "cudnn, 8 spare dims": partial(spare, kernel=SDPBackend.CUDNN_ATTENTION, dims=8, values=False),
    "cudnn, 16 spare dims": partial(spare, kernel=SDPBackend.CUDNN_ATTENTION, dims=16, values=False),
    "cudnn, 32 spare dims": partial(spare, kernel=SDPBackend.CUDNN_ATTENTION, dims=32, values=False),
    "cudnn, 64 spare dims, v too": partial(spare, kernel=SDPBackend.CUDNN_ATTENTION, dims=64, values=True),
    "flash, no ALiBi": partial(plain, kernel=SDPBackend.FLASH_ATTENTION),
    "cudnn, no ALiBi": partial(plain, kernel=SDPBackend.CUDNN_ATTENTION),
}


def milliseconds(fn: Callable[[], object], repeats: int = 12) -> float:
    """Median of `repeats` after three warm-ups, by the device's own clock."""
    for _ in range(3):
        fn()
    if not torch.cuda.is_available():
        began = time.perf_counter()
        fn()
        return 1e3 * (time.perf_counter() - began)
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start, end in marks:
        start.record()
        fn()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in marks)


def fresh() -> None:
    """Forgets compiled programs; one too many is an error, as by default the ninth of a function runs uncompiled."""
    torch._dynamo.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def line(what: str, variant: str, ms: float | None, note: str, flop: float | None = None) -> dict[str, str]:
    share = "" if ms is None or flop is None else f"{flop / ms / 1e-3 / PEAK:.1%}"
    return {
        "what": what,
        "variant": variant,
        "ms": "-" if ms is None else f"{ms:.3f}",
        "tokens/s": "",
        "of peak": share,
        "note": note,
    }
