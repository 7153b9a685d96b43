"""Every attention backend and the cross entropy against float64, forward and gradients; on a GPU where there is one."""

# B batch, T sequence, N heads, H head dim, M tokens, D d_model, V vocab

import importlib.util

import pytest
import torch

from mixlab.model.attention import View, alibi_slopes, backend
from mixlab.model.loss import cross_entropy

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, from its compiler
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # read by Dynamo itself
]
T, H = 256, 64
PACKED = (torch.arange(T) // 60)[None].repeat(2, 1)
PACKED[1] = (torch.arange(T) >= 200).long()


def on_gpu(*values: object) -> object:
    """A case for a machine with a GPU."""
    missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    return pytest.param(*values, marks=[pytest.mark.gpu, missing])


def no_flash(impl: str) -> bool:
    return impl == "flash" and importlib.util.find_spec("flash_attn") is None


def inputs(n_heads: int) -> list[torch.Tensor]:
    """q, k, v and the gradient of the output, exact in bf16, as (B, N, T, H)."""
    torch.manual_seed(n_heads)
    return [torch.randn(2, n_heads, T, H).bfloat16().double() for _ in range(4)]


def by_backend(impl: str, device: str, n_heads: int, docs: torch.Tensor | None) -> list[torch.Tensor]:
    """(context, dq, dk, dv) of a backend in bf16, as float64 on the CPU."""
    q, k, v, grad = (x.to(device, torch.bfloat16) for x in inputs(n_heads))
    view = View(
        slopes=alibi_slopes(n_heads),
        scale=H**-0.5,
        n_queries=T,
        n_keys=T,
        device=q.device,
        documents=None if docs is None else docs.to(device),
    )
    leaves = [x.requires_grad_() for x in (q, k, v)]
    ctx = backend(impl, view)(*leaves)
    return [x.detach().double().cpu() for x in (ctx, *torch.autograd.grad(ctx, leaves, grad))]


def exact(n_heads: int, docs: torch.Tensor | None) -> list[torch.Tensor]:
    """The same from the definition, in float64."""
    q, k, v, grad = inputs(n_heads)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    ahead_TT = (torch.arange(T)[None] - torch.arange(T)[:, None]).double()
    slopes_N11 = torch.tensor(alibi_slopes(n_heads), dtype=torch.float64)[:, None, None]
    scores = q @ k.transpose(-1, -2) * H**-0.5 + slopes_N11 * ahead_TT
    hidden = (ahead_TT > 0)[None, None]
    if docs is not None:
        hidden = hidden | (docs[:, :, None] != docs[:, None, :])[:, None]
    ctx = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1) @ v
    return [x.detach() for x in (ctx, *torch.autograd.grad(ctx, leaves, grad))]


def errors(found: list[torch.Tensor], true: list[torch.Tensor]) -> list[float]:
    return [float((f - t).norm() / t.norm()) for f, t in zip(found, true, strict=True)]


@pytest.mark.parametrize(
    ("impl", "device"), [("sdpa", "cpu"), on_gpu("sdpa", "cuda"), on_gpu("flex", "cuda"), on_gpu("flash", "cuda")]
)
@pytest.mark.parametrize("n_heads", [4, 6])
@pytest.mark.parametrize("docs", [None, PACKED], ids=["one document", "packed"])
def test_a_backend_is_as_exact_as_the_reference_in_bf16(impl, device, n_heads, docs):
    if no_flash(impl) or (impl == "flash" and docs is not None):
        pytest.skip("flash-attn is not installed, or asked for documents")
    true = exact(n_heads, docs)
    ours = errors(by_backend(impl, device, n_heads, docs), true)
    theirs = errors(by_backend("torch", device, n_heads, docs), true)
    for what, our, their in zip(("context", "dq", "dk", "dv"), ours, theirs, strict=True):
        assert our <= 2 * their + 1e-3, what  # flash-attention's own bar; 1e-3 is a quarter of bf16's step


@pytest.mark.parametrize(
    ("impl", "device"), [("sdpa", "cpu"), *(on_gpu(impl, "cuda") for impl in ("torch", "flex", "flash"))]
)
@pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS")  # torch's own thread, where this test comes first
def test_a_backward_pass_is_repeatable_to_the_bit(impl, device):
    if no_flash(impl):
        pytest.skip("flash-attn is not installed")
    docs = None if impl == "flash" else PACKED
    first, second = (by_backend(impl, device, 6, docs) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("device", ["cpu", on_gpu("cuda")])
@pytest.mark.parametrize(("d", "v"), [(64, 512), (96, 1000)])
def test_cross_entropy_in_bf16_is_float64s_within_bf16s_rounding(device, d, v):
    torch.manual_seed(0)
    x_MD, wte_VD = torch.randn(301, d).bfloat16(), (torch.randn(v, d) * d**-0.5).bfloat16()
    targets_M = torch.randint(v, (301,))
    found = x_MD.clone().to(device).requires_grad_(), wte_VD.float().to(device).requires_grad_()
    nats, _ = cross_entropy(*found, targets_M.to(device))
    nats.backward()
    true = x_MD.double().requires_grad_(), wte_VD.double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(true[0] @ true[1].T, targets_M)
    expected.backward()
    assert abs(float(nats.detach() - expected.detach())) < 2e-3  # logits of about 3 in bf16, averaged
    for ours, theirs in zip(found, true, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert float((ours.grad.double().cpu() - theirs.grad).norm() / theirs.grad.norm()) < 1e-2
