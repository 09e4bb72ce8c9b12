"""Gradient clipping, and the update that it makes together with an optimizer."""

from __future__ import annotations

from torch import Tensor, nn

from bitnet_sweep.config import Precision
from bitnet_sweep.model.interface import Model
from bitnet_sweep.train.optimizer.interface import Optimizer

_CLIP_EPS = 1e-6
"""Added to the norm that is divided by, as ``torch.nn.utils.clip_grads_with_norm_`` does."""


def update(
    model: Model,
    optimizer: Optimizer,
    *,
    clip: float | None,
    learning_rate: float,
    weight_decay: float,
) -> float:
    """Clipping and step, from the gradients of the model's parameters; their global norm before clipping.

    Args:
        clip: the largest global L2 norm; None does not clip.
    """
    if model.precision is Precision.mixed and optimizer.takes_divisor:
        norm, divisor = clip_in_step(model.gradients(), clip)
    else:
        norm, divisor = clip_gradients(model, clip), None
    optimizer.step(learning_rate, weight_decay, divisor)
    model.clear_gradients()
    return norm


def clip_gradients(model: nn.Module, clip: float | None) -> float:
    """Scale the gradients so that their global L2 norm is at most ``clip``; the norm before that."""
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    if clip is not None:
        nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
    return norm.item()


def clip_in_step(gradients: list[Tensor], clip: float | None) -> tuple[float, Tensor | None]:
    """As :func:`clip_gradients`, but leaves the division to :meth:`Optimizer.step`, which reads them anyway.

    That saves a pass over them and changes the last bits of what is clipped.

    Args:
        gradients: all that is not zero in the parameters'.
        clip: the largest global L2 norm; None does not clip.

    Returns:
        The norm, and what the step is to divide by; None where nothing is.
    """
    norm = nn.utils.get_total_norm(gradients)
    divisor = None if clip is None else (norm + _CLIP_EPS) / clip
    return norm.item(), divisor if divisor is not None and divisor > 1 else None
