"""Adam with coupled or decoupled decay, by torch's fused kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim.adam import adam

from bitnet_sweep.config import OptimizerConfig, OptimizerName
from bitnet_sweep.train.optimizer.interface import PARTS, Optimizer, decaying, parameters_of

_MOMENTS = ("exp_avg", "exp_avg_sq")
"""What is kept for each parameter, by the names of checkpoints."""
_DECOUPLED = {OptimizerName.adam_l2: False, OptimizerName.adamw: True, OptimizerName.muon: True}


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
    the first.

    Args:
        model: its gradients are read at each step.
        config: of the optimizer; Muon has its other parameters updated so.
        parts: only the parameters that belong to these are updated.
    """

    takes_divisor = True

    def __init__(self, model: nn.Module, config: OptimizerConfig, parts: Iterable[str] = PARTS) -> None:
        self._config = config
        self._decoupled = _DECOUPLED[config.name]
        self._parameters = parameters_of(model, parts)
        self._decaying = decaying(model, config.decay)
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
        return {} if moments is None else {name: getattr(moments, name) for name in _MOMENTS}

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
