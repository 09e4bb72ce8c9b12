"""Lion: the sign of a mean of gradients, with decoupled decay."""

from __future__ import annotations

from torch import Tensor

from bitnet_sweep.train.optimizer.interface import OneTensor


class Lion(OneTensor):
    """Algorithm 2 of "Symbolic Discovery of Optimization Algorithms" (Chen et al. 2023, arXiv 2302.06675).

    The order of operations is that of the authors' PyTorch code (github.com/google/automl, ``lion``). Every
    weight with a gradient moves by the learning rate; the decay is decoupled.
    """

    kept = "exp_avg"

    def update(
        self, parameter: Tensor, gradient: Tensor, memory: Tensor, learning_rate: float, weight_decay: float
    ) -> None:
        """See :meth:`OneTensor.update`."""
        beta1, beta2 = self._config.beta1, self._config.beta2
        parameter.mul_(1 - learning_rate * weight_decay)
        direction = memory.mul(beta1).add_(gradient, alpha=1 - beta1).sign_()
        parameter.add_(direction, alpha=-learning_rate)
        memory.mul_(beta2).add_(gradient, alpha=1 - beta2)
