"""What the exports ask of a model's config, in one place."""

from __future__ import annotations

from bitnet_sweep.config import ModelConfig


def has_both_norms(config: ModelConfig) -> bool:
    """Whether a norm stands in front of each sublayer besides those inside the BitLinears (``norm=both``)."""
    return True  # every model has them until model.norm comes


def activation(config: ModelConfig) -> str:
    """What the gate of the feed-forward goes through: ``relu2`` or ``silu``."""
    return "relu2"  # every model has it until model.activation comes
