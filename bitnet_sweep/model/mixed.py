"""``precision=mixed``: BitLinear's product exact forward, and with fast operands backward.

Forward, no arm is rounded by more than its config says. Where weights and inputs are both codes, their
product is summed exactly and scaled once; where one of them is ``full``, it is the float32 product of the
reference. So the full-precision control arm differs from the ternary one in its quantisers alone.
Backward, both products of every arm take the operands that ``products`` names for this machine: bfloat16
ones are summed in float32 and the result rounded to bfloat16; codes are whole numbers up to 128, which
bfloat16 holds exactly.

Shapes: N tokens, I inputs, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from bitnet_sweep.config import Activations, Precision, Weights
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.products import code_sums, products_on
from bitnet_sweep.model.quantisers import (
    ACTIVATION_QUANTS,
    CLAMP_MIN,
    AbsMean,
    OneScale,
    activation_straight_through,
)

CHUNK = 1 << 16
"""Latent weights that are rounded at once on a CPU (chosen: 256 KiB stay in a core's cache through all
passes). A GPU takes all at once, since each pass over a chunk would be a launch of its own."""


@dataclass(frozen=True)
class TernaryWeights:
    """A latent matrix (O, I) as the products of one step take it; never written to once made."""

    codes: Tensor
    """For the forward product, of the dtype that it takes."""
    operand: Tensor
    """The same codes for the backward product; the same tensor where the dtype is the same."""
    absmean: Tensor
    """What they are times; clamped, without dimensions."""


def ternary_weights(w_OI: Tensor) -> TernaryWeights:
    """As ``weight_quant``, in chunks of rows; the absmean may differ from its in the last bits.

    ``w / absmean`` rounds to 1 if and only if w is above half the absmean: the float next to that half is
    further from it, relatively, than division can round away. For the same reason w over that next float
    is 1 or more in exactly those places, which cutting off what is behind the point makes 1.
    """
    rows = max(1, len(w_OI) if w_OI.is_cuda else CHUNK // max(1, w_OI.shape[1]))
    scratch = w_OI.new_empty(min(rows, len(w_OI)), w_OI.shape[1])
    latents = torch.split(w_OI, rows)
    total = torch.stack([torch.abs(part, out=scratch[: len(part)]).sum() for part in latents]).sum()
    absmean = (total / w_OI.numel()).clamp(min=CLAMP_MIN)
    least = torch.nextafter(absmean / 2, absmean)
    products = products_on(w_OI.device)
    codes = torch.empty_like(w_OI, dtype=torch.int8)
    operand = torch.empty_like(w_OI, dtype=products.operands)
    parts = zip(torch.split(codes, rows), torch.split(operand, rows), strict=True)
    for latent, (as_int8, as_operand) in zip(latents, parts, strict=True):
        # comparisons would say the same, but torch's take five times as long
        as_int8.copy_(torch.div(latent, least, out=scratch[: len(latent)]).clamp_(-1, 1))
        as_operand.copy_(as_int8)
    return TernaryWeights(
        operand if products.codes is products.operands else codes.to(products.codes), operand, absmean
    )


def one_scale_weights(quantiser: OneScale, w_OI: Tensor) -> TernaryWeights:
    """The same of any other quantiser whose codes share one scale."""
    codes_OI, scale = quantiser.codes_and_scale(w_OI)
    products = products_on(w_OI.device)
    return TernaryWeights(codes_OI.to(products.codes), codes_OI.to(products.operands), scale)


class MixedBitLinear(BitLinear):
    """A BitLinear with the same parameters, whose products are computed as this module says.

    The codes of a matrix are computed once for each of its values: training's forward and backward pass,
    the probes and the flip counts of a step share them. Of a quantiser whose codes do not share one scale
    the products are those of ``full`` weights.
    """

    precision = Precision.mixed
    cached: tuple[tuple[object, ...], TernaryWeights] | None = None

    def ternary(self) -> TernaryWeights:
        """The codes of the latent weights as they are now."""
        w_OI = self.weight
        # in-place changes raise _version: copies from a checkpoint, and train's Adam
        key = (w_OI._version, w_OI.data_ptr(), w_OI.dtype, w_OI.device)
        if self.cached is None or self.cached[0] != key:
            # a cached inference tensor would break later backward passes
            with torch.inference_mode(mode=False), torch.no_grad():
                self.cached = (key, self._rounded())
        return self.cached[1]

    def _rounded(self) -> TernaryWeights:
        assert isinstance(self.quantiser, OneScale), "only codes that share one scale are multiplied"
        if type(self.quantiser).codes_and_scale is AbsMean.codes_and_scale:  # as Tequila's is
            return ternary_weights(self.weight)
        return one_scale_weights(self.quantiser, self.weight)

    def codes(self) -> Tensor:
        """As :meth:`BitLinear.codes`; the result is shared and must not be written to."""
        return self.ternary().codes.to(torch.int8) if self.has_one_scale else super().codes()

    def linear(self, x_I: Tensor) -> Tensor:
        """As :meth:`BitLinear.linear`."""
        x_NI = x_I.reshape(-1, x_I.shape[-1])
        w_OI: Tensor = self.weight
        rounded, ternary = self.activations is not Activations.full, self.weights is Weights.ternary
        if rounded and self.has_one_scale:
            y_NO = _apply(_CodeProduct, x_NI, w_OI, self.ternary(), self.activations)
        else:
            x_NI = activation_straight_through(x_NI, kind=self.activations) if rounded else x_NI
            y_NO = _apply(_FloatProduct, x_NI, self.quantiser(w_OI) if ternary else w_OI)
        if ternary and (bias_O := self.quantiser.bias(w_OI)) is not None:
            y_NO = y_NO + bias_O
        return y_NO.view(*x_I.shape[:-1], len(self.weight))


class _CodeProduct(torch.autograd.Function):
    """Codes times codes; the gradients pass straight through both roundings."""

    @staticmethod
    def forward(
        ctx: Any, x_NI: Tensor, latent_OI: Tensor, weights: TernaryWeights, activations: Activations
    ) -> Tensor:
        codes_NI, scale_N1 = ACTIVATION_QUANTS[activations](x_NI)
        sums_NO = code_sums(codes_NI.to(weights.codes.dtype), weights.codes)
        ctx.save_for_backward(codes_NI.to(weights.operand.dtype), scale_N1, weights.operand, weights.absmean)
        # exact in float32 up to 2**24, so for up to 131,072 inputs
        return sums_NO.to(x_NI.dtype).mul_(weights.absmean / scale_N1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NO: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        codes_NI, scale_N1, weights_OI, absmean = ctx.saved_tensors
        # one code of an input is worth 1/scale, one of the weights absmean; neither is rounded
        gradient = (gradient_NO / scale_N1).to(weights_OI.dtype)
        to_input, to_weight = ctx.needs_input_grad[:2]
        x_NI = (gradient @ weights_OI).to(gradient_NO.dtype).mul_(absmean * scale_N1) if to_input else None
        w_OI = (gradient.T @ codes_NI).to(gradient_NO.dtype) if to_weight else None
        return x_NI, w_OI, None, None


class _FloatProduct(torch.autograd.Function):
    """The float32 product forward, backward as this machine multiplies fastest."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, w_OI: Tensor) -> Tensor:
        ctx.save_for_backward(x_NI, w_OI)
        return F.linear(x_NI, w_OI)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NO: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_NI, w_OI = ctx.saved_tensors
        dtype = products_on(x_NI.device).operands
        gradient = gradient_NO.to(dtype)
        to_input, to_weight = ctx.needs_input_grad
        x_grad_NI = (gradient @ w_OI.to(dtype)).to(x_NI.dtype) if to_input else None
        w_grad_OI = (gradient.T @ x_NI.to(dtype)).to(w_OI.dtype) if to_weight else None
        return x_grad_NI, w_grad_OI


def _apply(function: type[torch.autograd.Function], *operands: object) -> Tensor:
    result: Tensor = function.apply(*operands)  # type: ignore[no-untyped-call]  # torch's own
    return result
