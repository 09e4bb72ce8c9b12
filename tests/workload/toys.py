"""Tasks to be trained in a moment, and their faults."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from bitnet_sweep.parts import part
from bitnet_sweep.task import pack, unpack


@dataclass
class Options:
    width: int = 4
    explodes_at: int = 0


@part("task", "toy", version=1, options=Options)
class Toy:
    """One layer behind a BatchNorm and dropout, on points of every global generator and one of its own."""

    def fresh(self, config):
        model = nn.Sequential(
            nn.BatchNorm1d(config.options.width), nn.Dropout(0.1), nn.Linear(config.options.width, 1)
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
        generator = torch.Generator().manual_seed(config.seed)
        return SimpleNamespace(
            options=config.options,
            model=model,
            optimizer=optimizer,
            scheduler=scheduler,
            generator=generator,
            seen=0,
        )

    def step(self, state, step, stage):
        time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
        for group in state.optimizer.param_groups:
            group["lr"], group["weight_decay"] = stage.learning_rate, stage.weight_decay
        state.model.train()
        shift = random.random() + np.random.rand() + torch.rand((), generator=state.generator)
        loss = self._loss(state.model, torch.randn(8, state.options.width) + shift)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.scheduler.step()
        state.seen += 8
        told = loss if step != state.options.explodes_at else loss * float("inf")
        return {"loss": told, "tokens": 8, "grad_norm": 2.0, "seen": state.seen}

    @torch.no_grad()
    def probe(self, state):
        state.model.eval()
        loss = self._loss(state.model, torch.randn(32, state.options.width))
        return {"val/loss": loss, "ref/unigram_loss": 4.0, "probe/shift": random.random()}

    def export(self, state):
        tensors, facts = pack(
            model=state.model,
            optimizer=state.optimizer,
            scheduler=state.scheduler,
            own={"place": state.generator.get_state()},
        )
        return tensors, facts | {"seen": state.seen}

    def restore(self, state, tensors, facts):
        own: dict[str, torch.Tensor] = {}
        unpack(
            tensors, facts, model=state.model, optimizer=state.optimizer, scheduler=state.scheduler, own=own
        )
        state.generator.set_state(own["place"])
        state.seen = facts["seen"]

    def _loss(self, model, x):
        return (model(x)[:, 0] - x.sum(1)).square().mean()
