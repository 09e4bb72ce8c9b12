"""A small GPT on characters with a loop of its own, in the manner of nanoGPT, as a task.

From the folder of this file:

    PYTHONPATH=. python -m bitnet_sweep -m plugins=[chars] task=chars steps=500 lr=2e-3 wd2=0.0,0.1 seed=0,1
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitnet_sweep.data import factbook
from bitnet_sweep.parts import part
from bitnet_sweep.task import Stage, Start, pack, unpack

HELD_OUT = 0.1
"""Share of the text, at its end, that is not trained on."""
PROBE_BATCHES = 8


@dataclass
class Options:
    """What ``task_options`` takes."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 32
    batch: int = 16
    clip: float = 1.0
    text: str = ""
    """A file; the World Factbook where it is empty."""


class Block(nn.Module):
    """Causal attention, then a feed-forward, each behind a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) of the same."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return out


class Model(nn.Module):
    """A decoder with learned positions."""

    def __init__(self, vocabulary: int, options: Options) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, options.width)
        self.positions = nn.Parameter(0.02 * torch.randn(options.context, options.width))
        self.blocks = nn.Sequential(*(Block(options.width, options.heads) for _ in range(options.layers)))
        self.norm, self.head = nn.LayerNorm(options.width), nn.Linear(options.width, vocabulary)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean negative log-likelihood of (B, T) targets."""
        hidden = self.blocks(self.embedding(x) + self.positions[: x.shape[1]])
        loss: Tensor = F.cross_entropy(self.head(self.norm(hidden)).flatten(0, 1), y.flatten())
        return loss


@dataclass
class State:
    """What goes on from step to step."""

    options: Options
    train: Tensor
    held_out: Tensor
    unigram: float
    model: Model
    optimizer: torch.optim.Optimizer


@part("task", "chars", version=1, options=Options)
class Chars:
    """Trains a character model on a text; batches are drawn from torch's global generator."""

    def fingerprint(self, options: Options) -> str:
        """The hash of the text."""
        return hashlib.sha256(_text(options.text).encode()).hexdigest()[:16]

    def fresh(self, config: Start) -> State:
        """A new model, and the text as numbers."""
        text = _text(config.options.text)
        number = {letter: i for i, letter in enumerate(sorted(set(text)))}
        ids = torch.tensor([number[letter] for letter in text], device=config.device)
        train, held_out = ids[: -int(HELD_OUT * len(ids))], ids[-int(HELD_OUT * len(ids)) :]
        counts = torch.bincount(train, minlength=len(number)) + 1.0
        unigram = F.cross_entropy(counts.log().expand(len(held_out), -1), held_out).item()
        model = Model(len(number), config.options).to(config.device)
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95))
        return State(config.options, train, held_out, unigram, model, optimizer)

    def step(self, state: State, step: int, stage: Stage) -> dict[str, Any]:
        """One update."""
        for group in state.optimizer.param_groups:
            group["lr"], group["weight_decay"] = stage.learning_rate, stage.weight_decay
        loss = state.model.loss(*_batch(state.train, state.options))
        state.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), state.options.clip)
        state.optimizer.step()
        return {"loss": loss, "grad_norm": norm, "tokens": state.options.batch * state.options.context}

    @torch.no_grad()
    def probe(self, state: State) -> dict[str, Any]:
        """The loss on held-out text, beside that of a model that knows only how frequent letters are."""
        losses = [state.model.loss(*_batch(state.held_out, state.options)) for _ in range(PROBE_BATCHES)]
        return {"val/loss": torch.stack(losses).mean(), "ref/unigram_loss": state.unigram}

    def export(self, state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that changes in training."""
        return pack(model=state.model, optimizer=state.optimizer)

    def restore(self, state: State, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """The inverse."""
        unpack(tensors, facts, model=state.model, optimizer=state.optimizer)

    def weights(self, state: State) -> dict[str, Tensor]:
        """What a finished run keeps."""
        return state.model.state_dict()


def _batch(ids: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Windows drawn at random, and the letters behind each of theirs."""
    starts = torch.randint(len(ids) - options.context, (options.batch, 1)).to(ids.device)
    windows = ids[starts + torch.arange(options.context + 1, device=ids.device)]
    return windows[:, :-1], windows[:, 1:]


@functools.cache
def _text(path: str) -> str:
    return Path(path).read_text("utf-8") if path else "\n".join(factbook.documents())
