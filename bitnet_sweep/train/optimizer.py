"""Adam with coupled or decoupled weight decay, and gradient clipping."""

from __future__ import annotations

import torch
from torch import nn

from bitnet_sweep.config import Decay, OptimizerConfig, OptimizerName


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    """A fused Adam (coupled L2, the notes' trainer) or AdamW (decoupled).

    The learning rate and the decay of each step are set by :func:`set_step`. With ``decay=matrices``
    only parameters of two or more dimensions decay: embeddings, head and BitLinears, not norm gains.
    """
    parameters = list(model.parameters())
    matrices = [p for p in parameters if config.decay is Decay.all or p.ndim >= 2]
    rest = [p for p in parameters if not (config.decay is Decay.all or p.ndim >= 2)]
    groups = [{"params": matrices, "decays": True}, *([{"params": rest, "decays": False}] if rest else [])]
    betas = (config.beta1, config.beta2)
    if config.name is OptimizerName.adamw:
        return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=config.eps, fused=True)
    return torch.optim.Adam(groups, lr=0.0, betas=betas, eps=config.eps, fused=True)


def set_step(optimizer: torch.optim.Adam, learning_rate: float, weight_decay: float) -> None:
    """Set what the next update uses."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        group["weight_decay"] = weight_decay if group["decays"] else 0.0


def clip_gradients(model: nn.Module, clip: float | None) -> float:
    """Scale the gradients so that their global L2 norm is at most ``clip``; the norm before that."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if clip is not None:
        nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
    return norm.item()
