"""How many parameters a model has, from its config alone (no torch, unless a quantiser learns something)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from bitnet_sweep.config import ModelConfig, NormPlace, Weights
from bitnet_sweep.parts import find


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of trained scalars; what is neither ternary nor embedding are norm gains, and what quantisers
    learn."""

    total: int
    ternary: int
    """Entries of the BitLinear matrices; 0 where ``model.weights=full`` leaves them unquantised."""
    embedding: int
    """Entries of the embedding matrix and of the head; counted once where they are tied."""


def ternary_counts(
    hidden: int, num_layers: int, ffn: int, vocab_size: int, tied: bool, norm: NormPlace = NormPlace.both
) -> ParameterCounts:
    """The counts of a ternary model.

    At the notes' setting (4 blocks, ffn = 2h, untied) the total is 2Vh + 40h^2 + 29h.
    """
    attention, feed_forward = 4 * hidden * hidden, 3 * hidden * ffn
    sublayer_gains = 2 * hidden if norm is NormPlace.both else 0
    bitlinear_gains = 3 * hidden + ffn
    matrices = num_layers * (attention + feed_forward)
    gains = num_layers * (sublayer_gains + bitlinear_gains) + hidden
    embedding = (1 if tied else 2) * vocab_size * hidden
    return ParameterCounts(total=embedding + matrices + gains, ternary=matrices, embedding=embedding)


def predicted_counts(config: ModelConfig, vocab_size: int) -> ParameterCounts:
    """The counts of ``Transformer(config, vocab_size, seed)``."""
    counts = ternary_counts(
        config.hidden, config.num_layers, config.ffn_width, vocab_size, config.tied, config.norm
    )
    if config.weights is Weights.full:
        return replace(counts, ternary=0)
    return replace(counts, total=counts.total + config.num_layers * _learned_by_quantisers(config))


def quantiser_of(config: ModelConfig, rows: int, columns: int) -> Any:
    """The quantiser of a matrix of these sizes.

    Raises:
        ConfigError: there is none of that name, its options are wrong, or it is of another version.
    """
    part = find("quantiser", config.quantiser, key="model.quantiser")
    part.check_version(config.quantiser_version, "model.quantiser_version")
    return part.load()(rows, columns, part.options_of(config.quantiser_options, "model.quantiser_options"))


def _learned_by_quantisers(config: ModelConfig) -> int:
    """In one block; found by making its quantisers, which takes torch."""
    if config.quantiser == ModelConfig.quantiser:
        return 0
    alike = json.dumps([config.quantiser, config.quantiser_options], sort_keys=True, default=str)
    hidden, ffn = config.hidden, config.ffn_width
    shapes = [(3 * hidden, hidden), (hidden, hidden), (2 * ffn, hidden), (hidden, ffn)]
    for shape in shapes:
        if (alike, shape) not in _learned:
            own = quantiser_of(config, *shape).parameters()
            _learned[alike, shape] = sum(parameter.numel() for parameter in own)
    return sum(_learned[alike, shape] for shape in shapes)


_learned: dict[tuple[str, tuple[int, int]], int] = {}
"""By quantiser and shape of the matrix; a plan asks for that of each of 10,000 runs."""
