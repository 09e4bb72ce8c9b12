"""How many parameters a model has, from its config alone (no torch)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bitnet_sweep.config import ModelConfig, NormPlace, Weights


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of trained scalars; what is neither ternary nor embedding are norm gains."""

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
    return counts if config.weights is Weights.ternary else replace(counts, ternary=0)
