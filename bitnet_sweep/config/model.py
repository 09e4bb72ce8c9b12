"""The group ``model``: the shape of the transformer, what its weights and activations are rounded to."""

# ruff: noqa: RUF009 - knob() makes a field
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from bitnet_sweep.config.checks import ConfigError, settle
from bitnet_sweep.roles import Role, knob


class Weights(Enum):
    """What the matrices of the forward pass hold."""

    ternary = "ternary"
    full = "full"


class Activations(Enum):
    """What the inputs of the BitLinears are rounded to."""

    int8 = "int8"
    int4 = "int4"
    full = "full"


class StraightThrough(Enum):
    """What a quantised value is in the forward pass: itself, or ``w + (q - w)``, which rounds."""

    exact = "exact"
    detached = "detached"


class NormPlace(Enum):
    """Where the norms of a block stand: before each sublayer and inside each BitLinear, or only inside."""

    both = "both"
    inside = "inside"


class GateActivation(Enum):
    """What the gate of the feed-forward goes through: ReLU², or SiLU."""

    relu2 = "relu2"
    silu = "silu"


@dataclass
class ModelConfig:
    """A decoder-only transformer of BitLinears, as in docs/notes.md, or a model of your own."""

    hidden: int = knob(256, Role.in_id | Role.weights | Role.axis | Role.head | Role.basic, label="h", rank=3)
    """Width of the model: the length of the vector that stands for a token."""
    num_layers: int = knob(4, Role.in_id | Role.weights)
    """Blocks, each of attention and a feed-forward."""
    num_heads: int = knob(4, Role.in_id)
    """Attention heads of a block; they share the width evenly."""
    ffn: int | None = knob(None, Role.in_id | Role.weights)
    """Width of the gated feed-forward; null means 2 x hidden."""
    tied: bool = knob(False, Role.in_id | Role.weights)
    """Share the embedding matrix with the head."""
    weights: Weights = knob(Weights.ternary, Role.in_id | Role.basic, label="", rank=7)
    activations: Activations = knob(Activations.int8, Role.in_id, rank=8)
    straight_through: StraightThrough = knob(StraightThrough.exact, Role.in_id | Role.added | Role.fp32_only)
    norm: NormPlace = knob(NormPlace.both, Role.in_id | Role.added)
    quantiser: str = knob("absmean", Role.in_id | Role.added, label="")
    """How ternary weights are rounded: a built-in quantiser, or one of your own (docs/extend.md)."""
    quantiser_options: dict[str, Any] = knob({}, Role.in_id | Role.added | Role.follows, label="")
    """Options that the quantiser declares, each a key of its own: ``model.quantiser_options.NAME=VALUE``."""
    quantiser_version: str | None = knob(None, Role.in_id | Role.added | Role.follows, label="v")
    """The version that a quantiser of your own declares, noted by itself; null where it is built in."""
    hadamard: bool = knob(False, Role.in_id | Role.added)
    """Turn the inputs of the two BitLinears that end a sublayer by a Hadamard matrix, behind their norm and
    before they are rounded (BitNet v2); in blocks of the largest power of two that divides their width."""
    activation: GateActivation = knob(GateActivation.relu2, Role.in_id | Role.added)
    name: str = knob("transformer", Role.in_id | Role.weights | Role.added | Role.any_model, label="", rank=2)
    """The transformer, or a model of your own (docs/extend.md): of these keys it has ``options`` alone."""
    options: dict[str, Any] = knob({}, Role.in_id | Role.weights | Role.added | Role.any_model, label="")
    """Options that a model of your own declares, each a key of its own: ``model.options.NAME=VALUE``."""
    version: str | None = knob(None, Role.in_id | Role.added | Role.any_model | Role.follows, label="v")
    """The version that a model of your own declares, noted by itself; null where it is built in."""

    def __post_init__(self) -> None:
        settle(self, "model.")
        if self.hidden % self.num_heads:
            allowed = f"must be divisible by model.num_heads={self.num_heads}"
            raise ConfigError("model.hidden", self.hidden, allowed)
        width = self.hidden // self.num_heads
        if width % 2:
            allowed = "must be even (rotary positions turn pairs)"
            allowed = f"the head width model.hidden/model.num_heads={width} {allowed}"
            raise ConfigError("model.num_heads", self.num_heads, allowed)
        if self.hadamard and self.ffn is not None and self.ffn % 2:
            raise ConfigError("model.hadamard", self.hadamard, f"needs an even model.ffn, not {self.ffn}")
        if self.quantiser != ModelConfig.quantiser:
            if self.weights is Weights.full:
                raise ConfigError("model.quantiser", self.quantiser, "needs model.weights=ternary")
            if self.straight_through is not StraightThrough.exact:
                raise ConfigError("model.quantiser", self.quantiser, "needs model.straight_through=exact")

    @property
    def ffn_width(self) -> int:
        """The width of the gated feed-forward: ``ffn``, by default twice the hidden width."""
        return 2 * self.hidden if self.ffn is None else self.ffn
