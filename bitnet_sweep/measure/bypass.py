"""The held-out loss of a model all of whose blocks are bypassed: embedding, final norm, head.

Such a model sees the current token alone, so its logits are computed once for each different one.

Shapes: C tokens, U different ids among their inputs, D hidden width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bitnet_sweep.config import Precision
from bitnet_sweep.measure.per_token import CACHED_TOKENS
from bitnet_sweep.model.head import logit_tiles
from bitnet_sweep.model.transformer import Transformer


class Bypass:
    """The held-out tokens, sorted by their inputs.

    Args:
        x_C: inputs.
        y_C: the ids that follow them.
    """

    def __init__(self, x_C: Tensor, y_C: Tensor) -> None:
        self._ids_U, row_C, counts_U = torch.unique(x_C, return_inverse=True, return_counts=True)
        order_C = row_C.argsort(stable=True)
        self._row_C, self._y_C = row_C[order_C], y_C[order_C]
        self._ends_U = counts_U.cumsum(0)

    @torch.no_grad()
    def loss(self, model: Transformer, rows_at_once: int) -> float:
        """Mean negative log-likelihood, nats per token, through the model's own precision path.

        Args:
            rows_at_once: different inputs whose logits are computed together.
        """
        device = model.embedding.device
        parts, first = [], 0
        for start, ids in enumerate(torch.split(self._ids_U, rows_at_once)):
            end = int(self._ends_U[start * rows_at_once + len(ids) - 1])
            row_C = (self._row_C[first:end] - start * rows_at_once).to(device)
            hidden_UD = model.final_norm(F.embedding(ids.to(device), model.embedding))
            parts.append(_nll(model, hidden_UD, row_C, self._y_C[first:end].to(device)))
            first = end
        return torch.cat(parts).double().mean().item()


def _nll(model: Transformer, hidden_UD: Tensor, row_C: Tensor, y_C: Tensor) -> Tensor:
    """The loss of each token (C): the logits are those of its row."""
    if model.precision is not Precision.mixed:
        logits_UV = model.logits(hidden_UD)
        return logits_UV.logsumexp(dim=-1)[row_C] - logits_UV[row_C, y_C]
    target_C = hidden_UD.new_zeros(len(y_C))
    partitions = []
    for tile in logit_tiles(*model.head_operands(hidden_UD)):
        cached = torch.split(tile.logits, CACHED_TOKENS)
        partitions.append(torch.cat([part.float().logsumexp(dim=-1) for part in cached]))
        inside_C = (y_C >= tile.start) & (y_C < tile.start + tile.logits.shape[1])
        target_C[inside_C] = tile.logits[row_C[inside_C], y_C[inside_C] - tile.start].float()
    return torch.stack(partitions, dim=-1).logsumexp(dim=-1)[row_C] - target_C
