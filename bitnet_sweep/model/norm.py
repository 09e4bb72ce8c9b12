"""The norm of the model, and for ``precision=mixed`` its twin in one step of autograd.

At small widths the many small operations of a norm cost most.

Shapes: D width, ... any leading dimensions (one token each).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from bitnet_sweep.config import Precision

Norm = nn.RMSNorm
"""The class of every norm: in front of the sublayers, inside the BitLinears, and the last one."""

NORM_EPS = 1e-5
"""Added to the mean square in every RMSNorm (published: docs/notes.md)."""


def norm_of(width: int, precision: Precision) -> Norm:
    """A norm over the last dimension; at ``mixed`` its twin, where it has one."""
    kind = _MIXED.get(Norm, Norm) if precision is Precision.mixed else Norm
    norm: Norm = kind(width, eps=NORM_EPS)
    return norm


class OneStepRMSNorm(nn.RMSNorm):
    """``nn.RMSNorm`` with its gradient written out; forward it is the same to the last bit."""

    def forward(self, x_D: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        result: Tensor = _RMSNorm.apply(x_D, self.weight, self.eps)  # type: ignore[no-untyped-call]  # torch's own
        return result


class _RMSNorm(torch.autograd.Function):
    """y = x r g  with  r = 1 / sqrt(mean(x²) + eps)  and the gains g.

    With dy the gradient to y and n = x r:  dg = sum(dy n)  over tokens, and
    dx = r (dy g - n mean(dy g n)).
    """

    @staticmethod
    def forward(ctx: Any, x_D: Tensor, gain_D: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x_D, gain_D)
        ctx.eps = eps
        return F.rms_norm(x_D, gain_D.shape, gain_D, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_D: Tensor) -> tuple[Tensor, Tensor, None]:
        x_D, gain_D = ctx.saved_tensors
        width = len(gain_D)
        root_1 = torch.linalg.vector_norm(x_D, dim=-1, keepdim=True)
        r_1 = root_1.square_().div_(width).add_(ctx.eps).rsqrt_()
        normed_D = x_D * r_1
        product_D = gradient_D * normed_D
        mean_1 = (product_D @ gain_D).div_(width).unsqueeze(-1)
        to_x_D = torch.addcmul(gradient_D * gain_D, normed_D, mean_1, value=-1).mul_(r_1)
        return to_x_D, product_D.flatten(0, -2).sum(0), None


_MIXED: dict[type[nn.Module], Any] = {nn.RMSNorm: OneStepRMSNorm}
"""Norms with a twin that computes the same, faster."""
