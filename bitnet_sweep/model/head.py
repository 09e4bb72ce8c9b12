"""``precision=mixed``: the head and its cross entropy in tiles of the vocabulary, gradients included.

A tile's logits are a product of the operands that ``products`` names for this machine: bfloat16 ones are
summed in float32 and rounded to bfloat16 as they leave it. Every statistic over them is float32. Of the
logits nothing is kept but each tile's probabilities, for a bounded number of tokens at once.

Shapes: N tokens, C tokens of one chunk, D hidden width, V vocabulary, K ids of one tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bitnet_sweep.model.products import products_on

TILE = 4096
"""Ids of a tile (chosen: the logits of 128 tokens take 2 MiB; 2048 to 16384 measure alike)."""

PROBABILITY_BYTES = 64 * 2**20
"""Probabilities kept at once (chosen: 667 tokens at the GPT-2 vocabulary)."""


@dataclass(frozen=True)
class Tile:
    """The logits of some tokens for the ids from ``start`` on."""

    start: int
    rows: Tensor
    """The head's (K, D), as they were multiplied."""
    logits: Tensor
    """(C, K), of the same dtype."""

    def of_targets(self, y_C: Tensor) -> tuple[Tensor, Tensor]:
        """Which targets lie in this tile (C), and their logits there; elsewhere another id's (C)."""
        offset_C = y_C - self.start
        width = self.logits.shape[1]
        inside_C = (offset_C >= 0) & (offset_C < width)
        picked_C1 = self.logits.gather(1, offset_C.clamp(0, width - 1)[:, None])
        return inside_C, picked_C1[:, 0].float()


