"""The fused cross entropy against torch's, value and gradient."""

import pytest
import torch

from mixlab.model import loss as loss_module
from mixlab.model.loss import NO_TARGET, cross_entropy, nats


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("block", [16 * 40, 2**19])  # three blocks, one block
def test_value_and_gradients_are_torchs(z_loss, scale, block, monkeypatch):
    monkeypatch.setitem(loss_module.BLOCK_ELEMENTS, "cpu", block)
    torch.manual_seed(0)
    x = (3 * torch.randn(37, 8, dtype=torch.float64)).requires_grad_()
    w = torch.randn(40, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 40, (37,))
    logits = scale * x @ w.T
    plain = torch.nn.functional.cross_entropy(logits, targets)
    expected = plain + z_loss * logits.logsumexp(1).square().mean()
    expected_grads = torch.autograd.grad(3 * expected, (x, w))
    total, ce = cross_entropy(x, w, targets, scale=scale, z_loss=z_loss)
    assert torch.allclose(torch.stack((total, ce)), torch.stack((expected, plain)), atol=1e-12, rtol=0)
    assert not ce.requires_grad
    for ours, theirs in zip(torch.autograd.grad(3 * total, (x, w)), expected_grads, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
    per_token = nats(x, w, targets, scale=scale)
    assert torch.allclose(per_token, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))


def test_extreme_logits_stay_finite():
    x, w = torch.tensor([[1000.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert nats(x, w, torch.tensor([1])).item() == 2000.0


def test_no_tokens_give_zero_not_nan():
    x, w = torch.zeros(0, 4, requires_grad=True), torch.zeros(5, 4, requires_grad=True)
    total, _ = cross_entropy(x, w, torch.zeros(0, dtype=torch.int64))
    total.backward()
    assert total.item() == 0.0
    assert w.grad is not None and not w.grad.any()


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
@pytest.mark.parametrize("block", [16 * 40, 2**32])  # three blocks, one block
def test_the_way_of_a_gpu_is_the_same_arithmetic(z_loss, block, monkeypatch):
    """Uncompiled, on a CPU, in float64; a token without a target adds nothing."""
    monkeypatch.setattr(loss_module, "FUSED_ELEMENTS", block)
    monkeypatch.setattr(loss_module, "_compiled_gradient", lambda: loss_module.logits_to_gradient)
    torch.manual_seed(0)
    x = (3 * torch.randn(37, 8, dtype=torch.float64)).requires_grad_()
    w = torch.randn(40, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 40, (37,))
    targets[::9] = NO_TARGET
    has_one = targets != NO_TARGET
    expected = cross_entropy(x[has_one], w, targets[has_one], scale=0.5, z_loss=z_loss)
    found = loss_module._FusedCrossEntropy.apply(x, w, targets, 0.5, z_loss)
    assert torch.allclose(torch.stack(found), torch.stack(expected), atol=1e-12, rtol=0)
    grads = [torch.autograd.grad(3 * total, (x, w)) for total in (found[0], expected[0])]
    for ours, theirs in zip(*grads, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
