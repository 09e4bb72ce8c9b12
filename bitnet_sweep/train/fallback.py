"""What ``precision=mixed`` has no product of its own for, as a plan tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bitnet_sweep.config import Activations, ModelConfig, Precision, RunConfig, Weights
from bitnet_sweep.counts import quantiser_of
from bitnet_sweep.exact import counted


def fallback_lines(configs: Sequence[RunConfig]) -> list[str]:
    """A line for each model of a user's own, and each quantiser whose codes are not multiplied as such."""
    mixed = [config for config in configs if config.precision is Precision.mixed]
    models = Counter(config.model.name for config in mixed if not config.has_built_in_model)
    runs = Counter(config.model.quantiser for config in mixed if _falls_back(config))
    return [
        f"precision=mixed: model.name={name} is computed by its own code, with the loss in float32, as at "
        f"precision=fp32 ({counted(count, 'run')})"
        for name, count in models.items()
    ] + [
        f"precision=mixed: model.quantiser={name} has no product of codes, so its BitLinears multiply "
        f"float32 numbers forward, as full weights do ({counted(count, 'run')})"
        for name, count in runs.items()
    ]


def _falls_back(config: RunConfig) -> bool:
    model = config.model
    if model.quantiser == ModelConfig.quantiser:
        return False
    from bitnet_sweep.model.quantisers import multiplies_codes  # late: it imports torch

    is_rounded = model.weights is Weights.ternary and model.activations is not Activations.full
    return is_rounded and not multiplies_codes(quantiser_of(model, 1, 1))
