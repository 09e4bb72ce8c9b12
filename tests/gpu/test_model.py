"""The reference on a device against the CPU, and ``mixed`` on it against the reference there."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bitnet_sweep.config import Activations, ModelConfig, OptimizerConfig, Precision, Weights
from bitnet_sweep.model.head import tiled_cross_entropy
from bitnet_sweep.model.products import Products, code_sums, products_on
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.train.optimizer import Adam, update
from tests.model.test_mixed import HARD_INPUTS, HARD_WEIGHTS, draw, twins
from tests.model.test_products import INPUTS, OUTPUTS, ROWS, whole

# what a driver or another torch warns of is not what these tests are about
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

MODEL = ModelConfig(hidden=64, num_layers=2, num_heads=4)
VOCAB = 500
EXACT, ROUNDED = 1e-5, 1e-2
"""Relative distance allowed: without quantisers, and with them, where a sum in another order may flip a code.
On a CPU float32 is within 8e-7 of float64 here, either way (measured); what a flip adds is assumed."""


def ids(seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, (4, 33), generator=torch.Generator().manual_seed(seed))


def run(model: Transformer, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits and every gradient of one batch, on the CPU."""
    x_BT, y_BT = ids()[:, :-1].to(device), ids()[:, 1:].to(device)
    torch.autograd.backward(model.objective(x_BT, y_BT, label_smoothing=0.1, z_loss=1e-3))
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    with torch.no_grad():
        return model(x_BT).cpu(), gradients


def apart(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


@pytest.mark.parametrize(
    ("weights", "activations", "allowed"),
    [(Weights.ternary, Activations.int8, ROUNDED), (Weights.full, Activations.full, EXACT)],
    ids=["ternary", "full"],
)
def test_the_reference_equals_the_cpus(device, weights, activations, allowed) -> None:
    config = dataclasses.replace(MODEL, weights=weights, activations=activations)
    here = Transformer(config, VOCAB, seed=0).to(device)
    there = Transformer(config, VOCAB, seed=0)
    assert all(p.cpu().equal(q) for p, q in zip(here.parameters(), there.parameters(), strict=True))
    logits, gradients = run(here, device)
    expected_logits, expected = run(there, torch.device("cpu"))
    assert apart(logits, expected_logits) < allowed
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert apart(gradient, expected[name]) < allowed, name


def codes_of(device: torch.device) -> list[torch.dtype]:
    """Every kind that could stand in the table for this device."""
    return [torch.int8, torch.float32, *([torch.bfloat16] if device.type == "cuda" else [])]


@pytest.mark.parametrize("inputs", INPUTS)
def test_codes_times_codes_is_exact_at_every_shape(device, inputs: int) -> None:
    chosen = products_on(device).codes
    for kind, rows, outputs in itertools.product(codes_of(device), ROWS, OUTPUTS):
        if rows == 0 and kind is not chosen:  # what no one has chosen need not multiply nothing
            continue
        a_NI = whole(rows, inputs, low=-128, high=127, seed=rows)
        b_OI = whole(outputs, inputs, low=-1, high=1, seed=outputs)
        got = code_sums(a_NI.to(device, kind), b_OI.to(device, kind))
        assert torch.equal(got.double().cpu(), a_NI @ b_OI.T), (kind, rows, outputs)


def test_the_largest_sums_are_exact(device) -> None:
    for kind in codes_of(device):
        codes = torch.full((17, 4096), -128, dtype=kind, device=device)
        ternary = torch.ones(8, 4096, dtype=kind, device=device)
        assert code_sums(codes, ternary).unique().tolist() == [-128 * 4096]


@pytest.mark.parametrize("w_OI", HARD_WEIGHTS.values(), ids=HARD_WEIGHTS.keys())
@pytest.mark.parametrize("x_I", HARD_INPUTS.values(), ids=HARD_INPUTS.keys())
def test_mixed_forward_equals_the_reference_within_rounding(device, x_I: Tensor, w_OI: Tensor) -> None:
    reference, mixed = (layer.to(device) for layer in twins(w_OI))
    x_I = x_I.to(device)
    with torch.no_grad():
        bound = x_I.abs().sum(-1, keepdim=True) * max(w_OI.abs().mean().item(), 1e-5)
        assert bool(((mixed.linear(x_I) - reference.linear(x_I)).abs() <= 1e-5 * bound).all())


@pytest.mark.parametrize("activations", list(Activations))
@pytest.mark.parametrize("weights", list(Weights))
@pytest.mark.parametrize("shape", [(6, 33, 21), (1, 8, 8), (128, 96, 64)], ids=str)
def test_mixed_gradients_equal_the_reference_within_rounding(device, shape, weights, activations) -> None:
    """Each operand and the result are off by half the type's epsilon at most."""
    tokens, outputs, inputs = shape
    chosen: Products = products_on(device)
    rounding = max(torch.finfo(chosen.operands).eps, 1e-6)
    upstream = (draw(tokens, outputs, seed=3) * torch.logspace(-3, 3, outputs)).to(device)
    gradients = []
    for layer in twins(draw(outputs, inputs, seed=1), weights, activations):
        layer = layer.to(device)
        x_I = draw(tokens, inputs, seed=2).to(device).requires_grad_()
        torch.autograd.backward(layer(x_I), upstream)
        gradients.append((layer.weight.grad, layer.norm.weight.grad, x_I.grad))
    for expected, got in zip(*gradients, strict=True):
        assert got.dtype == torch.float32
        assert (got - expected).norm() <= rounding * expected.norm()


def test_the_head_equals_its_formula_within_rounding(device) -> None:
    """5,000 ids are two tiles."""
    x_ND, y_N = draw(700, 64).to(device), torch.arange(700, device=device) * 7 % 5000
    w_VD = (draw(5000, 64, seed=1) / 8).to(device)
    results = []
    for tiled in (True, False):
        x, w = x_ND.clone().requires_grad_(), w_VD.clone().requires_grad_()
        loss = tiled_cross_entropy(x, w, y_N) if tiled else F.cross_entropy(x @ w.T, y_N)
        torch.autograd.backward(loss)
        assert x.grad is not None
        assert w.grad is not None
        results.append((loss.detach(), x.grad, w.grad))
    rounding = max(2 * torch.finfo(products_on(device).operands).eps, 1e-5)
    for got, expected in zip(*results, strict=True):
        assert apart(got, expected) < rounding


def test_mixed_learns_as_the_reference_does(device) -> None:
    """Twenty steps over and over the same batch; the losses stay within two hundredths of each other."""
    losses: dict[Precision, list[float]] = {}
    for precision in Precision:
        model = Transformer(MODEL, VOCAB, 0, precision).to(device)
        optimizer = Adam(model, OptimizerConfig())
        x_BT, y_BT = ids()[:, :-1].to(device), ids()[:, 1:].to(device)
        for _ in range(20):
            objective = model.objective(x_BT, y_BT)
            losses.setdefault(precision, []).append(objective.item())
            torch.autograd.backward(objective)
            update(model, optimizer, clip=1.0, learning_rate=1e-3, weight_decay=0.1)
    assert losses[Precision.fp32][-1] < losses[Precision.fp32][0] - 0.5
    assert losses[Precision.mixed] == pytest.approx(losses[Precision.fp32], rel=2e-2)
