"""Rounding of weights to three values and of activations to 8 bits, with straight-through gradients.

Source: Microsoft, "The Era of 1-bit LLMs: Training Tips, Code and FAQ" (2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitnet_sweep.config import StraightThrough

CLAMP_MIN = 1e-5
"""Smallest absmean and absmax that is divided by (published)."""

INT8_MIN, INT8_MAX = -128, 127
"""Range of an activation code; absmax is mapped to 127 (published)."""


def weight_quant(w: Tensor) -> tuple[Tensor, Tensor]:
    """Ternary codes of a tensor and the one absmean they stand for.

    Ties round to even, so a weight of exactly half the absmean becomes 0.

    Returns:
        ``codes``: -1, 0 or 1 in the shape and dtype of ``w``; ``absmean``: the mean of |w| clamped from
        below at 1e-5, without dimensions. The quantised weights are ``codes * absmean``.
    """
    absmean = w.abs().mean().clamp(min=CLAMP_MIN)
    return (w / absmean).round_().clamp_(-1, 1), absmean


def activation_quant(x: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit codes of activations, with one scale for each token (the last dimension is a token's).

    Returns:
        ``codes``: whole numbers in -128..127 in the shape and dtype of ``x``; ``scale``: 127/absmax
        of each token, absmax clamped from below at 1e-5, the last dimension kept as 1. The quantised
        activations are ``codes / scale``.
    """
    scale = INT8_MAX / x.abs().amax(dim=-1, keepdim=True).clamp(min=CLAMP_MIN)
    return (x * scale).round_().clamp_(INT8_MIN, INT8_MAX), scale


class _StraightThrough(torch.autograd.Function):
    """Forward: the quantised values, exactly. Backward: the gradient reaches the latent ones unchanged."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, quantised: Tensor) -> Tensor:
        return quantised.view_as(quantised)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def weight_straight_through(w: Tensor, form: StraightThrough = StraightThrough.exact) -> Tensor:
    """``codes * absmean`` of :func:`weight_quant`; its gradient is passed to ``w`` unchanged.

    The usual ``w + (quantised - w).detach()`` is ``form=detached``: it rounds, so its matrix is not ternary
    to the last bit.
    """
    with torch.no_grad():
        codes, absmean = weight_quant(w)
        quantised = codes.mul_(absmean)
    return _straight_through(w, quantised, form)


def activation_straight_through(x: Tensor, form: StraightThrough = StraightThrough.exact) -> Tensor:
    """``codes / scale`` of :func:`activation_quant`, as :func:`weight_straight_through` has it."""
    with torch.no_grad():
        codes, scale = activation_quant(x)
        quantised = codes.div_(scale)
    return _straight_through(x, quantised, form)


def _straight_through(latent: Tensor, quantised: Tensor, form: StraightThrough) -> Tensor:
    if form is StraightThrough.detached:
        with torch.no_grad():
            quantised = latent + (quantised - latent)
    result: Tensor = _StraightThrough.apply(latent, quantised)  # type: ignore[no-untyped-call]  # torch's own
    return result
