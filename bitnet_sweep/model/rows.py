"""``precision=mixed``: a gradient for the embedding that costs what a step's tokens cost, not its vocabulary.

Shapes: B batch, T positions, D hidden width, V vocabulary, R different ids in a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class RowGradient:
    """Keeps ``matrix.grad`` from step to step, zero but for the rows that this step's tokens wrote.

    Autograd would zero a fresh (V, D) array each step, and its norm would read all of it again.
    """

    def __init__(self, matrix: nn.Parameter) -> None:
        self._matrix = matrix
        self._ids_R: Tensor | None = None

    def add(self, x_BT: Tensor, gradient_BTD: Tensor) -> None:
        """Add the sum of each id's gradients to its row."""
        if self._matrix.grad is None:
            self._matrix.grad = torch.zeros_like(self._matrix)
        ids_R, places_BT = torch.unique(x_BT, return_inverse=True)
        # the native sum over a vocabulary of R: the same order of additions as over V
        rows_RD = torch.ops.aten.embedding_dense_backward(gradient_BTD, places_BT, len(ids_R), -1, False)
        if self._ids_R is None:
            self._ids_R = ids_R
            self._matrix.grad.index_copy_(0, ids_R, rows_RD)
        else:  # of a part of the batch that came before
            self._ids_R = torch.unique(torch.cat([self._ids_R, ids_R]))
            self._matrix.grad.index_add_(0, ids_R, rows_RD)

    def rows(self) -> Tensor | None:
        """What there is besides zeros: (R, D)."""
        if self._ids_R is None or self._matrix.grad is None:
            return None
        return self._matrix.grad[self._ids_R]

    def clear(self) -> None:
        """Make it all zero again."""
        if self._ids_R is not None and self._matrix.grad is not None:
            self._matrix.grad.index_fill_(0, self._ids_R, 0.0)
        self._ids_R = None


def embedding(x_BT: Tensor, matrix: nn.Parameter, gradient: RowGradient) -> Tensor:
    """``F.embedding``: (B, T) -> (B, T, D); backward the gradient goes to ``gradient`` and nowhere else."""
    result: Tensor = _Embedding.apply(x_BT, matrix, gradient)  # type: ignore[no-untyped-call]  # torch's own
    return result


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BT: Tensor, matrix_VD: Tensor, gradient: RowGradient) -> Tensor:
        ctx.x_BT, ctx.gradient = x_BT, gradient
        return F.embedding(x_BT, matrix_VD)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BTD: Tensor) -> tuple[None, None, None]:
        ctx.gradient.add(ctx.x_BT, gradient_BTD)
        return None, None, None
