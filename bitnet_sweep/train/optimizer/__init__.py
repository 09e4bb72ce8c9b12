"""The optimizers by name, gradient clipping, and the update they make together."""

from __future__ import annotations

from typing import assert_never

from torch import nn

from bitnet_sweep.config import OptimizerConfig, OptimizerName
from bitnet_sweep.train.optimizer.adam import Adam
from bitnet_sweep.train.optimizer.any_torch import AnyTorch
from bitnet_sweep.train.optimizer.interface import Optimizer
from bitnet_sweep.train.optimizer.lion import Lion
from bitnet_sweep.train.optimizer.muon import Muon
from bitnet_sweep.train.optimizer.sgd import Sgd
from bitnet_sweep.train.optimizer.update import clip_gradients, clip_in_step, update

__all__ = ["Adam", "Optimizer", "clip_gradients", "clip_in_step", "make_optimizer", "update"]


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """The optimizer of that name."""
    match config.name:
        case OptimizerName.adam_l2 | OptimizerName.adamw:
            return Adam(model, config)
        case OptimizerName.sgd:
            return Sgd(model, config)
        case OptimizerName.lion:
            return Lion(model, config)
        case OptimizerName.muon:
            return Muon(model, config)
        case OptimizerName.torch:
            return AnyTorch(model, config)
        case _:
            assert_never(config.name)
