"""From a batch to the gradient of its objective, at once or in parts that are summed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitnet_sweep.config import IGNORED, LossConfig
from bitnet_sweep.model.interface import Model


def backward(model: Model, x_BT: Tensor, y_BT: Tensor, loss: LossConfig, micro_batches: int = 1) -> float:
    """Leave the gradient of the objective in the model's parameters; the objective before it.

    The rows are split into ``micro_batches`` parts, whose gradients are summed in order, each by its share
    of the targets. So the memory is that of one part, and the objective the mean over all targets. An
    objective that is not finite leaves no gradient.

    Args:
        x_BT: token ids.
        y_BT: the ids that follow them, or IGNORED.
        loss: what the objective is made of.
        micro_batches: divides B.
    """
    if micro_batches == 1:
        return _add_gradient(model, x_BT, y_BT, loss)
    total, objective = _targets(y_BT), 0.0
    rows = len(x_BT) // micro_batches
    for x, y in zip(torch.split(x_BT, rows), torch.split(y_BT, rows), strict=True):
        targets = _targets(y)
        if targets or not total:  # the mean over no target is NaN, which is the batch's only if it has none
            objective += _add_gradient(model, x, y, loss, targets / max(1, total))
        if not math.isfinite(objective):
            model.clear_gradients()
            break
    return objective


def _add_gradient(model: Model, x_BT: Tensor, y_BT: Tensor, loss: LossConfig, share: float = 1.0) -> float:
    """Add ``share`` of the gradient of the objective, if that is finite; so much of the objective."""
    objective = model.objective(x_BT, y_BT, loss.label_smoothing, loss.z_loss)
    if share != 1:
        objective = objective * share
    value = objective.item()
    if math.isfinite(value):
        torch.autograd.backward(objective)
    return value


def _targets(y_BT: Tensor) -> int:
    return int((y_BT != IGNORED).sum().item())
