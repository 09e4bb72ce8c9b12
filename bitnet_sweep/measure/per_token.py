"""One number a token from its logits: whole, or in tiles of the vocabulary.

Shapes: C tokens of one chunk, P of them that fit into the cache, D hidden width, V vocabulary, J tiles of
it, K ids of one tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitnet_sweep.measure import tempered
from bitnet_sweep.measure.tempered import Tempered
from bitnet_sweep.model.head import logit_tiles, softmax

CACHED_TOKENS = 64
"""Tokens whose logits of one tile are gone over at once (chosen: 1 MiB, which stays in a core's cache)."""


@dataclass(frozen=True)
class TokenStatistics:
    """One number a token: tensors (C)."""

    nll: Tensor
    other_nll: Tensor
    """Loss of another target than the text's."""
    entropy: Tensor
    logit_std: Tensor
    argmax: Tensor
    highest: Tensor
    """The logit of ``argmax``; that is no prediction where this is not finite."""
    tempered: Tempered


def token_statistics(
    logits_CV: Tensor, y_C: Tensor, other_C: Tensor | None = None, b: float = 1.0
) -> TokenStatistics:
    """Negative log-likelihood and entropy (nats), standard deviation of the V logits, the highest, its id.

    Args:
        logits_CV: of each token.
        y_C: the targets.
        other_C: other targets, whose likelihood is wanted too; without them the same.
        b: inverse temperature of ``tempered``.

    Overwrites ``logits_CV``, so that no more than one more tensor of its size is needed.
    """
    highest_C, argmax_C = logits_CV.max(dim=-1)
    shifted_CV = logits_CV.sub_(highest_C[:, None])
    exp_CV = shifted_CV.exp()
    total_C = exp_CV.sum(dim=-1)
    log_total_C = total_C.log()
    y_C2 = torch.stack((y_C, y_C if other_C is None else other_C), dim=-1)
    below_C, other_below_C = shifted_CV.gather(-1, y_C2).unbind(-1)
    nll_C, other_nll_C = log_total_C - below_C, log_total_C - other_below_C
    entropy_C = log_total_C - exp_CV.mul_(shifted_CV).sum(dim=-1) / total_C
    del exp_CV  # the next line takes as much
    log_partition_C, mean_C, variance_C = tempered.moments(shifted_CV, torch.zeros_like(highest_C), b)
    at_b = Tempered(log_partition_C - b * below_C, mean_C - below_C, variance_C)
    centred_CV = shifted_CV.sub_(shifted_CV.mean(dim=-1, keepdim=True))
    std_C = centred_CV.square_().mean(dim=-1).sqrt()
    return TokenStatistics(nll_C, other_nll_C, entropy_C, std_C, argmax_C, highest_C, at_b)


def tiled_token_statistics(
    x_CD: Tensor, w_VD: Tensor, y_C: Tensor, other_C: Tensor | None = None, b: float = 1.0
) -> TokenStatistics:
    """:func:`token_statistics` of the logits ``x @ w.T`` that ``precision=mixed`` trains on."""
    target_C, other_target_C = x_CD.new_zeros(len(x_CD)), x_CD.new_zeros(len(x_CD))
    highest_C, argmax_C = torch.full_like(target_C, -torch.inf), torch.zeros_like(y_C)
    tiles = []
    for tile in logit_tiles(x_CD, w_VD):
        inside_C, logit_C = tile.of_targets(y_C)
        target_C = torch.where(inside_C, logit_C, target_C)
        inside_C, logit_C = tile.of_targets(y_C if other_C is None else other_C)
        other_target_C = torch.where(inside_C, logit_C, other_target_C)
        cached = zip(
            torch.split(tile.logits, CACHED_TOKENS), torch.split(highest_C, CACHED_TOKENS), strict=True
        )
        parts = [_tile_statistics(logits_PK.float(), highest_P, b) for logits_PK, highest_P in cached]
        log_partition_C, entropy_C, mean_C, spread_C, tile_highest_C, tile_argmax_C, *at_b = map(
            torch.cat, zip(*parts, strict=True)
        )
        argmax_C = torch.where(tile_highest_C > highest_C, tile_argmax_C + tile.start, argmax_C)
        highest_C = torch.maximum(highest_C, tile_highest_C)
        width_C = torch.full_like(mean_C, tile.logits.shape[1])
        tiles.append((log_partition_C, entropy_C, mean_C, spread_C, width_C, *at_b))
    log_partition_CJ, entropy_CJ, mean_CJ, spread_CJ, width_CJ, partition_b_CJ, mean_b_CJ, variance_b_CJ = (
        torch.stack(column, dim=-1) for column in zip(*tiles, strict=True)
    )
    share_CJ = log_partition_CJ.softmax(dim=-1)
    # of the choice of a tile, and of the choice within it
    entropy_C = torch.special.entr(share_CJ).sum(dim=-1) + (share_CJ * entropy_CJ).sum(dim=-1)
    mean_C1 = (mean_CJ * width_CJ).sum(dim=-1, keepdim=True) / len(w_VD)
    variance_C = (spread_CJ + width_CJ * (mean_CJ - mean_C1).square()).sum(dim=-1) / len(w_VD)
    log_total_C = log_partition_CJ.logsumexp(dim=-1)
    return TokenStatistics(
        nll=log_total_C - target_C,
        other_nll=log_total_C - other_target_C,
        entropy=entropy_C,
        logit_std=variance_C.sqrt(),
        argmax=argmax_C,
        highest=highest_C,
        tempered=tempered.of_tiles(partition_b_CJ, mean_b_CJ, variance_b_CJ, target_C, b),
    )


def _tile_statistics(logits_PK: Tensor, highest_before_P: Tensor, b: float) -> tuple[Tensor, ...]:
    """Within a tile: log-partition, entropy, mean, summed squares about it, highest logit and its place,
    and the three of ``tempered.moments``.

    Each (P); the place is 0 where ``highest_before_P`` is not exceeded, for it is the slowest to find.
    Overwrites ``logits_PK``.
    """
    p_PK, log_partition_P, highest_P = softmax(logits_PK)
    is_new = highest_P > highest_before_P
    argmax_P = torch.zeros_like(is_new, dtype=torch.int64)
    argmax_P[is_new] = logits_PK[is_new].argmax(dim=-1)
    mean_P = logits_PK.mean(dim=-1)
    below_PK = logits_PK.sub_(highest_P[:, None])
    entropy_P = log_partition_P - highest_P - p_PK.mul_(below_PK).sum(dim=-1)
    at_b = tempered.moments(below_PK, highest_P, b)
    centred_PK = below_PK.sub_((mean_P - highest_P)[:, None])
    spread_P = torch.linalg.vector_norm(centred_PK, dim=-1).square()
    return log_partition_P, entropy_P, mean_P, spread_P, highest_P, argmax_P, *at_b
