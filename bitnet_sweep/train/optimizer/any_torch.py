"""Any optimizer of ``torch.optim``, by the name of its class, and any of a user's own that is registered."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from bitnet_sweep.config import ConfigError, OptimizerConfig
from bitnet_sweep.exact import word
from bitnet_sweep.parts import known
from bitnet_sweep.train.optimizer.interface import Optimizer, decaying


class AnyTorch(Optimizer):
    """An instance of a class of ``torch.optim`` with its learning rate and decay set at each step.

    Whether the decay is coupled is the class's own matter. What decays is a parameter group of its own.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self._parameters = list(model.parameters())
        self._decaying = decaying(model, config.decay)
        groups = [
            [p for p in self._parameters if (p in self._decaying) is decays] for decays in (True, False)
        ]
        self._optimizer = _class_of(config)(
            [{"params": group} for group in groups if group], **(config.options or {})
        )

    def step(self, learning_rate: float, weight_decay: float, divisor: Tensor | None = None) -> None:
        """See :meth:`Optimizer.step`."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
            group["weight_decay"] = weight_decay if group["params"][0] in self._decaying else 0.0
        self._optimizer.step()
        for parameter in self._parameters:  # torch's fused kernels do not
            increment_version(parameter)

    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """Whatever tensors the class keeps."""
        kept = self._optimizer.state.get(parameter, {})
        return {name: value for name, value in kept.items() if isinstance(value, Tensor)}

    def restore(self, parameter: Tensor, updates: int, tensors: Mapping[str, Tensor]) -> None:
        """See :meth:`Optimizer.restore`."""
        self._optimizer.state[parameter] = {
            name: torch.empty_like(tensor, device=self._place(name, parameter)).copy_(tensor)
            for name, tensor in tensors.items()
        }

    def _place(self, name: str, parameter: Tensor) -> torch.device:
        """Where a tensor of the state is kept: torch's own ``load_state_dict`` has the same rule."""
        on_device = any(
            group.get("capturable") or group.get("fused") for group in self._optimizer.param_groups
        )
        return torch.device("cpu") if name == "step" and not on_device else parameter.device


def check_torch_class(config: OptimizerConfig) -> None:
    """Try the class and its options on two small parameters.

    Raises:
        ConfigError: there is no such class, or it does not take these options.
    """
    kind = _class_of(config)
    own = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
    try:
        made = kind([{"params": [parameter]} for parameter in own], **(config.options or {}))
    except Exception as error:  # whatever torch's own checks raise
        told = " ".join(str(error).split())
        raise ConfigError(
            "optimizer.options", word(config.options), f"{kind.__name__} refuses: {told}"
        ) from error
    if missing := [name for name in ("lr", "weight_decay") if any(name not in g for g in made.param_groups)]:
        allowed = f"its parameter groups have no {missing[0]}, so nothing would come of what the run sets"
        raise ConfigError("optimizer.torch_class", config.torch_class, allowed)


def _class_of(config: OptimizerConfig) -> Any:
    """The class, which takes a learning rate and a decay.

    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    own = known("optimizer", config.torch_class) if config.torch_class is not None else None
    if own is not None:
        own.check_version(config.version, "optimizer.version")
        return own.load()
    usable = [name for name in dir(torch.optim) if _is_usable(getattr(torch.optim, name))]
    if config.torch_class not in usable:
        allowed = (
            f"must be a class of torch.optim with lr and weight_decay: {', '.join(usable)}; "
            "or a registered one of your own"
        )
        raise ConfigError("optimizer.torch_class", config.torch_class, allowed)
    return getattr(torch.optim, config.torch_class)


def _is_usable(kind: object) -> bool:
    """Whether it is an optimizer whose rate and decay can be set, and whose step asks for no closure."""
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        return False
    taken = inspect.signature(kind).parameters
    return {"lr", "weight_decay"} <= taken.keys()
