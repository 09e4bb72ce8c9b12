"""Whether a GGUF file is the same model, by what llama.cpp says of held-out tokens.

llama.cpp rounds activations to 8 bits with a scale for each 256 of them. Our model does the same for the
comparison. Then the two agree but for ties, see :mod:`bitnet_sweep.export.follow`; llama.cpp does not say how
it rounded those, so a quarter of the tokens is taken to have none.

Shapes: B rows, T positions, N prompts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitnet_sweep.config import Activations
from bitnet_sweep.export.gguf import BLOCK
from bitnet_sweep.export.held_out import Rows
from bitnet_sweep.model.quantisers import activation_quant
from bitnet_sweep.model.transformer import Transformer

QUARTER_TOLERANCE = 1e-4
"""Largest difference of log-probabilities, for the quarter of the tokens that
differs least (chosen: measured were 2e-6)."""

LOSS_TOLERANCE = 0.01
"""Largest difference of the mean loss, nats (chosen: 0.0003 were measured over 60 tokens)."""

_MOST_PROMPTS, _MOST_PROBABILITIES, _LONGEST = 256, 4_000_000, 16


@dataclass(frozen=True)
class CheckedGguf:
    """What the two models say of the same tokens."""

    tokens: int
    loss: float
    """Our model's in float32, mean over the tokens, nats."""
    loss_of_export: float
    loss_rounded_alike: float
    """Our model's, rounding activations by 256, as llama.cpp does."""
    quarter_difference: float
    """A quarter of the tokens has log-probabilities that all differ by less, rounding alike."""
    largest_difference: float
    """The largest among all log-probabilities of all tokens, rounding alike but for ties."""

    @property
    def is_same(self) -> bool:
        """Whether the differences are within the tolerances; a number that is not finite is not."""
        difference = abs(self.loss_rounded_alike - self.loss_of_export)
        return self.quarter_difference <= QUARTER_TOLERANCE and difference <= LOSS_TOLERANCE

    def __str__(self) -> str:
        return (
            f"{self.tokens:,} held-out tokens: "
            f"loss {self.loss:.6f} here, {self.loss_of_export:.6f} exported, "
            f"{self.loss_rounded_alike:.6f} here with activations rounded by {BLOCK} "
            f"(allowed: {LOSS_TOLERANCE:g} apart); "
            f"log-probabilities differ by {self.quarter_difference:.1e} at a quarter of the tokens "
            f"(allowed: {QUARTER_TOLERANCE:.0e}), and by at most {self.largest_difference:.1e}"
        )


def prompts(rows: Rows, vocab_size: int) -> Rows:
    """Beginnings of held-out rows, one each (1, T), evenly of all lengths up to 16."""
    count = max(16, min(_MOST_PROMPTS, _MOST_PROBABILITIES // vocab_size))
    whole = [(x_T, y_T) for x_BT, y_BT in rows for x_T, y_T in zip(x_BT, y_BT, strict=True)]
    longest = max(1, min(_LONGEST, len(whole[0][0]) - 1))  # llama.cpp wants room for one more
    lengths = [1 + i % longest for i in range(count)]
    chosen = [whole[i * len(whole) // count] for i in range(count)]
    return [(x_T[None, :n], y_T[None, :n]) for n, (x_T, y_T) in zip(lengths, chosen, strict=True)]


@torch.no_grad()
def compare(model: Transformer, asked: Rows, theirs_NV: Tensor) -> CheckedGguf:
    """Our model, at ``precision=fp32``, beside llama.cpp's log-probabilities behind each prompt (N, V)."""
    targets_N = torch.tensor([y_1T[0, -1].item() for _, y_1T in asked])
    free_NV = _log_probabilities(model, asked)
    with _rounding_by_blocks(model) as alike:
        ours_NV = _log_probabilities(alike, asked)
    largest_N = (ours_NV - theirs_NV).abs().amax(dim=-1)
    return CheckedGguf(
        tokens=len(asked),
        loss=_loss(free_NV, targets_N),
        loss_of_export=_loss(theirs_NV, targets_N),
        loss_rounded_alike=_loss(ours_NV, targets_N),
        quarter_difference=largest_N.quantile(0.25).item(),
        largest_difference=largest_N.max().item(),
    )


@contextmanager
def _rounding_by_blocks(model: Transformer) -> Iterator[Transformer]:
    """The model with its activations rounded by 256 of a token, not by token."""

    def rounded(norm: nn.Module, inputs: tuple[Tensor, ...], x: Tensor) -> Tensor:
        codes, scale = activation_quant(x.reshape(*x.shape[:-1], -1, BLOCK))
        return (codes / scale).flatten(-2)

    bitlinears = list(model.bitlinears().values())
    hooks = [bitlinear.norm.register_forward_hook(rounded) for bitlinear in bitlinears]
    try:
        for bitlinear in bitlinears:
            bitlinear.activations = Activations.full
        yield model
    finally:
        for bitlinear, hook in zip(bitlinears, hooks, strict=True):
            bitlinear.activations = Activations.int8
            hook.remove()


def _log_probabilities(model: Transformer, asked: Rows) -> Tensor:
    return torch.cat([model(x_1T)[:, -1].log_softmax(dim=-1) for x_1T, _ in asked])


def _loss(log_probabilities_NV: Tensor, targets_N: Tensor) -> float:
    return -log_probabilities_NV.gather(1, targets_N[:, None]).double().mean().item()
