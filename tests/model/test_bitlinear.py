"""BitLinear: norm, two independent quantisers, codes and absmean."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import tensor

from bitnet_sweep.config import Activations, Weights
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.norm import NORM_EPS


def bitlinear(weights: Weights, activations: Activations, w_OI: torch.Tensor) -> BitLinear:
    layer = BitLinear(w_OI.shape[1], w_OI.shape[0], weights, activations)
    with torch.no_grad():
        layer.weight.copy_(w_OI)
    return layer


@pytest.mark.parametrize(
    ("weights", "activations", "expected"),
    [
        # absmean of 3, 1, 0, 4 is 2, so the codes are 1, 0, 0, 1; ±1 is its own 8-bit value
        pytest.param(Weights.full, Activations.full, [2.0, -4.0], id="3-1, 0-4"),
        pytest.param(Weights.ternary, Activations.full, [2.0, -2.0], id="2-0, 0-2"),
        pytest.param(Weights.ternary, Activations.int8, [2.0, -2.0], id="2-0, 0-2, rounded inputs"),
    ],
)
def test_product_by_hand(weights: Weights, activations: Activations, expected: list[float]) -> None:
    layer = bitlinear(weights, activations, tensor([[3.0, 1.0], [0.0, 4.0]]))
    got = layer(tensor([[10.0, -10.0]]))  # root mean square 10, so the norm gives 1, -1
    torch.testing.assert_close(got, tensor([expected]))


def test_only_the_switched_on_quantiser_rounds() -> None:
    w_OI = tensor([[1.0, 0.0], [0.0, 1.0]])
    x_I = tensor([[1.0, 0.001]])
    full = bitlinear(Weights.full, Activations.full, w_OI).linear(x_I)
    rounded = bitlinear(Weights.full, Activations.int8, w_OI).linear(x_I)
    assert full.tolist() == x_I.tolist()
    assert rounded.tolist() == [[1.0, 0.0]]  # 0.001 * 127 rounds to 0


@pytest.mark.parametrize(("weights", "activations"), list(itertools.product(Weights, Activations)))
def test_equals_a_plain_twin(weights: Weights, activations: Activations) -> None:
    generator = torch.Generator().manual_seed(1)
    layer = BitLinear(5, 7, weights, activations)
    layer.initialise(generator)
    with torch.no_grad():
        layer.norm.weight.uniform_(0.5, 2.0, generator=generator)
    x = torch.randn(2, 3, 5, generator=generator)
    got = layer(x)
    for index in itertools.product(range(2), range(3)):
        token = x[index]
        token = token / (token.pow(2).mean() + NORM_EPS).sqrt() * layer.norm.weight
        if activations is Activations.int8:
            scale = 127 / token.abs().max()
            token = (token * scale).round() / scale
        if activations is Activations.int4:
            scale = 7**0.5 / token.abs().mean()
            token = (token * scale).round().clamp(-8, 7) / scale
        matrix = layer.weight.detach()
        if weights is Weights.ternary:
            absmean = matrix.abs().sum() / 35
            matrix = (matrix / absmean).round().clamp(-1, 1) * absmean
        torch.testing.assert_close(got[index], (matrix * token).sum(1), rtol=1e-5, atol=1e-6)


def test_codes_and_absmean() -> None:
    layer = bitlinear(Weights.ternary, Activations.int8, tensor([[3.0, -1.0], [0.0, -4.0]]))
    codes, absmean = layer.codes(), layer.absmean()
    assert codes.dtype == torch.int8
    assert codes.tolist() == [[1, 0], [0, -1]]
    assert absmean.item() == 2.0
    assert not codes.requires_grad
    assert not absmean.requires_grad


def test_absmean_is_not_clamped() -> None:
    layer = bitlinear(Weights.ternary, Activations.int8, tensor([[6e-10, -6e-10]]))
    assert layer.absmean().item() == pytest.approx(6e-10, rel=1e-6)
    assert layer.codes().tolist() == [[0, 0]]


def test_latent_weights_get_the_gradient_of_the_quantised_matrix() -> None:
    layer = bitlinear(Weights.ternary, Activations.full, tensor([[3.0, -1.0], [0.0, -4.0]]))
    torch.autograd.backward(layer.linear(tensor([[5.0, 7.0]])).sum())
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[5.0, 7.0], [5.0, 7.0]]


def test_there_is_no_bias_and_one_gain() -> None:
    layer = BitLinear(3, 2, Weights.ternary, Activations.int8)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "weight": (2, 3),
        "norm.weight": (3,),
    }
