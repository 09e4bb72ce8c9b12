"""Quantisers on numbers worked by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from bitnet_sweep.config import ModelConfig, StraightThrough
from bitnet_sweep.model.quantisers import (
    activation_quant,
    activation_straight_through,
    weight_quant,
    weight_straight_through,
)
from bitnet_sweep.model.transformer import Transformer

INF = float("inf")


@pytest.mark.parametrize(
    ("weights", "codes", "absmean"),
    [
        pytest.param([2.0, -2.0, 0.0, 4.0], [1, -1, 0, 1], 2.0, id="mean of 2, 2, 0, 4 is 2"),
        pytest.param([1.0, -1.0, 3.0, -3.0], [0, 0, 1, -1], 2.0, id="halves round to even: 0"),
        pytest.param([3.0, -1.0], [1, 0], 2.0, id="1.5 clamps to 1 and -0.5 rounds to 0"),
        pytest.param([8.0, 0.0, 0.0, 0.0], [1, 0, 0, 0], 2.0, id="4 clamps to 1"),
        pytest.param([0.0, 0.0], [0, 0], 1e-5, id="all zero: the clamp"),
        pytest.param([4e-6, -6e-6, 2e-6], [0, -1, 0], 1e-5, id="absmean of 4e-6 is clamped to 1e-5"),
        pytest.param([6e-10, -6e-10], [0, 0], 1e-5, id="a dead tensor"),
    ],
)
def test_weight_quant(weights: list[float], codes: list[int], absmean: float) -> None:
    got_codes, got_absmean = weight_quant(tensor(weights))
    assert got_codes.tolist() == codes
    assert got_absmean.item() == pytest.approx(absmean, rel=1e-6)
    assert got_absmean.shape == ()


@pytest.mark.parametrize(
    ("x", "codes", "scale"),
    [
        pytest.param([127.0, -64.0, 0.4, -0.6], [127, -64, 0, -1], 1.0, id="absmax 127: scale 1"),
        pytest.param([0.5, 1.5, 2.5, 127.0], [0, 2, 2, 127], 1.0, id="halves round to even"),
        pytest.param([-2.0, 1.0], [-127, 64], 63.5, id="the most negative code is -127; 63.5 rounds to 64"),
        pytest.param([0.0, 0.0], [0, 0], 127e5, id="all zero: the clamp"),
        pytest.param([5e-6, -1e-6], [64, -13], 127e5, id="absmax of 5e-6 is clamped to 1e-5: 63.5, -12.7"),
    ],
)
def test_activation_quant(x: list[float], codes: list[int], scale: float) -> None:
    got_codes, got_scale = activation_quant(tensor(x))
    assert got_codes.tolist() == codes
    assert got_scale.item() == pytest.approx(scale, rel=1e-6)


def test_each_token_has_its_own_scale_and_a_zero_token_stays_zero() -> None:
    x_TI = tensor([[1.0, -0.5], [100.0, 50.0], [0.0, 0.0]])
    codes, scale = activation_quant(x_TI)
    assert scale.shape == (3, 1)
    assert codes.tolist() == [[127, -64], [127, 64], [0, 0]]
    torch.testing.assert_close(scale, tensor([[127.0], [1.27], [127e5]]))
    assert activation_straight_through(x_TI)[2].tolist() == [0.0, 0.0]


def test_straight_through_values_are_exactly_ternary() -> None:
    w = torch.randn(64, 48, generator=torch.Generator().manual_seed(0))
    codes, absmean = weight_quant(w)
    quantised = weight_straight_through(w)
    assert torch.equal(quantised, codes * absmean)
    assert set(quantised.flatten().tolist()) == {-absmean.item(), 0.0, absmean.item()}


@pytest.mark.parametrize("quantise", [weight_straight_through, activation_straight_through])
def test_the_detached_form_is_the_usual_one(quantise: Callable[..., Tensor]) -> None:
    """``w + (q - w).detach()`` as a researcher writes it: the same gradient; of weights other last bits."""
    latent = torch.randn(64, 48, generator=torch.Generator().manual_seed(0)).requires_grad_()
    exact = quantise(latent).detach()
    detached = quantise(latent, StraightThrough.detached)
    assert torch.equal(detached, latent + (exact - latent).detach())
    # a code within a factor of two of its value, or 0, comes back exactly; weights beyond the clamp do not
    assert torch.equal(detached, exact) is (quantise is activation_straight_through)
    torch.testing.assert_close(detached, exact, rtol=0, atol=1e-6)
    upstream = torch.randn(64, 48, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward(detached, upstream)
    assert latent.grad is not None
    assert torch.equal(latent.grad, upstream)


def test_the_model_hands_the_form_to_every_bitlinear() -> None:
    config = ModelConfig(hidden=8, num_layers=2, num_heads=2, straight_through=StraightThrough.detached)
    layers = Transformer(config, 11, seed=0).bitlinears().values()
    assert [layer.straight_through for layer in layers] == [StraightThrough.detached] * 8


@pytest.mark.parametrize("quantise", [weight_straight_through, activation_straight_through])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param([[5.0, -0.1, 0.3]], id="inside and beyond the clamp"),
        pytest.param([[0.0, 0.0, 0.0]], id="all zero"),
        pytest.param([[1e-9, -1e-9, 0.0]], id="below the absmean clamp"),
    ],
)
def test_gradients_pass_unchanged(quantise: Callable[[Tensor], Tensor], values: list[list[float]]) -> None:
    latent = tensor(values, requires_grad=True)
    upstream = tensor([[1.0, -2.0, 3.0]])
    torch.autograd.backward(quantise(latent), upstream)
    assert latent.grad is not None
    assert latent.grad.tolist() == upstream.tolist()


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20))
def test_quantised_activations_are_within_half_a_code(values: list[float]) -> None:
    x = tensor(values, dtype=torch.float64)
    codes, scale = activation_quant(x)
    assert ((codes / scale - x).abs() <= 0.5000001 / scale).all()
    assert codes.abs().max() <= 127
    assert torch.equal(codes, codes.round())


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20))
def test_ternary_codes_keep_the_sign_or_are_zero(values: list[float]) -> None:
    w = tensor(values)
    codes, absmean = weight_quant(w)
    assert set(codes.tolist()) <= {-1.0, 0.0, 1.0}
    assert (codes * w >= 0).all()
    assert ((codes == 0) <= (w.abs() <= 0.500001 * absmean)).all()
