"""What an optimizer is to training and to checkpoints, and which parameters decay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from bitnet_sweep.config import Decay, OptimizerConfig


class Optimizer(ABC):
    """What training and checkpoints ask of an optimizer; ``make_optimizer`` knows them by name."""

    takes_divisor: ClassVar[bool] = False
    """Whether :meth:`step` can clip on its way; else the gradients are clipped before it."""

    @abstractmethod
    def step(self, learning_rate: float, weight_decay: float, divisor: Tensor | None = None) -> None:
        """One update from the parameters' gradients; those without one stay as they are.

        It raises the version of every parameter it writes, as torch's in-place operations do: a model may
        cache what it makes of weights. A gradient that is zero must be left zero: at ``mixed`` the rows of
        the embedding's that no token wrote are not cleared.

        Args:
            learning_rate: of this update, as the schedule has it.
            weight_decay: likewise.
            divisor: what the gradients are still to be divided by, before a coupled decay is added;
                always None unless ``takes_divisor``.
        """

    @abstractmethod
    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """What is kept for a parameter, by names of the optimizer's own; empty before its first update."""

    @abstractmethod
    def restore(self, parameter: Tensor, updates: int, tensors: Mapping[str, Tensor]) -> None:
        """Take over copies of a :meth:`state` that so many updates have made."""


PARTS = frozenset({"embedding", "head", "bitlinears", "gains"})
"""What a model's parameters belong to, see :func:`part_of`."""

_DECAYING = {
    Decay.all: PARTS,
    Decay.matrices: PARTS - {"gains"},
    Decay.embedding: frozenset({"embedding"}),
    Decay.head: frozenset({"head"}),
    Decay.bitlinears: frozenset({"bitlinears"}),
    Decay.gains: frozenset({"gains"}),
    Decay.all_but_embedding: PARTS - {"embedding"},
    Decay.all_but_head: PARTS - {"head"},
    Decay.all_but_bitlinears: PARTS - {"bitlinears"},
}


def part_of(name: str, parameter: Tensor) -> str:
    """``embedding``, ``head``, ``gains`` or ``bitlinears``: what a model's parameter belongs to.

    The first two are known by their names, gains by having less than two dimensions; all other matrices are
    those of BitLinears.
    """
    if name in ("embedding", "head"):
        return name
    return "gains" if parameter.ndim < 2 else "bitlinears"


def parameters_of(model: nn.Module, parts: Iterable[str] = PARTS) -> list[Tensor]:
    """The parameters that belong to these parts, in the model's order."""
    return [p for name, p in model.named_parameters() if part_of(name, p) in parts]


def decaying(model: nn.Module, decay: Decay) -> set[Tensor]:
    """The parameters that decay."""
    return set(parameters_of(model, _DECAYING[decay]))


class OneTensor(Optimizer):
    """One that keeps a single tensor for each parameter, and updates each parameter by itself.

    Args:
        model: its gradients are read at each step.
        config: of the optimizer.
        parts: only the parameters that belong to these are updated.
    """

    kept: ClassVar[str]
    """Names the tensor in checkpoints."""

    def __init__(self, model: nn.Module, config: OptimizerConfig, parts: Iterable[str] = PARTS) -> None:
        self._config = config
        self._parameters = parameters_of(model, parts)
        self._decaying = decaying(model, config.decay)
        self._memory: dict[Tensor, Tensor] = {}

    @abstractmethod
    def update(
        self, parameter: Tensor, gradient: Tensor, memory: Tensor, learning_rate: float, weight_decay: float
    ) -> None:
        """Change a parameter and what is kept for it, in place.

        Args:
            parameter: to be changed.
            gradient: of it; must not be written to.
            memory: what is kept for it, zero before the first update.
            learning_rate: of this update.
            weight_decay: of this update and this parameter.
        """

    @torch.no_grad()
    def step(self, learning_rate: float, weight_decay: float, divisor: Tensor | None = None) -> None:
        """See :meth:`Optimizer.step`."""
        for parameter in self._parameters:
            if parameter.grad is not None:
                decay = weight_decay if parameter in self._decaying else 0.0
                if parameter not in self._memory:
                    self._memory[parameter] = torch.zeros_like(parameter)
                self.update(parameter, parameter.grad, self._memory[parameter], learning_rate, decay)

    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """The one tensor."""
        return {self.kept: self._memory[parameter]} if parameter in self._memory else {}

    def restore(self, parameter: Tensor, updates: int, tensors: Mapping[str, Tensor]) -> None:
        """See :meth:`Optimizer.restore`."""
        self._memory[parameter] = torch.zeros_like(parameter).copy_(tensors[self.kept])
