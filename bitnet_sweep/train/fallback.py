"""What ``precision=mixed`` has no product of its own for, as a plan tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bitnet_sweep.config import Activations, ModelConfig, Precision, RunConfig, Weights
from bitnet_sweep.counts import quantiser_of


def fallback_lines(configs: Sequence[RunConfig]) -> list[str]:
    """A line for each quantiser whose codes are not multiplied as such; nothing where there is none."""
    runs = Counter(config.model.quantiser for config in configs if _falls_back(config))
    return [
        f"precision=mixed: model.quantiser={name} has no product of codes, so its BitLinears multiply "
        f"float32 numbers forward, as full weights do ({count} run{'s' * (count > 1)})"
        for name, count in runs.items()
    ]


def _falls_back(config: RunConfig) -> bool:
    model = config.model
    if config.precision is not Precision.mixed or model.quantiser == ModelConfig.quantiser:
        return False
    from bitnet_sweep.model.quantisers import OneScale  # late: it imports torch

    is_rounded = model.weights is Weights.ternary and model.activations is not Activations.full
    return is_rounded and not isinstance(quantiser_of(model, 1, 1), OneScale)
