"""SGD with momentum and coupled decay."""

from __future__ import annotations

from torch import Tensor

from bitnet_sweep.train.optimizer.interface import OneTensor


class Sgd(OneTensor):
    """``torch.optim.SGD`` with momentum: the decay is added to the gradient (L2), the sum is remembered.

    Equal to torch's to the last bit.
    """

    kept = "momentum_buffer"

    def update(
        self, parameter: Tensor, gradient: Tensor, memory: Tensor, learning_rate: float, weight_decay: float
    ) -> None:
        """See :meth:`OneTensor.update`."""
        if weight_decay:
            gradient = gradient.add(parameter, alpha=weight_decay)
        memory.mul_(self._config.momentum).add_(gradient)
        parameter.add_(memory, alpha=-learning_rate)
