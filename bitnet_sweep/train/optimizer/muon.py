"""Muon: momentum made orthogonal for the matrices of BitLinears, AdamW for everything else."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bitnet_sweep.config import MuonScale, OptimizerConfig
from bitnet_sweep.model.products import products_on
from bitnet_sweep.train.optimizer.adam import Adam
from bitnet_sweep.train.optimizer.interface import PARTS, OneTensor, Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The factors of the quintic iteration (published: Keller Jordan, "Muon: An optimizer for hidden layers in
neural networks", kellerjordan.github.io/posts/muon; github.com/KellerJordan/Muon at f90a42b)."""
ITERATIONS = 5
"""How many steps of it are taken (published: the same)."""
EPS = 1e-7
"""The smallest norm that is divided by (published: the same, in the form of ``torch.optim.Muon``)."""

_MATRICES = frozenset({"bitlinears"})


class Muon(Optimizer):
    """Keller Jordan's Muon for the matrices of BitLinears, AdamW for embedding, head and gains.

    The variant is that of ``torch.optim.Muon``: a running mean of gradients, Nesterov's step, five
    Newton-Schulz iterations, decoupled decay. The iterations are in bfloat16 as there; where the processor
    does not multiply it natively they are in float32, which takes a tenth of the time there (measured on an
    EPYC with AVX2). A BitLinear's matrix is made orthogonal as a whole, so q, k and v of an attention
    together, and gate and up. AdamW has ``lr`` itself, and ``beta1``, ``beta2`` and ``eps``.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self._factor = config.matrix_lr
        self._matrices = _Orthogonal(model, config, _MATRICES)
        self._rest = Adam(model, config, PARTS - _MATRICES)

    def step(self, learning_rate: float, weight_decay: float, divisor: Tensor | None = None) -> None:
        """See :meth:`Optimizer.step`."""
        self._matrices.step(learning_rate * self._factor, weight_decay)
        self._rest.step(learning_rate, weight_decay)

    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """The mean of a matrix, or AdamW's two means."""
        return self._matrices.state(parameter) or self._rest.state(parameter)

    def restore(self, parameter: Tensor, updates: int, tensors: Mapping[str, Tensor]) -> None:
        """See :meth:`Optimizer.restore`."""
        owner = self._matrices if _Orthogonal.kept in tensors else self._rest
        owner.restore(parameter, updates, tensors)


class _Orthogonal(OneTensor):
    kept = "momentum_buffer"

    def update(
        self, parameter: Tensor, gradient: Tensor, memory: Tensor, learning_rate: float, weight_decay: float
    ) -> None:
        momentum = self._config.momentum
        memory.lerp_(gradient, 1 - momentum)
        direction = orthogonal(gradient.lerp(memory, momentum))
        parameter.mul_(1 - learning_rate * weight_decay)
        parameter.add_(direction, alpha=-learning_rate * scale(self._config.muon_scale, parameter.shape))


def orthogonal(gradient: Tensor) -> Tensor:
    """Nearly ``U @ V.T`` of a matrix ``U S V.T``: singular values end between 0.5 and 1.5."""
    a, b, c = COEFFICIENTS
    x = gradient.to(products_on(gradient.device).operands)
    is_tall = len(x) > x.shape[1]
    x = x.T if is_tall else x
    x = x / x.norm().clamp(min=EPS)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def scale(kind: MuonScale, shape: torch.Size) -> float:
    """What the learning rate of an (A, B) matrix is multiplied by.

    ``original`` is Keller Jordan's. ``match_rms_adamw`` is of "Muon is Scalable for LLM Training" (Liu et al.
    2025, arXiv 2502.16982): updates are then about as large as AdamW's, so that one rate serves both.
    """
    rows, columns = shape
    if kind is MuonScale.original:
        return math.sqrt(max(1.0, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns))
