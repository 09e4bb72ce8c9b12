"""The running mean of a model's weights (``ema``): an exponential moving average."""

from __future__ import annotations

import copy

import torch

from bitnet_sweep.model.interface import Model

AVERAGE = "ema/"
"""How the names of means begin in a file of tensors; the model's own name follows."""


def average_of(model: Model) -> Model:
    """A model to hold the mean: a copy that is not trained."""
    return copy.deepcopy(model).requires_grad_(False).eval()


@torch.no_grad()
def follow(average: Model, model: Model, decay: float, step: int) -> None:
    """Take the weights behind update ``step`` into the mean: ``decay`` times itself plus the rest of them.

    Behind the first update it is the weights, as in ``torch.optim.swa_utils.AveragedModel``: there is no bias
    towards the initial ones. Buffers are not averaged: they are those of the model.
    """
    share = 1 - decay if step > 1 else 1.0
    for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(parameter, share)
    for own, buffer in zip(average.buffers(), model.buffers(), strict=True):
        own.copy_(buffer)
