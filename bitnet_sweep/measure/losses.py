"""Losses and predictions on the fixed held-out tokens.

Shapes: B batch, T positions, C tokens of one chunk, P of them that fit into the cache, D hidden width, V
vocabulary, J tiles of it, K ids of one tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitnet_sweep.config import Precision
from bitnet_sweep.model.head import TILE, logit_tiles, softmax
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.records import Value

LOGITS_BYTES = 32 * 2**20
"""Logits held at once (chosen: with the copy that the statistics need, 64 MiB)."""

CACHED_TOKENS = 64
"""Tokens whose logits of one tile are gone over at once (chosen: 1 MiB, which stays in a core's cache)."""


class HeldOut:
    """The held-out tokens of a corpus and the reference lines that depend on them alone.

    Args:
        windows: pairs of token ids (B, T) and the ids that follow them (B, T), each a forward pass; B and T
            may differ between them.
        unigram_counts: how often each id occurs in the training split (V).
        vocab_size: V.

    Raises:
        ValueError: no windows, or ids or counts that do not fit the vocabulary.
    """

    def __init__(
        self,
        windows: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
        unigram_counts: NDArray[np.int64],
        vocab_size: int,
    ) -> None:
        if not windows:
            raise ValueError("there are no held-out windows")
        highest = max(int(ids.max()) for pair in windows for ids in pair)
        if unigram_counts.shape != (vocab_size,) or highest >= vocab_size:
            raise ValueError(f"held-out ids or unigram counts do not fit a vocabulary of {vocab_size}")
        self._windows = [(torch.tensor(x_BT), torch.tensor(y_BT)) for x_BT, y_BT in windows]
        self._targets = torch.cat([y_BT.flatten() for _, y_BT in self._windows])
        targets = self._targets.numpy()
        self._human_tokens = len(np.unique(targets))
        self.ln_vocab = math.log(vocab_size)
        self.unigram_loss = unigram_loss(targets, unigram_counts)

    @torch.no_grad()
    def measure(self, model: Transformer) -> dict[str, Value]:
        """``val/...``, ``ref/...`` and the ``probe/...`` fields that are taken over the held-out tokens.

        Every mean is over all held-out tokens, summed in float64. What is not finite comes back as such;
        where a prediction is missing, its logits not being finite, the fields that count them are None.
        """
        device = model.embedding.device
        mixed = model.precision is Precision.mixed
        chunk = max(1, LOGITS_BYTES // (4 * min(model.vocab_size, TILE if mixed else model.vocab_size)))
        parts = []
        for x_BT, y_BT in self._windows:
            hidden = model.hidden_states(x_BT.to(device)).flatten(0, 1)
            targets = y_BT.to(device).flatten()
            for hidden_CD, y_C in zip(torch.split(hidden, chunk), torch.split(targets, chunk), strict=True):
                if mixed:
                    parts.append(tiled_token_statistics(*model.head_operands(hidden_CD), y_C))
                else:
                    parts.append(token_statistics(model.logits(hidden_CD), y_C))
        loss = _mean([part.nll for part in parts])
        argmax = torch.cat([part.argmax for part in parts]).cpu()
        predicts = bool(torch.cat([part.highest for part in parts]).isfinite().all())
        accuracy = (argmax == self._targets).double().mean().item()
        return {
            "val/loss": loss,
            "val/accuracy": accuracy if predicts else None,
            "ref/ln_vocab": self.ln_vocab,
            "ref/unigram_loss": self.unigram_loss,
            "val/minus_ln_vocab": loss - self.ln_vocab,
            "val/minus_unigram": loss - self.unigram_loss,
            "probe/entropy": _mean([part.entropy for part in parts]),
            "probe/argmax_tokens": len(set(argmax.tolist())) if predicts else None,
            "probe/human_tokens": self._human_tokens,
            "probe/logit_std": _mean([part.logit_std for part in parts]),
        }


def unigram_loss(y: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of ``y`` under the distribution of ``counts`` + 1, in nats per token."""
    smoothed = counts.astype(np.float64) + 1.0
    return float(np.mean(np.log(smoothed.sum()) - np.log(smoothed[y])))


@dataclass(frozen=True)
class TokenStatistics:
    """One number a token: five tensors (C)."""

    nll: Tensor
    entropy: Tensor
    logit_std: Tensor
    argmax: Tensor
    highest: Tensor
    """The logit of ``argmax``; that is no prediction where this is not finite."""


def token_statistics(logits_CV: Tensor, y_C: Tensor) -> TokenStatistics:
    """Negative log-likelihood and entropy (nats), standard deviation of the V logits, the highest, its id.

    Overwrites ``logits_CV``, so that no more than one more tensor of its size is needed.
    """
    highest_C, argmax_C = logits_CV.max(dim=-1)
    shifted_CV = logits_CV.sub_(highest_C[:, None])
    exp_CV = shifted_CV.exp()
    total_C = exp_CV.sum(dim=-1)
    log_total_C = total_C.log()
    nll_C = log_total_C - shifted_CV.gather(-1, y_C[:, None])[:, 0]
    entropy_C = log_total_C - exp_CV.mul_(shifted_CV).sum(dim=-1) / total_C
    centred_CV = shifted_CV.sub_(shifted_CV.mean(dim=-1, keepdim=True))
    std_C = centred_CV.square_().mean(dim=-1).sqrt()
    return TokenStatistics(nll_C, entropy_C, std_C, argmax_C, highest_C)


def tiled_token_statistics(x_CD: Tensor, w_VD: Tensor, y_C: Tensor) -> TokenStatistics:
    """:func:`token_statistics` of the logits ``x @ w.T`` that ``precision=mixed`` trains on."""
    target_C = x_CD.new_zeros(len(x_CD))
    highest_C, argmax_C = torch.full_like(target_C, -torch.inf), torch.zeros_like(y_C)
    tiles = []
    for tile in logit_tiles(x_CD, w_VD):
        inside_C, logit_C = tile.of_targets(y_C)
        target_C = torch.where(inside_C, logit_C, target_C)
        cached = zip(
            torch.split(tile.logits, CACHED_TOKENS), torch.split(highest_C, CACHED_TOKENS), strict=True
        )
        parts = [_tile_statistics(logits_PK.float(), highest_P) for logits_PK, highest_P in cached]
        log_partition_C, entropy_C, mean_C, spread_C, tile_highest_C, tile_argmax_C = map(
            torch.cat, zip(*parts, strict=True)
        )
        argmax_C = torch.where(tile_highest_C > highest_C, tile_argmax_C + tile.start, argmax_C)
        highest_C = torch.maximum(highest_C, tile_highest_C)
        width_C = torch.full_like(mean_C, tile.logits.shape[1])
        tiles.append((log_partition_C, entropy_C, mean_C, spread_C, width_C))
    log_partition_CJ, entropy_CJ, mean_CJ, spread_CJ, width_CJ = (
        torch.stack(column, dim=-1) for column in zip(*tiles, strict=True)
    )
    share_CJ = log_partition_CJ.softmax(dim=-1)
    # of the choice of a tile, and of the choice within it
    entropy_C = torch.special.entr(share_CJ).sum(dim=-1) + (share_CJ * entropy_CJ).sum(dim=-1)
    mean_C1 = (mean_CJ * width_CJ).sum(dim=-1, keepdim=True) / len(w_VD)
    variance_C = (spread_CJ + width_CJ * (mean_CJ - mean_C1).square()).sum(dim=-1) / len(w_VD)
    return TokenStatistics(
        nll=log_partition_CJ.logsumexp(dim=-1) - target_C,
        entropy=entropy_C,
        logit_std=variance_C.sqrt(),
        argmax=argmax_C,
        highest=highest_C,
    )


def _tile_statistics(logits_PK: Tensor, highest_before_P: Tensor) -> tuple[Tensor, ...]:
    """Within a tile: log-partition, entropy, mean, summed squares about it, highest logit and its place.

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
    centred_PK = below_PK.sub_((mean_P - highest_P)[:, None])
    spread_P = torch.linalg.vector_norm(centred_PK, dim=-1).square()
    return log_partition_P, entropy_P, mean_P, spread_P, highest_P, argmax_P


def _mean(parts: list[Tensor]) -> float:
    return torch.cat(parts).double().mean().item()
