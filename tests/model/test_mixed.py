"""Codes times codes against the reference, gradients within what their operands keep, the cache."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bitnet_sweep.config import (
    Activations,
    GateActivation,
    ModelConfig,
    NormPlace,
    OptimizerConfig,
    Precision,
    Weights,
)
from bitnet_sweep.model import mixed
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.mixed import MixedBitLinear, ternary_weights
from bitnet_sweep.model.products import Products
from bitnet_sweep.model.quantisers import weight_quant
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.train.optimizer import Adam

pytestmark = pytest.mark.usefixtures("each_class")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def twins(
    w_OI: Tensor, weights: Weights = Weights.ternary, activations: Activations = Activations.int8
) -> tuple[BitLinear, MixedBitLinear]:
    """The same layer in both precisions."""
    layers = []
    for kind in (BitLinear, MixedBitLinear):
        layer = kind(w_OI.shape[1], w_OI.shape[0], weights, activations)
        with torch.no_grad():
            layer.weight.copy_(w_OI)
            layer.norm.weight.copy_(torch.linspace(0.5, 2.0, w_OI.shape[1]))
        layers.append(layer)
    assert isinstance(layers[1], MixedBitLinear)
    return layers[0], layers[1]


HARD_INPUTS = {
    "plain": draw(6, 10),
    "zero rows": draw(6, 10) * torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])[:, None],
    "all zero": torch.zeros(6, 10),
    "huge": draw(6, 10) * 1e15,
    "tiny": draw(6, 10) * 1e-30,
    "far apart": draw(6, 10) * torch.logspace(-20, 20, 6)[:, None],
    "absmax below the clamp": draw(6, 10) * 1e-7,
    "one token": draw(1, 10),
    "no token": draw(0, 10),
    "not contiguous": draw(10, 6).T,
    "three dimensions, not contiguous": draw(3, 10, 2).transpose(1, 2),
}
HARD_WEIGHTS = {
    "plain": draw(7, 10, seed=1),
    "all zero": torch.zeros(7, 10),
    "absmean below the clamp": draw(7, 10, seed=1) * 4e-6,
    "dead": draw(7, 10, seed=1) * 6e-10,
    "huge": draw(7, 10, seed=1) * 1e15,
    "halves": draw(7, 10, seed=1).sign() * torch.tensor([1.0, 3.0] * 5),
}


@pytest.mark.parametrize("w_OI", HARD_WEIGHTS.values(), ids=HARD_WEIGHTS.keys())
@pytest.mark.parametrize("x_I", HARD_INPUTS.values(), ids=HARD_INPUTS.keys())
def test_forward_equals_the_reference_within_rounding(x_I: Tensor, w_OI: Tensor) -> None:
    """The reference sums rounded products; its error is bounded by the sum of their sizes."""
    reference, mixed = twins(w_OI)
    with torch.no_grad():
        expected, got = reference.linear(x_I), mixed.linear(x_I)
        assert got.shape == expected.shape
        bound = x_I.abs().sum(-1, keepdim=True) * max(w_OI.abs().mean().item(), 1e-5)
        assert bool(((got - expected).abs() <= 1e-5 * bound).all())
        torch.testing.assert_close(mixed(x_I), reference(x_I), rtol=1e-4, atol=1e-4 * w_OI.abs().max().item())


@pytest.mark.parametrize("activations", list(Activations))
@pytest.mark.parametrize("weights", list(Weights))
def test_gradients_equal_the_reference_within_rounding(
    weights: Weights, activations: Activations, each_class: Products
) -> None:
    """Each operand and the result are off by half the type's epsilon at most (of bfloat16, 2**-8)."""
    rounding = max(torch.finfo(each_class.operands).eps, 1e-6)  # float32 sums in another order
    upstream = draw(2, 3, 33, seed=3) * torch.logspace(-3, 3, 33)
    gradients = []
    for layer in twins(draw(33, 21, seed=1), weights, activations):
        x_I = draw(2, 3, 21, seed=2).requires_grad_()
        torch.autograd.backward(layer(x_I), upstream)
        assert layer.weight.grad is not None
        assert layer.norm.weight.grad is not None
        assert x_I.grad is not None
        gradients.append((layer.weight.grad, layer.norm.weight.grad, x_I.grad))
    for expected, got in zip(*gradients, strict=True):
        assert got.dtype == torch.float32
        assert (got - expected).norm() <= rounding * expected.norm()


@pytest.mark.parametrize("weights", list(Weights))
def test_full_activations_and_full_weights_keep_the_float32_forward(weights: Weights) -> None:
    reference, mixed = twins(draw(9, 6), weights, Activations.full)
    assert torch.equal(mixed(draw(4, 6, seed=5)), reference(draw(4, 6, seed=5)))


def test_gradients_by_hand() -> None:
    """absmean of 3, 1, 0, 4 is 2, codes 1 0 / 0 1; the token (5, -127) has the codes 5, -127, scale 1."""
    _, layer = twins(torch.tensor([[3.0, 1.0], [0.0, 4.0]]))
    x_I = torch.tensor([[5.0, -127.0]], requires_grad=True)
    y_O = layer.linear(x_I)
    assert y_O.tolist() == [[10.0, -254.0]]
    torch.autograd.backward(y_O, torch.tensor([[1.0, 0.5]]))
    assert x_I.grad is not None
    assert layer.weight.grad is not None
    assert x_I.grad.tolist() == [[2.0, 1.0]]
    assert layer.weight.grad.tolist() == [[5.0, -127.0], [2.5, -63.5]]


