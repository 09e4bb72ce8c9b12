"""The written-out gradient of RMSNorm against autograd's."""

import pytest
import torch
from torch import nn

from bitnet_sweep.model.norm import OneStepRMSNorm

HARD_INPUTS = {
    "plain": torch.randn(5, 7, generator=torch.Generator().manual_seed(0)),
    "three dimensions": torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(1)),
    "a zero row": torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) * torch.eye(5)[1][:, None],
    "far below eps": torch.full((2, 7), 1e-6),
    "far above eps": torch.full((2, 7), 1e6),
    "not contiguous": torch.randn(7, 5, generator=torch.Generator().manual_seed(2)).T,
    "one token": torch.ones(1, 7),
    "no token": torch.ones(0, 7),
}


@pytest.mark.parametrize("x_D", HARD_INPUTS.values(), ids=HARD_INPUTS.keys())
def test_equals_the_reference(x_D):
    upstream = torch.randn(x_D.shape, generator=torch.Generator().manual_seed(3))
    results = []
    for kind in (nn.RMSNorm, OneStepRMSNorm):
        norm = kind(7, eps=1e-5)
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(-1, 2, 7))
        x = x_D.clone().requires_grad_()
        y = norm(x)
        torch.autograd.backward(y, upstream)
        results.append((y.detach(), x.grad, norm.weight.grad))
    (y, *gradients), (got_y, *got_gradients) = results
    assert torch.equal(got_y, y)
    for got, expected in zip(got_gradients, gradients, strict=True):
        torch.testing.assert_close(
            got,
            expected,
            rtol=1e-5,
            atol=1e-6 * float(expected.abs().amax().nan_to_num()) if expected.numel() else 0.0,
        )


def test_passes_gradcheck():
    norm = OneStepRMSNorm(5, eps=1e-5).double()
    x_D = torch.randn(
        3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    gain_D = torch.linspace(-1, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, gain: torch.func.functional_call(norm, {"weight": gain}, x), (x_D, gain_D)
    )
