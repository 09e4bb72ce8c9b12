"""BitLinear: a linear layer that rounds its weights to three values and its inputs to 8 bits.

Shapes: I inputs, O outputs, ... any leading dimensions (one token each).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitnet_sweep.config import Activations, Precision, StraightThrough, Weights
from bitnet_sweep.model.norm import norm_of
from bitnet_sweep.model.quantisers import activation_straight_through, weight_quant, weight_straight_through


class BitLinear(nn.Module):
    """A norm, then a matrix product without bias, both operands quantised in the forward pass.

    The latent weights ``weight`` (O, I) come uninitialised; call :meth:`initialise`.

    Args:
        in_features: I.
        out_features: O.
        weights: ``full`` uses the latent weights as they are.
        activations: ``full`` uses the normed inputs as they are.
        straight_through: what the rounded values of both are; only the reference knows ``detached``.
    """

    precision = Precision.fp32

    def __init__(
        self,
        in_features: int,
        out_features: int,
        weights: Weights,
        activations: Activations,
        straight_through: StraightThrough = StraightThrough.exact,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.activations = activations
        self.straight_through = straight_through
        self.norm = norm_of(in_features, self.precision)
        self.weight = nn.Parameter(torch.empty(out_features, in_features))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the latent weights as torch's ``nn.Linear`` does: uniform in +-1/sqrt(I)."""
        linear_init(self.weight, generator)

    def forward(self, x_I: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        return self.linear(self.norm(x_I))

    def linear(self, x_I: Tensor) -> Tensor:
        """The product of normed inputs (..., I) and weights, each rounded as configured: (..., O)."""
        w_OI: Tensor = self.weight
        if self.activations is Activations.int8:
            x_I = activation_straight_through(x_I, self.straight_through)
        if self.weights is Weights.ternary:
            w_OI = weight_straight_through(w_OI, self.straight_through)
        return F.linear(x_I, w_OI)

    @torch.no_grad()
    def codes(self) -> Tensor:
        """The ternary codes of the latent weights: (O, I), int8, whatever ``weights`` says."""
        codes_OI, _ = weight_quant(self.weight)
        return codes_OI.to(torch.int8)

    @torch.no_grad()
    def absmean(self) -> Tensor:
        """Mean |latent weight|, not clamped, without dimensions."""
        return self.weight.abs().mean()


def linear_init(w_OI: Tensor, generator: torch.Generator) -> None:
    """Uniform in +-1/sqrt(I), in place: kaiming uniform with a=sqrt(5), the default of ``nn.Linear``."""
    bound = w_OI.shape[1] ** -0.5
    with torch.no_grad():
        w_OI.uniform_(-bound, bound, generator=generator)
