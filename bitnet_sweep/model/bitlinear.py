"""BitLinear: a linear layer that rounds its weights, to three values by default, and its inputs to 8 bits.

Shapes: I inputs, O outputs, ... any leading dimensions (one token each).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitnet_sweep.config import Activations, Precision, StraightThrough, Weights
from bitnet_sweep.model.hadamard import hadamard
from bitnet_sweep.model.norm import norm_of
from bitnet_sweep.model.quantisers import (
    AbsMean,
    Quantiser,
    activation_straight_through,
    multiplies_codes,
    weight_straight_through,
)


class BitLinear(nn.Module):
    """A norm, then a matrix product without bias, both operands quantised in the forward pass.

    The latent weights ``weight`` (O, I) come uninitialised; call :meth:`initialise`.

    Args:
        in_features: I.
        out_features: O.
        weights: ``full`` uses the latent weights as they are.
        activations: ``full`` uses the normed inputs as they are.
        straight_through: what the rounded values of both are; only the reference knows ``detached``, and
            only of the default quantiser.
        quantiser: of the weights; by default :class:`AbsMean`.
        turned: the normed inputs are turned by :func:`hadamard`.
    """

    precision = Precision.fp32

    def __init__(
        self,
        in_features: int,
        out_features: int,
        weights: Weights,
        activations: Activations,
        straight_through: StraightThrough = StraightThrough.exact,
        quantiser: Quantiser | None = None,
        turned: bool = False,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.activations = activations
        self.straight_through = straight_through
        self.turned = turned
        self.norm = norm_of(in_features, self.precision)
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.quantiser = AbsMean(out_features, in_features) if quantiser is None else quantiser
        self.has_one_scale = weights is Weights.ternary and multiplies_codes(self.quantiser)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the latent weights as torch's ``nn.Linear`` does: uniform in +-1/sqrt(I)."""
        linear_init(self.weight, generator)
        with torch.no_grad():
            self.quantiser.initialise(self.weight)

    def forward(self, x_I: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        x_I = self.norm(x_I)
        return self.linear(hadamard(x_I) if self.turned else x_I)

    def linear(self, x_I: Tensor) -> Tensor:
        """The product of normed inputs (..., I) and weights, each rounded as configured: (..., O)."""
        if self.activations is not Activations.full:
            x_I = activation_straight_through(x_I, self.straight_through, self.activations)
        if self.weights is Weights.full:
            return F.linear(x_I, self.weight)
        if self.straight_through is StraightThrough.detached:
            return F.linear(x_I, weight_straight_through(self.weight, self.straight_through))
        return F.linear(x_I, self.quantiser(self.weight), self.quantiser.bias(self.weight))

    @torch.no_grad()
    def codes(self) -> Tensor:
        """The codes of the latent weights: (O, I), int8, whatever ``weights`` says."""
        return self.quantiser.codes(self.weight).to(torch.int8)

    @torch.no_grad()
    def absmean(self) -> Tensor:
        """Mean |latent weight|, not clamped, without dimensions."""
        return self.weight.abs().mean()


def linear_init(w_OI: Tensor, generator: torch.Generator) -> None:
    """Uniform in +-1/sqrt(I), in place: kaiming uniform with a=sqrt(5), the default of ``nn.Linear``."""
    bound = w_OI.shape[1] ** -0.5
    with torch.no_grad():
        w_OI.uniform_(-bound, bound, generator=generator)