def softmax(logits_CK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities within a tile (C, K), their log-partition (C) and the highest logit (C)."""
    highest_C = logits_CK.amax(dim=-1)
    p_CK = logits_CK.softmax(dim=-1)
    # the highest probability is exp(highest - log-partition), and never below 1/K
    return p_CK, highest_C - p_CK.amax(dim=-1).log(), highest_C


def logit_tiles(x_CD: Tensor, w_VD: Tensor) -> Iterator[Tile]:
    """The logits ``x @ w.T``, tile by tile."""
    dtype = products_on(x_CD.device).operands
    x_CD = x_CD.to(dtype)
    start = 0
    for part_KD in torch.split(w_VD, TILE):
        w_KD = part_KD.to(dtype)
        yield Tile(start, w_KD, x_CD @ w_KD.T)
        start += len(part_KD)


def tiled_cross_entropy(
    x_ND: Tensor, w_VD: Tensor, y_N: Tensor, label_smoothing: float = 0.0, z_loss: float = 0.0
) -> Tensor:
    """``Transformer.objective`` from hidden states and head: nats, mean over the tokens.

    Its gradients are computed in the forward pass, while the tiles are at hand, if any is wanted.
    """
    loss: Tensor = _TiledCrossEntropy.apply(x_ND, w_VD, y_N, label_smoothing, z_loss)  # type: ignore[no-untyped-call]
    return loss


class _TiledCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, w_VD: Tensor, y_N: Tensor, label_smoothing: float, z_loss: float
    ) -> Tensor:
        objective = _Objective(w_VD, len(y_N), label_smoothing, z_loss)
        itemsize = products_on(x_ND.device).operands.itemsize
        chunk = max(1, PROBABILITY_BYTES // (itemsize * len(w_VD)))
        wanted = any(ctx.needs_input_grad)
        dw_VD = torch.empty_like(w_VD) if wanted else None
        parts = []
        for first, (x_CD, y_C) in enumerate(
            zip(torch.split(x_ND, chunk), torch.split(y_N, chunk), strict=True)
        ):
            parts.append(objective.chunk(x_CD, y_C, dw_VD, is_first=first == 0))
        ctx.gradients = (torch.cat([dx_CD for _, dx_CD in parts]), dw_VD) if wanted else None
        return torch.stack([loss for loss, _ in parts]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        dx_ND, dw_VD = ctx.gradients
        ctx.gradients = None  # autograd copies what someone else still holds
        if gradient != 1:
            dx_ND.mul_(gradient)
            dw_VD.mul_(gradient)
        return dx_ND, dw_VD, None, None, None


@dataclass(frozen=True)
class _Objective:
    """mean over tokens of  L - (1-e) l_y - e mean(l) + z L²,  with L the log-partition of the logits l."""

    head: Tensor
    """(V, D)."""
    num_tokens: int
    """N of the mean."""
    smoothing: float
    z: float

    def chunk(self, x_CD: Tensor, y_C: Tensor, dw_VD: Tensor | None, is_first: bool) -> tuple[Tensor, Tensor]:
        """These tokens' share of the objective, and its gradient to them (C, D).

        Their share of the gradient to the head goes into ``dw_VD``: written by the first chunk, added by
        the others. Without it the second result is empty.
        """
        target_C = x_CD.new_zeros(len(x_CD))
        sum_C = x_CD.new_zeros(len(x_CD))
        mean_w_CD = x_CD.new_zeros(x_CD.shape)  # of the head's rows under the predicted distribution
        log_total_C = x_CD.new_full((len(x_CD),), -torch.inf)
        kept: list[tuple[Tensor, Tensor]] = []
        for tile in logit_tiles(x_CD, self.head):
            inside_C, logit_C = tile.of_targets(y_C)
            target_C = torch.where(inside_C, logit_C, target_C)
            logits_CK = tile.logits.float()
            if self.smoothing:
                sum_C += logits_CK.sum(dim=-1)
            p_CK, log_partition_C, _ = softmax(logits_CK)
            before_C, log_total_C = log_total_C, torch.logaddexp(log_total_C, log_partition_C)
            if dw_VD is not None:
                p_CK = p_CK.to(tile.rows.dtype)
                mean_w_CD *= (before_C - log_total_C).exp()[:, None]
                mean_w_CD += (p_CK @ tile.rows).float() * (log_partition_C - log_total_C).exp()[:, None]
                kept.append((p_CK, log_partition_C))
        loss_C = log_total_C - (1 - self.smoothing) * target_C + self.z * log_total_C.square()
        loss = (loss_C.sum() - self.smoothing / len(self.head) * sum_C.sum()) / self.num_tokens
        if dw_VD is None:
            return loss, x_CD.new_empty(0)
        slope_C1 = (1 + 2 * self.z * log_total_C)[:, None] / self.num_tokens
        self._add_head_gradient(dw_VD, x_CD, y_C, slope_C1, log_total_C, kept, is_first)
        dx_CD = mean_w_CD * slope_C1 - self._target_share * self.head[y_C]
        if self.smoothing:
            dx_CD -= self._even_share * self.head.sum(dim=0)
        return loss, dx_CD

    def _add_head_gradient(
        self,
        dw_VD: Tensor,
        x_CD: Tensor,
        y_C: Tensor,
        slope_C1: Tensor,
        log_total_C: Tensor,
        kept: list[tuple[Tensor, Tensor]],
        is_first: bool,
    ) -> None:
        sloped_CD = slope_C1 * x_CD
        even_D = self._even_share * x_CD.sum(dim=0) if self.smoothing else None
        for out_KD, (p_CK, log_partition_C) in zip(torch.split(dw_VD, TILE), kept, strict=True):
            share_C1 = (log_partition_C - log_total_C).exp()[:, None]
            operand_CD = (sloped_CD * share_C1).to(p_CK.dtype)
            if out_KD.dtype != p_CK.dtype:
                gradient_KD = p_CK.T @ operand_CD
                out_KD.copy_(gradient_KD) if is_first else out_KD.add_(gradient_KD)
            elif is_first:
                torch.mm(p_CK.T, operand_CD, out=out_KD)
            else:
                out_KD.addmm_(p_CK.T, operand_CD)
            if even_D is not None:
                out_KD -= even_D
        dw_VD.index_add_(0, y_C, x_CD, alpha=-self._target_share)

    @property
    def _target_share(self) -> float:
        return (1 - self.smoothing) / self.num_tokens

    @property
    def _even_share(self) -> float:
        return self.smoothing / (len(self.head) * self.num_tokens)