def test_float32_path_passes_gradcheck() -> None:
    """Where nothing is rounded, autograd of the reference layer is that of a linear layer behind a norm."""
    layer = BitLinear(5, 4, Weights.full, Activations.full).double()
    layer.initialise(torch.Generator().manual_seed(0))
    x_I = draw(3, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(layer, {"weight": w}, x),
        (
            x_I,
            layer.weight.detach().clone().requires_grad_(),
        ),
    )


@pytest.mark.parametrize("absmean", [1e-5, 1e-3, 0.7, 1.0, 1.9999999, 3.0])
def test_codes_equal_the_reference_on_both_sides_of_every_tie(absmean: float) -> None:
    """Half the absmean and the floats around it, of either sign; their complements bring the mean there."""
    half = torch.tensor(absmean) / 2
    around = torch.stack([half, half, half.nextafter(half + 1), half.nextafter(half - 1)])
    w_OI = torch.stack([around, -around, 4 * half - around, around - 4 * half])
    codes_OI, mean = weight_quant(w_OI)
    assert bool((((w_OI / mean).abs() - 0.5).abs() < 1e-6).any()), "no weight is near a tie"
    assert torch.equal(ternary_weights(w_OI).absmean, mean)
    assert torch.equal(ternary_weights(w_OI).codes.float(), codes_OI.float())
    assert torch.equal(ternary_weights(w_OI).operand.float(), codes_OI.float())


@pytest.mark.parametrize("chunk", [1, 21, 10**6])
@pytest.mark.parametrize("w_OI", HARD_WEIGHTS.values(), ids=HARD_WEIGHTS.keys())
def test_chunks_change_no_code(w_OI: Tensor, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "CHUNK", chunk)
    codes_OI, absmean = weight_quant(w_OI)
    weights = ternary_weights(w_OI)
    assert torch.equal(weights.codes.float(), codes_OI.float())
    torch.testing.assert_close(weights.absmean, absmean)


def test_codes_are_computed_once_for_each_value() -> None:
    _, layer = twins(draw(7, 10))
    first = layer.ternary()
    torch.autograd.backward(layer(draw(3, 10)).sum())
    assert layer.ternary() is first
    assert torch.equal(layer.codes(), first.codes.to(torch.int8))
    assert layer.codes().dtype == torch.int8


def _optimizer_step(layer: MixedBitLinear) -> None:
    optimizer = Adam(layer, OptimizerConfig())
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step(0.5, 0.0)


def _copy(layer: MixedBitLinear) -> None:
    with torch.no_grad():
        layer.weight.copy_(draw(7, 10, seed=9))


def _copy_in_inference_mode(layer: MixedBitLinear) -> None:
    with torch.inference_mode():
        layer.weight.copy_(draw(7, 10, seed=9))


def _load(layer: MixedBitLinear) -> None:
    layer.load_state_dict(twins(draw(7, 10, seed=9))[0].state_dict())


def _replace_data(layer: MixedBitLinear) -> None:
    layer.weight.data = draw(7, 10, seed=9)


@pytest.mark.parametrize("change", [_optimizer_step, _copy, _copy_in_inference_mode, _load, _replace_data])
def test_changed_weights_have_new_codes(change: Callable[[MixedBitLinear], None]) -> None:
    reference, layer = twins(draw(7, 10))
    before = layer.codes().clone()
    kept = layer.codes()
    change(layer)
    with torch.no_grad():
        reference.weight.copy_(layer.weight)
    assert not torch.equal(layer.codes(), before)
    assert torch.equal(layer.codes(), reference.codes())
    assert torch.equal(kept, before), "what a flip count holds must not change under it"


def test_copies_do_not_share_a_cache() -> None:
    _, layer = twins(draw(7, 10))
    layer.codes()
    other = copy.deepcopy(layer)
    _copy(other)
    assert not torch.equal(layer.codes(), other.codes())


def test_a_probe_in_inference_mode_can_be_trained_after() -> None:
    _, layer = twins(draw(7, 10))
    with torch.inference_mode():
        layer(draw(3, 10))
    torch.autograd.backward(layer(draw(3, 10)).sum())
    assert layer.weight.grad is not None


@pytest.mark.parametrize("activations", list(Activations))
@pytest.mark.parametrize("weights", list(Weights))
@pytest.mark.parametrize("norm", list(NormPlace))
@pytest.mark.parametrize("activation", list(GateActivation))
@pytest.mark.few(12)
def test_models_start_equal_and_run_equal(
    weights: Weights, activations: Activations, norm: NormPlace, activation: GateActivation
) -> None:
    """Precision changes neither names nor initial weights; a step repeats itself bit for bit."""
    config = ModelConfig(8, 2, 2, weights=weights, activations=activations, norm=norm, activation=activation)
    reference = Transformer(config, 31, seed=0)
    x_BT = torch.randint(31, (2, 5), generator=torch.Generator().manual_seed(0))
    runs = []
    for _ in range(2):
        model = Transformer(config, 31, 0, Precision.mixed)
        assert model.state_dict().keys() == reference.state_dict().keys()
        assert all(w.equal(reference.state_dict()[name]) for name, w in model.state_dict().items())
        torch.autograd.backward(model.objective(x_BT, x_BT))
        runs.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in runs[0].items():
        other = runs[1][name]
        assert gradient is not None
        assert other is not None
        assert torch.equal(gradient, other)
    torch.testing.assert_close(model(x_BT), reference(x_BT), rtol=1e-3, atol=1e-3)
