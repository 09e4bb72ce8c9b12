"""The written-out gradient of RMSNorm against autograd's, and another norm in its place."""

import pytest
import torch
from torch import nn

from bitnet_sweep.config import ModelConfig, Precision
from bitnet_sweep.model import norm as norms
from bitnet_sweep.model.norm import OneStepRMSNorm
from bitnet_sweep.model.transformer import Transformer

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


NUM_NORMS = 2 * (2 + 4) + 1
"""Of two blocks: before two sublayers and in four BitLinears; and the last one."""


def model_and_norms(precision):
    model = Transformer(ModelConfig(hidden=8, num_layers=2, num_heads=2), 20, 0, precision)
    return model, [
        type(module) for module in model.modules() if isinstance(module, nn.RMSNorm | nn.LayerNorm)
    ]


@pytest.mark.parametrize(
    ("precision", "kind"), [(Precision.fp32, nn.RMSNorm), (Precision.mixed, OneStepRMSNorm)]
)
def test_mixed_takes_the_twin(precision, kind):
    assert model_and_norms(precision)[1] == [kind] * NUM_NORMS


@pytest.mark.parametrize("precision", list(Precision))
def test_another_norm_is_one_edit_and_needs_no_twin(precision, monkeypatch):
    monkeypatch.setattr(norms, "Norm", nn.LayerNorm)
    model, kinds = model_and_norms(precision)
    assert kinds == [nn.LayerNorm] * NUM_NORMS
    ids = torch.arange(12).reshape(2, 6)
    torch.autograd.backward(model.objective(ids[:, :-1], ids[:, 1:]))
    assert all(parameter.grad is not None for parameter in model.parameters())
