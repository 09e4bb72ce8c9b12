"""What is checked of a quantiser.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitnet_sweep.config import (
    Activations,
    ModelConfig,
    Precision,
    RunConfig,
    Weights,
)
from bitnet_sweep.conformance.training import check_training
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.mixed import MixedBitLinear
from bitnet_sweep.model.quantisers import OneScale, Quantiser, multiplies_codes
from bitnet_sweep.parts import Part

SHAPES = ((6, 11), (1, 8), (7, 1), (32, 16))
"""Rows and columns of the matrices that are tried."""


LOWEST, HIGHEST = -64, 63
"""Limits of a code: what one is less than another still fits into 8 bits."""


BFLOAT16 = 0.02
"""What rounding operands to bfloat16 may change in a gradient, relative to its norm."""

Make = Callable[[int, int], Any]


def quantiser_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a quantiser by its name."""

    def make(rows: int, columns: int) -> Quantiser:
        made = part.load()(rows, columns, part.options_of(options, "option"))
        assert isinstance(made, Quantiser), "it makes no bitnet_sweep.model.quantisers.Quantiser"
        return made

    config = RunConfig(model=ModelConfig(16, 2, 2, quantiser=part.name, quantiser_options=options))
    return {
        "shapes": lambda: _shapes(make),
        "codes": lambda: _codes(make),
        "determinism": lambda: _determinism(make),
        "gradients": lambda: _gradients(make),
        "precision": lambda: _precision(make),
        "training": lambda: check_training(config, list(Precision)),
    }


def _begun(make: Make, shape: tuple[int, int], scale: float = 0.1) -> tuple[Any, Tensor]:
    """A quantiser and the latent weights it began with."""
    generator = torch.Generator().manual_seed(sum(shape))
    w_OI = scale * torch.randn(*shape, generator=generator)
    quantiser = make(*shape)
    with torch.no_grad():
        quantiser.initialise(w_OI)
    return quantiser, w_OI.requires_grad_()


def _shapes(make: Make) -> str:
    for shape in SHAPES:
        quantiser, w_OI = _begun(make, shape)
        quantised_OI, codes_OI, bias_O = quantiser(w_OI), quantiser.codes(w_OI), quantiser.bias(w_OI)
        assert quantised_OI.shape == shape, f"weights {shape} become {tuple(quantised_OI.shape)}"
        assert quantised_OI.dtype == w_OI.dtype, f"float32 becomes {quantised_OI.dtype}"
        assert codes_OI.shape == shape, f"weights {shape} have codes {tuple(codes_OI.shape)}"
        assert bias_O is None or bias_O.shape == shape[:1], f"{shape[0]} outputs have a bias of another shape"
        for name, parameter in quantiser.named_parameters():
            assert parameter.ndim < 2, f"{name} has {parameter.ndim} dimensions; allowed: 0 or 1"
    return f"right for {', '.join(f'{rows} x {columns}' for rows, columns in SHAPES)}"


def _codes(make: Make) -> str:
    lowest, highest = 0, 0
    for shape in SHAPES:
        quantiser, w_OI = _begun(make, shape)
        codes_OI, quantised_OI = quantiser.codes(w_OI).detach(), quantiser(w_OI).detach()
        assert torch.equal(codes_OI, codes_OI.round()), "a code is no whole number"
        lowest, highest = min(lowest, int(codes_OI.min())), max(highest, int(codes_OI.max()))
        assert LOWEST <= lowest <= highest <= HIGHEST, f"a code lies outside of {LOWEST} to {HIGHEST}"
        if isinstance(quantiser, OneScale):
            assert codes_OI.abs().max() <= 1, "a code of a OneScale is not -1, 0 or 1"
        for codes_I, values_I in zip(codes_OI, quantised_OI, strict=True):
            for code in codes_I.unique():
                same = values_I[codes_I == code]
                spread = float(same.max() - same.min())
                assert spread <= 1e-6 * (1 + float(same.abs().max())), f"code {int(code)} is several values"
    return f"whole numbers from {lowest} to {highest}, each one value in its row"


def _determinism(make: Make) -> str:
    before = torch.random.get_rng_state()
    (one, w_OI), (other, same_OI) = _begun(make, SHAPES[0]), _begun(make, SHAPES[0])
    assert torch.equal(one(w_OI), one(w_OI)), "the same weights are rounded otherwise the second time"
    assert torch.equal(one(w_OI), other(same_OI)), "the same weights are rounded otherwise by a second one"
    assert torch.equal(w_OI, same_OI), "it changes the latent weights"
    assert torch.equal(torch.random.get_rng_state(), before), "it draws from torch's global generator"
    buffers = [name for name, _ in one.named_buffers()]
    assert not buffers, f"{buffers[0]} is a buffer, which no checkpoint keeps; make it a parameter"
    return "twice the same, nothing drawn, nothing kept that a checkpoint would miss"


def _gradients(make: Make) -> str:
    for shape in SHAPES:
        for scale in (0.1, 1e3, 0.0):
            quantiser, w_OI = _begun(make, shape, scale)
            bias_O = quantiser.bias(w_OI)
            (quantiser(w_OI).square().sum() + (0.0 if bias_O is None else bias_O.sum())).backward()
            assert w_OI.grad is not None, "no gradient reaches the latent weights"
            assert w_OI.grad.isfinite().all(), f"weights of size {scale:g} have a gradient that is not finite"
            for name, parameter in quantiser.named_parameters():
                assert parameter.grad is not None, f"no gradient reaches {name}"
                assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"
    return "finite, of usual, large and dead weights"


def _precision(make: Make) -> str:
    outputs, gradients = [], []
    for kind in (BitLinear, MixedBitLinear):
        quantiser, w_OI = _begun(make, SHAPES[0])
        layer = kind(w_OI.shape[1], w_OI.shape[0], Weights.ternary, Activations.int8, quantiser=quantiser)
        with torch.no_grad():
            layer.weight.copy_(w_OI)
            x_I = torch.randn(5, w_OI.shape[1], generator=torch.Generator().manual_seed(0))
        y_O = layer(x_I)
        torch.autograd.backward(y_O.square().sum())
        outputs.append(y_O.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in layer.parameters() if p.grad is not None]))
    differs = float((outputs[0] - outputs[1]).abs().max())
    assert differs <= 1e-4 * float(outputs[0].abs().max()), f"mixed differs from fp32 by {differs:.2g}"
    differs = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
    assert differs <= BFLOAT16, f"the gradient at mixed differs from that at fp32 by {100 * differs:.2g} %"
    is_fast = multiplies_codes(make(*SHAPES[0]))
    return f"mixed computes what fp32 does; its codes are {'' if is_fast else 'not '}multiplied as such"
