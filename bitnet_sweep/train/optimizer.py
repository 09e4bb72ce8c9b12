"""The optimizers by name, gradient clipping, and the update they make together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, assert_never

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim.adam import adam

from bitnet_sweep.config import Decay, OptimizerConfig, OptimizerName, Precision
from bitnet_sweep.model.transformer import Transformer

_CLIP_EPS = 1e-6
"""Added to the norm that is divided by, as ``torch.nn.utils.clip_grads_with_norm_`` does."""


class Optimizer(ABC):
    """What training and checkpoints ask of an optimizer; :func:`make_optimizer` knows them by name."""

    state_names: ClassVar[tuple[str, ...]]
    """Names of the tensors that are kept for each parameter."""
    takes_divisor: ClassVar[bool] = False
    """Whether :meth:`step` can clip on its way; else the gradients are clipped before it."""

    @abstractmethod
    def step(self, learning_rate: float, weight_decay: float, divisor: Tensor | None = None) -> None:
        """One update from the parameters' gradients; those without one stay as they are.

        Args:
            learning_rate: of this update, as the schedule has it.
            weight_decay: likewise.
            divisor: what the gradients are still to be divided by, before a coupled decay is added;
                always None unless ``takes_divisor``.
        """

    @abstractmethod
    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """What is kept for a parameter, by ``state_names``; empty before its first update."""

    @abstractmethod
    def restore(self, parameter: Tensor, updates: int, tensors: Mapping[str, Tensor]) -> None:
        """Take over copies of a :meth:`state` that so many updates have made."""


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """The optimizer of that name."""
    match config.name:
        case OptimizerName.adam_l2 | OptimizerName.adamw:
            return Adam(model, config)
        case _:
            assert_never(config.name)


@dataclass(frozen=True)
class Moments:
    """What Adam remembers of one parameter: running means of its gradient and of its square."""

    step: Tensor
    """Updates so far, a float32 scalar on the parameter's device."""
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @classmethod
    def zeros(cls, parameter: Tensor, step: int = 0) -> Moments:
        """No memory yet, in memory of its own."""
        steps = torch.tensor(float(step), device=parameter.device)
        return cls(steps, torch.zeros_like(parameter), torch.zeros_like(parameter))


class Adam(Optimizer):
    """The fused kernel of ``torch.optim.Adam`` (coupled L2, the notes' trainer) or ``AdamW`` (decoupled).

    Called in its functional form: the first step of a ``torch.optim.Optimizer`` imports torch._dynamo, which
    takes about as long as torch itself. Learning rate and decay are given with each step; moments are made at
    the first. Which parameters decay is told by their names and dimensions, see :func:`part_of`.
    """

    state_names = ("exp_avg", "exp_avg_sq")
    takes_divisor = True

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self._config = config
        self._decoupled = _DECOUPLED[config.name]
        self._parameters: list[Tensor] = list(model.parameters())
        parts = _DECAYING[config.decay]
        self._decaying = {p for name, p in model.named_parameters() if part_of(name, p) in parts}
        self._moments: dict[Tensor, Moments] = {}

    def step(self, learning_rate: float, weight_decay: float, divisor: Tensor | None = None) -> None:
        """See :meth:`Optimizer.step`.

        The kernel divides the gradients by ``divisor`` as it reads them, and writes them back; without it, it
        does not write gradients.
        """
        for decays, decay in ((True, weight_decay), (False, 0.0)):
            group = [p for p in self._parameters if p.grad is not None and (p in self._decaying) is decays]
            if group:
                self._update(group, learning_rate, decay, divisor)

    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Its two running means."""
        moments = self._moments.get(parameter)
        return {} if moments is None else {name: getattr(moments, name) for name in self.state_names}

    def restore(self, parameter: Tensor, updates: int, tensors: Mapping[str, Tensor]) -> None:
        """See :meth:`Optimizer.restore`."""
        self._moments[parameter] = Moments.zeros(parameter, updates)
        for name, own in self.state(parameter).items():
            own.copy_(tensors[name])

    @torch.no_grad()
    def _update(self, group: list[Tensor], lr: float, decay: float, divisor: Tensor | None) -> None:
        config = self._config
        for parameter in group:
            if parameter not in self._moments:
                self._moments[parameter] = Moments.zeros(parameter)
        moments = [self._moments[parameter] for parameter in group]
        adam(
            group,
            [parameter.grad for parameter in group if parameter.grad is not None],
            [m.exp_avg for m in moments],
            [m.exp_avg_sq for m in moments],
            [],
            [m.step for m in moments],
            fused=True,
            grad_scale=divisor,
            decoupled_weight_decay=self._decoupled,
            amsgrad=False,
            beta1=config.beta1,
            beta2=config.beta2,
            lr=lr,
            weight_decay=decay,
            eps=config.eps,
            maximize=False,
        )
        for parameter in group:  # the fused kernel does not; a model may cache what it makes of weights
            increment_version(parameter)


_DECOUPLED = {OptimizerName.adam_l2: False, OptimizerName.adamw: True}

_PARTS = frozenset({"embedding", "head", "bitlinears", "gains"})
_DECAYING = {
    Decay.all: _PARTS,
    Decay.matrices: _PARTS - {"gains"},
    Decay.embedding: frozenset({"embedding"}),
    Decay.head: frozenset({"head"}),
    Decay.bitlinears: frozenset({"bitlinears"}),
    Decay.gains: frozenset({"gains"}),
    Decay.all_but_embedding: _PARTS - {"embedding"},
    Decay.all_but_head: _PARTS - {"head"},
    Decay.all_but_bitlinears: _PARTS - {"bitlinears"},
}


def part_of(name: str, parameter: Tensor) -> str:
    """``embedding``, ``head``, ``gains`` or ``bitlinears``: what a model's parameter belongs to.

    The first two are known by their names, gains by having less than two dimensions; all other matrices are
    those of BitLinears.
    """
    if name in ("embedding", "head"):
        return name
    return "gains" if parameter.ndim < 2 else "bitlinears"


def update(
    model: Transformer,
    optimizer: Optimizer,
    objective: Tensor,
    *,
    clip: float | None,
    learning_rate: float,
    weight_decay: float,
) -> float:
    """Backward pass, clipping and step; the global gradient norm before clipping.

    Args:
        objective: finite, of :meth:`Transformer.objective`.
        clip: the largest global L2 norm; None does not clip.
    """
    torch.autograd.backward(objective)
    if model.precision is Precision.mixed and optimizer.takes_divisor:
        norm, divisor = clip_in_step(model.gradients(), clip)
    else:
        norm, divisor = clip_gradients(model, clip), None
    optimizer.step(learning_rate, weight_decay, divisor)
    model.clear_gradients()
    return norm


def clip_gradients(model: nn.Module, clip: float | None) -> float:
    """Scale the gradients so that their global L2 norm is at most ``clip``; the norm before that."""
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    if clip is not None:
        nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
    return norm.item()


def clip_in_step(gradients: list[Tensor], clip: float | None) -> tuple[float, Tensor | None]:
    """As :func:`clip_gradients`, but leaves the division to :meth:`Optimizer.step`, which reads them anyway.

    That saves a pass over them and changes the last bits of what is clipped.

    Args:
        gradients: all that is not zero in the parameters'.
        clip: the largest global L2 norm; None does not clip.

    Returns:
        The norm, and what the step is to divide by; None where nothing is.
    """
    norm = nn.utils.get_total_norm(gradients)
    divisor = None if clip is None else (norm + _CLIP_EPS) / clip
    return norm.item(), divisor if divisor is not None and divisor > 1 else None
