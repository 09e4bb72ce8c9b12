"""The notes' training loop as it was described, in as few lines as it takes; to hold ``scale=notes`` against.

Written from the description alone (docs/notes.md), with nothing of ``bitnet_sweep`` in it. The model is
``bench.plain``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS, ROW_TOKENS = 4, 32


@dataclass(frozen=True)
class NotesSchedule:
    """Two stages of equal length; the numbers are those of the notes."""

    steps: int = 10_000
    warmup: int = 375
    peak: float = 1.5e-3
    decay: float = 0.1
    decay_after: float = 0.0

    def learning_rate(self, step: int) -> float:
        """Up to the peak, down to two thirds of it at half the run, down to a thousandth at the end."""
        half = self.steps // 2
        if step <= self.warmup:
            return self.peak * step / self.warmup
        if step <= half:
            return self.peak * (1 - (step - self.warmup) / (half - self.warmup) / 3)
        share = (step - half) / (self.steps - half)
        return self.peak * (2 / 3 + share * (0.001 - 2 / 3))

    def weight_decay(self, step: int) -> float:
        """The second stage's from the step behind half the run on."""
        return self.decay if step <= self.steps // 2 else self.decay_after


def token_stream(paths: list[Path], encode: Callable[[str], list[int]]) -> Tensor:
    """All lines stripped, the empty ones dropped, and the tokens of the rest with nothing between them."""
    lines = [line.strip() for path in paths for line in path.read_text().split("\n")]
    return torch.tensor([token for line in lines if line for token in encode(line)])


def losses(model: nn.Module, stream: Tensor, end_of_text: int, schedule: NotesSchedule) -> list[float]:
    """Train, and what each batch cost before its update.

    The optimizer starts with the peak rate, and both rate and decay are set behind an update, so each update
    but the first has those of the step before.
    """
    rows = stream[: len(stream) // ROW_TOKENS * ROW_TOKENS].view(-1, ROW_TOKENS)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=schedule.peak, betas=(0.9, 0.95), eps=1e-8, weight_decay=schedule.decay
    )
    seen = []
    for step in range(schedule.steps):
        batch = rows[(torch.arange(ROWS) + ROWS * step) % len(rows)]
        logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=end_of_text)
        seen.append(loss.item())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step + 1)
            group["weight_decay"] = schedule.weight_decay(step + 1)
    return seen
