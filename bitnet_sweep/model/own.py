"""A model of a user's own in the place of the transformer: any module from token ids to logits.

Shapes: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bitnet_sweep.config import ConfigError, ModelConfig, Precision, RunConfig, Weights
from bitnet_sweep.model.interface import Model
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.own_code import in_a_line
from bitnet_sweep.parts import find
from bitnet_sweep.workload.generators import Generators

LEAST_POSITIONS = 8
"""The probe's contexts have so many tokens, however short the rows of a run are."""


@dataclass(frozen=True)
class Shape:
    """What a model has to fit."""

    vocab_size: int
    """Token ids are less than this, and so many logits stand behind each position."""
    positions: int
    """The most tokens of a row that it is ever given."""


class ModelFactory(Protocol):
    """A part of the kind ``model``: a class of modules, or a function that makes one.

    The module's ``forward`` takes token ids (B, T), int64, and returns logits (B, T, V). What it predicts
    behind a token may depend on that token and those before it. It may have buffers, be in training or
    evaluation mode, and draw from the global generators, which the run seeds and keeps.
    """

    def __call__(self, shape: Shape, options: Any, /) -> nn.Module:
        """The module with its initial weights, on the CPU.

        Args:
            shape: what it has to fit.
            options: as the dataclass that the part was registered with; None without one.
        """


class OwnModel(Model):
    """A module of a user's own as a :class:`Model`, computed as it computes itself.

    Its logits stand for hidden states. Parameters and modules have the names that it gave them.
    """

    precision = Precision.fp32

    def __init__(self, name: str, module: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.name = name
        self.own = module
        self.vocab_size = shape.vocab_size

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Those of the user's module: names of parameters, buffers and layers follow from it."""
        named: Iterator[tuple[str, nn.Module]] = self.own.named_modules(memo, prefix, remove_duplicate)
        return named

    def hidden_states(self, x_BT: Tensor) -> Tensor:
        """The logits (B, T, V).

        Raises:
            ConfigError: what the module returned is something else.
        """
        found: object = self.own(x_BT)
        if isinstance(found, Tensor) and found.shape == (*x_BT.shape, self.vocab_size):
            return found.float()
        given = f"a tensor of {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        asked = f"logits of {(*x_BT.shape, self.vocab_size)}"
        raise ConfigError("model.name", self.name, f"its forward must return {asked}; it returned {given}")

    def forward(self, x_BT: Tensor) -> Tensor:
        """See :meth:`Model.forward`."""
        return self.hidden_states(x_BT)

    def logits(self, x_D: Tensor) -> Tensor:
        """A copy, for it may be written to."""
        return x_D.clone()

    def kept(self) -> dict[str, Tensor]:
        """See :meth:`Model.kept`; of its buffers those that its ``state_dict`` has."""
        lasting = self.own.state_dict().keys()
        buffers = {name: buffer for name, buffer in self.named_buffers() if name in lasting}
        return dict(self.named_parameters()) | buffers

    def clear_gradients(self) -> None:
        """To zeros: what a step does not reach is updated, too, so that all parameters are equally old.

        Optimizers have one count of updates for all of them, which is what a checkpoint brings back.
        """
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()
            elif parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)


def make_model(config: RunConfig, generators: Generators | None = None) -> Model:
    """The model of a run with its initial weights, on the CPU.

    Args:
        config: its parts are found already, or are to be found by their entry points.
        generators: of a run with a model of its own, which draws its weights from them; by default such as
            a run begins with.

    Raises:
        ConfigError: there is no such model here, its options are wrong, it is of another version, or it
            cannot be made.
    """
    if config.has_built_in_model:
        return Transformer(config.model, config.tokenizer.vocab_size, config.seed, config.precision)
    with (generators or Generators(config.seed, torch.device("cpu"))).in_use():
        return _own_model(config)


def counts_of(config: RunConfig) -> dict[str, int]:
    """The parameters of a model of a user's own: ``total``, and ``ternary`` where it has BitLinears.

    Frozen ones count, too; which are embeddings is not known. The model is made for it, once for each shape.

    Raises:
        ConfigError: as of :func:`make_model`.
    """
    key = repr((config.model, _shape(config)))
    if key not in _counts:
        model = make_model(config)  # torch's "meta" device saves the memory, but takes 2 s to import
        layers = model.bitlinears().values()
        ternary = sum(layer.weight.numel() for layer in layers if layer.weights is Weights.ternary)
        total = sum(parameter.numel() for parameter in model.parameters())
        _counts[key] = {"total": total} | ({"ternary": ternary} if layers else {})
    return _counts[key]


_counts: dict[str, dict[str, int]] = {}
"""By model and shape; a plan asks for that of each of 10,000 runs."""


def _own_model(config: RunConfig) -> OwnModel:
    own: ModelConfig = config.model
    part = find("model", own.name, key="model.name")
    part.check_version(own.version, "model.version")
    shape, options = _shape(config), part.options_of(own.options, "model.options")
    try:
        module = part.load()(shape, options)
    except Exception as error:  # whatever its author's code raises
        raise ConfigError("model.name", own.name, f"cannot be made: {in_a_line(error)}") from error
    if not isinstance(module, nn.Module):
        allowed = f"must make a torch.nn.Module; it made a {type(module).__name__}"
        raise ConfigError("model.name", own.name, allowed)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError("model.name", own.name, "has no parameter that is trained")
    return OwnModel(own.name, module, shape)


def _shape(config: RunConfig) -> Shape:
    return Shape(config.tokenizer.vocab_size, max(config.row_targets, LEAST_POSITIONS))
