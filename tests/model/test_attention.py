"""Slopes against llm-foundry's; every backend against the reference, forward and backward."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from mixlab.errors import ConfigError
from mixlab.model import attention
from mixlab.model.attention import View, alibi_slopes, backend, resolve

SLOPES = Path(__file__).parents[3] / "shared" / "golden" / "mpt" / "alibi_slopes.json"
DOCS = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 1, 1, 1, 2]])


@pytest.mark.skipif(not SLOPES.exists(), reason=f"golden data not there: {SLOPES}")
@pytest.mark.parametrize("bias_max", [8, 16])
def test_slopes_are_llm_foundrys(bias_max):
    for n_heads, expected in json.loads(SLOPES.read_text())[f"alibi_bias_max_{bias_max}"].items():
        assert alibi_slopes(int(n_heads), bias_max) == pytest.approx(expected, abs=1e-6)


def outputs(
    impl: str, n_heads: int, docs: torch.Tensor | None, n_queries: int, device="cpu", dtype=torch.float32, H=16
):
    """(context, dq, dk, dv) on random inputs."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, n_heads, n, H).to(device, dtype).requires_grad_() for n in (n_queries, 8, 8))
    view = View(
        slopes=alibi_slopes(n_heads),
        scale=0.3,
        n_queries=n_queries,
        n_keys=8,
        device=q.device,
        documents=None if docs is None else docs.to(device),
    )
    ctx = backend(impl, view)(q, k, v)
    grads = torch.autograd.grad(ctx, (q, k, v), torch.linspace(-1, 1, ctx.numel()).view(ctx.shape).to(ctx))
    return [x.detach().float().cpu() for x in (ctx, *grads)]


@pytest.mark.parametrize("n_heads", [1, 4, 6])
@pytest.mark.parametrize("docs", [None, DOCS])
@pytest.mark.parametrize("n_queries", [8, 3])
def test_sdpa_equals_the_reference(n_heads, docs, n_queries):
    for ours, theirs in zip(
        outputs("sdpa", n_heads, docs, n_queries), outputs("torch", n_heads, docs, n_queries), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5, rtol=0)


def test_the_reference_is_the_definition():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 5, 4) for _ in range(3))
    slopes = alibi_slopes(2)
    ctx = backend("torch", View(slopes=slopes, scale=0.5, n_queries=5, n_keys=5, device=q.device))(q, k, v)
    for head in range(2):
        for i in range(5):
            s = torch.stack([0.5 * q[0, head, i] @ k[0, head, j] - slopes[head] * (i - j) for j in range(i + 1)])
            assert torch.allclose(ctx[0, head, i], torch.softmax(s, 0) @ v[0, head, : i + 1], atol=1e-6)


def test_a_masked_key_gets_no_gradient():
    torch.manual_seed(0)
    k = torch.randn(1, 1, 4, 4, requires_grad=True)
    q, docs = torch.randn(1, 1, 1, 4), torch.tensor([[0, 0, 1, 1]])
    view = View(slopes=alibi_slopes(1), scale=1.0, n_queries=1, n_keys=4, device=q.device, documents=docs)
    backend("torch", view)(q, k, torch.randn(1, 1, 4, 4)).sum().backward()
    assert k.grad is not None
    assert not k.grad[0, 0, :2].any() and k.grad[0, 0, 2:].any()


@pytest.mark.parametrize(("impl", "precision"), [("flex", "fp32"), ("flash", "bf16"), ("triton", "fp32")])
def test_a_backend_that_cannot_run_here_is_refused_by_name(impl, precision):
    with pytest.raises(ConfigError, match=impl):
        resolve(impl, "cpu", precision)


def test_flash_is_refused_where_documents_are_kept_apart_or_numbers_are_float32(monkeypatch):
    monkeypatch.setattr(attention.importlib.util, "find_spec", lambda name: name)  # as if flash-attn were there
    assert resolve("flash", "cuda", "bf16") == "flash"
    with pytest.raises(ConfigError, match="attn_uses_sequence_id"):
        resolve("flash", "cuda", "bf16", documents=True)
    with pytest.raises(ConfigError, match="bf16"):
        resolve("flash", "cuda", "fp32")


def test_auto_names_what_it_chose():
    assert resolve("auto", "cpu", "fp32") == "sdpa"
    assert resolve("auto", "cuda", "bf16", documents=True) == resolve("auto", "cuda", "fp32") == "flex"
    assert resolve("torch", "cpu", "bf16") == "torch"


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from its compiler
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("impl", ["sdpa", "flex"])
@pytest.mark.parametrize("docs", [None, DOCS])
@pytest.mark.parametrize("n_heads", [4, 6])
def test_gpu_backends_equal_the_reference(impl, docs, n_heads):
    for ours, theirs in zip(
        outputs(impl, n_heads, docs, 8, "cuda"), outputs("torch", n_heads, docs, 8, "cpu"), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=2e-3, rtol=0)  # Triton multiplies float32 as TF32 (10 bits)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from its compiler
@pytest.mark.parametrize("docs", [None, DOCS])
def test_flex_is_the_same_function_forward(docs, monkeypatch):
    """Interpreted, on a CPU: its score function and its mask, not its kernel."""
    from torch.nn.attention import flex_attention as torch_flex

    monkeypatch.setattr(attention, "_compiled_flex", lambda: torch_flex.flex_attention)
    attention._flex_causal.cache_clear()
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 6, n, 16) for n in (3, 8, 8))
    view = View(slopes=alibi_slopes(6), scale=0.3, n_queries=3, n_keys=8, device=q.device, documents=docs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is not compiled
        found = backend("flex", view)(q, k, v)
    attention._flex_causal.cache_clear()
    assert torch.allclose(found, backend("torch", view)(q, k, v), atol=1e-5, rtol=0)
