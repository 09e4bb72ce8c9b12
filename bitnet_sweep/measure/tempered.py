"""The loss of logits / tau: which tau is best, and what is left then.

An underconfident model ranks the tokens well and gives them too little probability; weight decay on the
head makes one. With the inverse temperature b = 1/tau the loss of a token, ln sum exp(b z) - b z_y over
its logits z, is convex in b: its slope is E[z] - z_y and its curvature Var[z], both under the softmax of
b z. So a few Newton steps find the best b.

Shapes: C tokens, K ids of one tile, J tiles, S tokens of the sample, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE_TOKENS = 128
"""Tokens of the fitting half, for the first guess (chosen: mostly within the next constant of the best)."""

FIT_NATS = 0.02
"""A Newton step that promises no more is the last one (chosen: what it leaves is about its square)."""

_SAMPLE_NATS = 1e-4
_MOST_STEPS = 100


@dataclass(frozen=True)
class Tempered:
    """One number a token, at one inverse temperature b: three tensors (C)."""

    nll: Tensor
    """Loss under the logits b z, nats."""
    slope: Tensor
    """Its derivative by b."""
    curvature: Tensor
    """Its second derivative by b."""


def moments(below_CK: Tensor, highest_C: Tensor, b: float) -> tuple[Tensor, Tensor, Tensor]:
    """ln sum exp(b z), and the mean and variance of z under the softmax of b z: each (C).

    Args:
        below_CK: the logits z less the highest of each row.
        highest_C: that highest logit.
        b: inverse temperature, 0 or more.
    """
    p_CK = (below_CK * b).exp_()
    total_C = p_CK.sum(dim=-1)
    mean_C = p_CK.mul_(below_CK).sum(dim=-1) / total_C
    square_C = p_CK.mul_(below_CK).sum(dim=-1) / total_C
    variance_C = (square_C - mean_C.square()).clamp_(min=0)
    return b * highest_C + total_C.log(), highest_C + mean_C, variance_C


def of_tiles(
    log_partition_CJ: Tensor, mean_CJ: Tensor, variance_CJ: Tensor, z_y_C: Tensor, b: float
) -> Tempered:
    """The moments of each tile put together; ``z_y_C`` are the targets' logits."""
    share_CJ = log_partition_CJ.softmax(dim=-1)
    mean_C = (share_CJ * mean_CJ).sum(dim=-1)
    variance_C = (share_CJ * (variance_CJ + (mean_CJ - mean_C[:, None]).square())).sum(dim=-1)
    return Tempered(log_partition_CJ.logsumexp(dim=-1) - b * z_y_C, mean_C - z_y_C, variance_C)


def first_guess(logits_SV: Tensor, y_S: Tensor) -> float:
    """The best inverse temperature for these tokens: Newton's method, kept within a bracket.

    0 where no positive one is better than uniform; NaN where a logit is not finite. Overwrites the logits.
    """
    z_y_S = logits_SV.gather(-1, y_S[:, None])[:, 0]
    highest_S = logits_SV.amax(dim=-1)
    below_SV = logits_SV.sub_(highest_S[:, None])
    low, high, b = -1.0, math.inf, 1.0
    for _ in range(_MOST_STEPS):
        _, mean_S, variance_S = moments(below_SV, highest_S, b)
        slope, curvature = _mean(mean_S - z_y_S), _mean(variance_S)
        if not math.isfinite(slope) or not math.isfinite(curvature):
            return math.nan
        following, promised = newton_step(b, slope, curvature)
        if promised <= _SAMPLE_NATS or (b == 0 and slope >= 0):
            return b
        low, high = (b, high) if slope < 0 else (low, b)
        if not low < following < high:
            following = 2 * b if high == math.inf else (max(low, 0.0) + high) / 2
        b = following
    return b


def newton_step(b: float, slope: float, curvature: float) -> tuple[float, float]:
    """The next inverse temperature, 0 or more, and how much lower it promises the loss to be, in nats."""
    if curvature > 0:
        return max(0.0, b - slope / curvature), slope**2 / (2 * curvature)
    if slope == 0:
        return b, 0.0
    return math.copysign(math.inf, -slope), math.inf


def next_of_half(b: float, parts: list[Tempered]) -> tuple[float, bool]:
    """The next inverse temperature by the whole fitting half at ``b``, and whether it is good enough."""
    slope = _mean(torch.cat([part.slope for part in parts]))
    curvature = _mean(torch.cat([part.curvature for part in parts]))
    if not math.isfinite(slope) or not math.isfinite(curvature):
        return math.nan, True
    following, promised = newton_step(b, slope, curvature)
    if b > 0:
        following = min(max(following, b / 2), 2 * b)  # far away the curvature is another
    return following, promised <= FIT_NATS


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
