"""A loop of its own around a ``transformers`` model: which section of the World Factbook is a line from?

The model is built from a config, so nothing is downloaded; ``from_pretrained`` in its place fine-tunes one
that was. It needs the extra ``export``. From the folder of this file:

    PYTHONPATH=. python -m bitnet_sweep -m plugins=[headings] task=headings steps=300 lr=1e-3 wd2=0.0,0.1
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitnet_sweep.data import factbook
from bitnet_sweep.parts import part
from bitnet_sweep.task import Stage, Start, pack, unpack

LABELS, LINES, HELD_OUT = 6, 6_000, 500
PADDING = 256
"""Behind every byte."""


@dataclass
class Options:
    """What ``task_options`` takes."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    length: int = 48
    """Bytes of a line that the model sees."""
    batch: int = 16
    train_body: bool = True
    """Train the whole model, not its head alone."""


@dataclass
class State:
    """What goes on from step to step."""

    options: Options
    x: Tensor
    y: Tensor
    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator


@part("task", "headings", version=1, options=Options)
class Headings:
    """Fine-tunes a classifier of lines; the order of the lines is its own generator's."""

    def fresh(self, config: Start) -> State:
        """A new model, and the lines in one order for every seed."""
        from transformers import AutoModelForSequenceClassification, BertConfig  # takes seconds

        options = config.options
        described = BertConfig(
            vocab_size=PADDING + 1,
            hidden_size=options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            intermediate_size=4 * options.width,
            max_position_embeddings=options.length,
            pad_token_id=PADDING,
            num_labels=LABELS,
        )
        model = AutoModelForSequenceClassification.from_config(described).to(config.device)
        if not options.train_body:
            model.base_model.requires_grad_(False)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        x, y = (both.to(config.device) for both in _lines(options.length))
        generator = torch.Generator().manual_seed(config.seed)
        return State(options, x, y, model, torch.optim.AdamW(trained), generator)

    def step(self, state: State, step: int, stage: Stage) -> dict[str, Any]:
        """One update."""
        for group in state.optimizer.param_groups:
            group["lr"], group["weight_decay"] = stage.learning_rate, stage.weight_decay
        rows = torch.randint(HELD_OUT, len(state.x), (state.options.batch,), generator=state.generator)
        state.model.train()
        loss, _ = _judged(state, rows)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        return {"loss": loss}

    @torch.no_grad()
    def probe(self, state: State) -> dict[str, Any]:
        """On lines that are never trained on; the reference knows only how frequent sections are."""
        state.model.eval()
        loss, hits = _judged(state, torch.arange(HELD_OUT))
        counts = torch.bincount(state.y[HELD_OUT:], minlength=LABELS) + 1.0
        reference = F.cross_entropy(counts.log().expand(HELD_OUT, -1), state.y[:HELD_OUT])
        return {"val/loss": loss, "val/accuracy": hits, "ref/unigram_loss": reference}

    def export(self, state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that changes in training, the generator's place included."""
        return pack(
            model=state.model, optimizer=state.optimizer, order={"place": state.generator.get_state()}
        )

    def restore(self, state: State, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """The inverse."""
        order: dict[str, Tensor] = {}
        unpack(tensors, facts, model=state.model, optimizer=state.optimizer, order=order)
        state.generator.set_state(order["place"])

    def weights(self, state: State) -> dict[str, Tensor]:
        """What a finished run keeps."""
        return state.model.state_dict()


def _judged(state: State, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The loss on these lines, and the share that is told rightly."""
    x, y = state.x[rows], state.y[rows]
    logits = state.model(input_ids=x, attention_mask=(x != PADDING).long()).logits
    return F.cross_entropy(logits, y), (logits.argmax(-1) == y).float().mean()


@functools.cache
def _lines(length: int) -> tuple[Tensor, Tensor]:
    """The first bytes of every line of the most frequent sections, and the section of each, shuffled."""
    blocks = [block.splitlines() for text in factbook.documents() for block in text.split("\n\n")[1:]]
    found = Counter(lines[0] for lines in blocks if lines)
    labels = {name: i for i, (name, _) in enumerate(found.most_common(LABELS))}
    told = [
        (line, labels[lines[0]]) for lines in blocks if lines and lines[0] in labels for line in lines[1:]
    ]
    chosen = torch.randperm(len(told), generator=torch.Generator().manual_seed(0))[:LINES].tolist()
    x = torch.full((len(chosen), length), PADDING)
    for row, place in enumerate(chosen):
        content = told[place][0].encode()[:length]
        x[row, : len(content)] = torch.tensor(list(content))
    return x, torch.tensor([told[place][1] for place in chosen])
