"""Losses and predictions on the fixed held-out tokens.

Shapes: B batch, T positions, N tokens, C tokens of one chunk, S of a sample, D hidden width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitnet_sweep.config import Precision
from bitnet_sweep.measure import tempered
from bitnet_sweep.measure.bigram import bigram_loss
from bitnet_sweep.measure.bypass import Bypass
from bitnet_sweep.measure.per_token import TokenStatistics, tiled_token_statistics, token_statistics
from bitnet_sweep.model.head import TILE, logit_tiles
from bitnet_sweep.model.interface import Model
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
        train: the training split, for the bigram counts.

    Raises:
        ValueError: no windows, or ids or counts that do not fit the vocabulary.
    """

    def __init__(
        self,
        windows: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
        unigram_counts: NDArray[np.int64],
        vocab_size: int,
        train: NDArray[np.unsignedinteger],
    ) -> None:
        if not windows:
            raise ValueError("there are no held-out windows")
        highest = max(int(ids.max()) for pair in windows for ids in pair)
        if unigram_counts.shape != (vocab_size,) or highest >= vocab_size:
            raise ValueError(f"held-out ids or unigram counts do not fit a vocabulary of {vocab_size}")
        self._windows = [(torch.tensor(x_BT), torch.tensor(y_BT)) for x_BT, y_BT in windows]
        self._targets = torch.cat([y_BT.flatten() for _, y_BT in self._windows])
        self._others, self._has_other = _targets_of_other_windows([y_BT for _, y_BT in self._windows])
        inputs = torch.cat([x_BT.flatten() for x_BT, _ in self._windows])
        self._bypass = Bypass(inputs, self._targets)
        targets = self._targets.numpy()
        self._human_tokens = len(np.unique(targets))
        self.ln_vocab = math.log(vocab_size)
        self.unigram_loss = unigram_loss(targets, unigram_counts)
        self.bigram_loss = bigram_loss(inputs.numpy(), targets, train, unigram_counts)

    @torch.no_grad()
    def measure(self, model: Model) -> dict[str, Value]:
        """``val/...``, ``ref/...`` and the ``probe/...`` fields that are taken over the held-out tokens.

        Every mean is over all held-out tokens, summed in float64. What is not finite comes back as such;
        where a prediction is missing, its logits not being finite, the fields that count them are None.
        """
        device = model.device
        hidden = [model.hidden_states(x_BT.to(device)).flatten(0, 1) for x_BT, _ in self._windows]
        parts, scored = self._statistics(model, hidden)
        loss = _mean([part.nll for part in parts])
        gain_C = torch.cat([part.other_nll - part.nll for part in parts]).cpu()[self._has_other]
        argmax = torch.cat([part.argmax for part in parts]).cpu()
        predicts = bool(torch.cat([part.highest for part in parts]).isfinite().all())
        accuracy = (argmax == self._targets).double().mean().item()
        return {
            "val/loss": loss,
            "val/accuracy": accuracy if predicts else None,
            "ref/ln_vocab": self.ln_vocab,
            "ref/unigram_loss": self.unigram_loss,
            "ref/bigram_loss": self.bigram_loss,
            "val/loss_tempered": _mean(scored) if scored else None,
            "blocks/loss_without": self._bypass.loss(model, _tokens_at_once(model))
            if isinstance(model, Transformer)
            else None,
            "val/minus_ln_vocab": loss - self.ln_vocab,
            "val/minus_unigram": loss - self.unigram_loss,
            "probe/context_gain": _mean([gain_C]) if len(gain_C) else None,
            "probe/entropy": _mean([part.entropy for part in parts]),
            "probe/argmax_tokens": len(set(argmax.tolist())) if predicts else None,
            "probe/human_tokens": self._human_tokens,
            "probe/logit_std": _mean([part.logit_std for part in parts]),
        }

    @torch.no_grad()
    def loss(self, model: Model) -> float:
        """``val/loss`` alone, equal to that of :meth:`measure` bit for bit."""
        device = model.device
        hidden = [model.hidden_states(x_BT.to(device)).flatten(0, 1) for x_BT, _ in self._windows]
        passes = [self._pass(model, hidden, i, math.nan) for i in range(len(hidden))]
        return _mean([part.nll for parts in passes for part in parts])

    def _statistics(self, model: Model, hidden: list[Tensor]) -> tuple[list[TokenStatistics], list[Tensor]]:
        """Statistics of every token, chunk by chunk, and the losses at the best inverse temperature.

        It is fitted on every second forward pass, beginning with the first, and scored on the others, of
        which there may be none. So it is known before the others are gone over, and once is enough.
        """
        fitting = range(0, len(hidden), 2)
        b = self._first_guess(model, [hidden[i] for i in fitting]) if len(hidden) > 1 else math.nan
        parts: dict[int, list[TokenStatistics]] = {}
        for _ in range(_MOST_FITS):
            parts |= {i: self._pass(model, hidden, i, b) for i in fitting}
            fits = [part.tempered for i in fitting for part in parts[i]]
            b, is_good = tempered.next_of_half(b, fits)
            if is_good:
                break
        scoring = range(1, len(hidden), 2)
        parts |= {i: self._pass(model, hidden, i, b) for i in scoring}
        scored = [part.tempered.nll for i in scoring for part in parts[i]]
        return [part for i in sorted(parts) for part in parts[i]], scored

    def _first_guess(self, model: Model, hidden: list[Tensor]) -> float:
        """The best inverse temperature for some of these tokens, evenly spread over places in a window."""
        hidden_ND = torch.cat(hidden)
        targets = torch.cat([y_BT.flatten() for _, y_BT in self._windows[::2]]).to(hidden_ND.device)
        count = min(tempered.SAMPLE_TOKENS, max(1, LOGITS_BYTES // (4 * model.vocab_size)))
        # an odd stride meets every place, where windows are powers of 2
        some = slice(None, None, max(1, (len(targets) // count - 1) | 1))
        hidden_SD, y_S = hidden_ND[some][:count], targets[some][:count]
        if model.precision is Precision.mixed:
            tiles = logit_tiles(*model.head_operands(hidden_SD))
            return tempered.first_guess(torch.cat([tile.logits.float() for tile in tiles], dim=-1), y_S)
        return tempered.first_guess(model.logits(hidden_SD), y_S)

    def _pass(self, model: Model, hidden: list[Tensor], i: int, b: float) -> list[TokenStatistics]:
        """Statistics of the tokens of one forward pass, in chunks."""
        chunk, device = _tokens_at_once(model), hidden[i].device
        start = sum(len(each) for each in hidden[:i])
        targets = self._targets[start : start + len(hidden[i])].to(device)
        others = self._others[start : start + len(hidden[i])].to(device)
        parts = []
        for hidden_CD, y_C, other_C in zip(
            *(torch.split(tensor, chunk) for tensor in (hidden[i], targets, others)), strict=True
        ):
            if model.precision is Precision.mixed:
                parts.append(tiled_token_statistics(*model.head_operands(hidden_CD), y_C, other_C, b))
            else:
                parts.append(token_statistics(model.logits(hidden_CD), y_C, other_C, b))
        return parts


_MOST_FITS = 4
"""Passes over the fitting half; where logits hardly move the loss, one is enough (chosen)."""


def _tokens_at_once(model: Model) -> int:
    mixed = model.precision is Precision.mixed
    return max(1, LOGITS_BYTES // (4 * min(model.vocab_size, TILE if mixed else model.vocab_size)))


def _targets_of_other_windows(y: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """For each token the target at the same place of another window (C), and whether there is one (C).

    Windows are paired at half their number apart, the farthest in the text, going round. So the pairs are
    one to one at each place: what does not look at the context loses nothing by the exchange.
    """
    ends = torch.tensor([y_BT.numel() for y_BT in y]).cumsum(0).tolist()
    index = [torch.arange(end - y_BT.numel(), end).view_as(y_BT) for end, y_BT in zip(ends, y, strict=True)]
    targets = torch.cat([y_BT.flatten() for y_BT in y])
    others, has_other = targets.clone(), torch.zeros_like(targets, dtype=torch.bool)
    for place in range(max(y_BT.shape[1] for y_BT in y)):
        here = torch.cat([index_BT[:, place] for index_BT in index if index_BT.shape[1] > place])
        others[here] = targets[here.roll(-(len(here) // 2))]
        has_other[here] = len(here) > 1
    return others, has_other


def unigram_loss(y: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of ``y`` under the distribution of ``counts`` + 1, in nats per token."""
    smoothed = counts.astype(np.float64) + 1.0
    return float(np.mean(np.log(smoothed.sum()) - np.log(smoothed[y])))


def _mean(parts: list[Tensor]) -> float:
    return torch.cat(parts).double().mean().item()
