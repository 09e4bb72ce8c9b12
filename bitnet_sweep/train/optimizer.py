"""Adam with coupled or decoupled weight decay, and gradient clipping."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from bitnet_sweep.config import Decay, OptimizerConfig, OptimizerName

_CLIP_EPS = 1e-6
"""Added to the norm that is divided by, as ``torch.nn.utils.clip_grads_with_norm_`` does."""


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    """A fused Adam (coupled L2, the notes' trainer) or AdamW (decoupled).

    The learning rate and the decay of each step are set by :func:`set_step`. With ``decay=matrices``
    only parameters of two or more dimensions decay: embeddings, head and BitLinears, not norm gains.
    """
    parameters = list(model.parameters())
    matrices = [p for p in parameters if config.decay is Decay.all or p.ndim >= 2]
    rest = [p for p in parameters if not (config.decay is Decay.all or p.ndim >= 2)]
    groups = [{"params": matrices, "decays": True}, *([{"params": rest, "decays": False}] if rest else [])]
    kind = torch.optim.AdamW if config.name is OptimizerName.adamw else torch.optim.Adam
    betas = (config.beta1, config.beta2)
    optimizer = kind(groups, lr=0.0, betas=betas, eps=config.eps, fused=True)

    def note_the_change(*_: object) -> None:
        for parameter in parameters:  # the fused kernel does not; a model may cache what it makes of weights
            increment_version(parameter)

    optimizer.register_step_post_hook(note_the_change)
    return optimizer


def set_step(optimizer: torch.optim.Adam, learning_rate: float, weight_decay: float) -> None:
    """Set what the next update uses."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        group["weight_decay"] = weight_decay if group["decays"] else 0.0


def clip_gradients(model: nn.Module, clip: float | None) -> float:
    """Scale the gradients so that their global L2 norm is at most ``clip``; the norm before that."""
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    if clip is not None:
        nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
    return norm.item()


def clip_in_step(optimizer: torch.optim.Adam, gradients: list[Tensor], clip: float | None) -> float:
    """As :func:`clip_gradients`, but the next step divides the gradients as it reads them.

    That saves a pass over them and changes the last bits of what is clipped.

    Args:
        optimizer: of all parameters.
        gradients: all that is not zero in theirs.
        clip: the largest global L2 norm; None does not clip.
    """
    norm = nn.utils.get_total_norm(gradients)
    # the fused step divides before it adds a coupled decay; without a divisor it does not write gradients
    scale = None if clip is None else (norm + _CLIP_EPS) / clip
    optimizer.grad_scale = scale if scale is not None and scale > 1 else None  # type: ignore[attr-defined]
    return norm.item()
