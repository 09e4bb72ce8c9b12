"""A config of each optimizer."""

from typing import Any

from bitnet_sweep.config import OptimizerConfig, OptimizerName

SETTINGS: dict[OptimizerName, dict[str, Any]] = {
    OptimizerName.lion: {"beta2": 0.99},
    OptimizerName.sgd: {"momentum": 0.9},
    OptimizerName.torch: {"torch_class": "NAdam", "options": {"momentum_decay": 0.01, "betas": [0.8, 0.9]}},
}
"""What differs from the defaults: as in ``conf/``, and a class of torch that has options."""


def config_of(name: OptimizerName, **changes: Any) -> OptimizerConfig:
    """A config of the optimizer of that name."""
    return OptimizerConfig(name=name, **SETTINGS.get(name, {}), **changes)
