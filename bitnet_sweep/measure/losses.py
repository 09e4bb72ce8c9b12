"""Losses and predictions on the fixed held-out tokens.

Shapes: B batch, T positions, C tokens of one chunk, D hidden width, V vocabulary, J tiles of it.
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
from bitnet_sweep.model.head import TILE, logit_tiles
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.records import Value

LOGITS_BYTES = 32 * 2**20
"""Logits held at once (chosen: with the copy that the statistics need, 64 MiB)."""


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
    tiles = []
    for tile in logit_tiles(x_CD, w_VD):
        inside_C, logit_C = tile.of_targets(y_C)
        target_C = torch.where(inside_C, logit_C, target_C)
        p_CK, log_partition_C, highest_C = tile.softmax()
        argmax_C = tile.logits.argmax(dim=-1) + tile.start
        mean_C = tile.logits.mean(dim=-1)
        below_CK = tile.logits.sub_(highest_C[:, None])
        entropy_C = log_partition_C - highest_C - p_CK.mul_(below_CK).sum(dim=-1)
        spread_C = below_CK.sub_((mean_C - highest_C)[:, None]).square_().sum(dim=-1)
        width_C = torch.full_like(mean_C, p_CK.shape[1])
        tiles.append((log_partition_C, entropy_C, highest_C, argmax_C, mean_C, spread_C, width_C))
    log_partition_CJ, entropy_CJ, highest_CJ, argmax_CJ, mean_CJ, spread_CJ, width_CJ = (
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
        argmax=argmax_CJ.gather(-1, highest_CJ.argmax(dim=-1, keepdim=True))[:, 0],
        highest=highest_CJ.amax(dim=-1),
    )


def _mean(parts: list[Tensor]) -> float:
    return torch.cat(parts).double().mean().item()
