"""Rounding of weights to three values and of activations to 8 or 4 bits, with straight-through gradients.

Source: Microsoft, "The Era of 1-bit LLMs: Training Tips, Code and FAQ" (2024). :class:`Quantiser` is what
other ways of rounding weights are made of: those of ``zoo`` and a user's own.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bitnet_sweep.config import Activations, StraightThrough

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


INT4_MIN, INT4_MAX = -8, 7
"""Range of a 4-bit activation code; the mean of |x| is mapped to the root of 7 (published)."""


def int4_activation_quant(x: Tensor) -> tuple[Tensor, Tensor]:
    """4-bit codes of activations, as :func:`activation_quant` has them: -8..7, by the mean of |x|.

    Source: BitNet a4.8 (Wang et al. 2024, arXiv 2411.04965), and BitNet v2 (arXiv 2504.18415).
    """
    scale = math.sqrt(INT4_MAX) / x.abs().mean(dim=-1, keepdim=True).clamp(min=CLAMP_MIN)
    return (x * scale).round_().clamp_(INT4_MIN, INT4_MAX), scale


ACTIVATION_QUANTS: dict[Activations, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    Activations.int8: activation_quant,
    Activations.int4: int4_activation_quant,
}


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
    return straight_through(w, quantised, form)


def activation_straight_through(
    x: Tensor, form: StraightThrough = StraightThrough.exact, kind: Activations = Activations.int8
) -> Tensor:
    """``codes / scale`` of that kind of codes, as :func:`weight_straight_through` has it."""
    with torch.no_grad():
        codes, scale = ACTIVATION_QUANTS[kind](x)
        quantised = codes.div_(scale)
    return straight_through(x, quantised, form)


def straight_through(
    latent: Tensor, quantised: Tensor, form: StraightThrough = StraightThrough.exact
) -> Tensor:
    """``quantised``, with a gradient that is passed to ``latent`` unchanged."""
    if form is StraightThrough.detached:
        with torch.no_grad():
            quantised = latent + (quantised - latent)
    result: Tensor = _StraightThrough.apply(latent, quantised)  # type: ignore[no-untyped-call]  # torch's own
    return result


class Quantiser(nn.Module, ABC):
    """How a BitLinear rounds its latent weights (O, I): the base of every one that can be registered.

    What it learns are parameters of its own, of less than two dimensions: they are trained, saved and counted
    with the model, and decay as the gains of the norms do.

    Args:
        rows: O.
        columns: I.
        options: what the part declares as its options; None where it has none.
    """

    clamps_absmean: ClassVar[bool] = False
    """Whether it divides by the absmean of the matrix, clamped at ``CLAMP_MIN``."""

    def __init__(self, rows: int, columns: int, options: Any = None) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, w_OI: Tensor) -> Tensor:
        """The quantised weights (O, I); their gradient reaches ``w_OI`` and what is learned."""

    @abstractmethod
    def codes(self, w_OI: Tensor) -> Tensor:
        """The whole numbers (O, I) that the quantised weights are told by, from -64 to 63."""

    def initialise(self, w_OI: Tensor) -> None:
        """Set what is learned, from the initial latent weights alone: nothing may be drawn."""

    def bias(self, w_OI: Tensor) -> Tensor | None:
        """What is added to each output (O); None adds nothing."""
        return None


class OneScale(Quantiser):
    """One that learns nothing, whose codes are -1, 0 and 1, times one number for the whole matrix.

    The gradient passes straight through. ``precision=mixed`` multiplies its codes, unless a subclass has a
    ``forward`` or ``codes`` of its own, of which that product would know nothing.
    """

    @abstractmethod
    def codes_and_scale(self, w_OI: Tensor) -> tuple[Tensor, Tensor]:
        """The codes (O, I) in the dtype of ``w_OI``, and the number without dimensions."""

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Refused: what is computed once for each value of the latent weights would not see it change."""
        raise TypeError(f"{type(self).__name__}.{name}: a OneScale learns nothing; derive from Quantiser")

    def forward(self, w_OI: Tensor) -> Tensor:
        """See :meth:`Quantiser.forward`."""
        with torch.no_grad():
            codes_OI, scale = self.codes_and_scale(w_OI)
            quantised_OI = codes_OI * scale
        return straight_through(w_OI, quantised_OI)

    def codes(self, w_OI: Tensor) -> Tensor:
        """See :meth:`Quantiser.codes`."""
        return self.codes_and_scale(w_OI)[0]


def multiplies_codes(quantiser: Quantiser) -> bool:
    """Whether ``precision=mixed`` may multiply codes: values and gradient are those of :class:`OneScale`."""
    kind = type(quantiser)
    return (
        isinstance(quantiser, OneScale) and kind.forward is OneScale.forward and kind.codes is OneScale.codes
    )


class AbsMean(OneScale):
    """:func:`weight_quant`."""

    clamps_absmean = True

    def codes_and_scale(self, w_OI: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`OneScale.codes_and_scale`."""
        return weight_quant(w_OI)
