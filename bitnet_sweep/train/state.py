"""TrainState: what training carries from step to step, and its way to a checkpoint and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitnet_sweep.config import RunConfig
from bitnet_sweep.measure.codes import CodeWatch
from bitnet_sweep.model.interface import Model
from bitnet_sweep.model.own import make_model
from bitnet_sweep.train.average import AVERAGE, average_of
from bitnet_sweep.train.optimizer import Optimizer, make_optimizer
from bitnet_sweep.workload.generators import DRAWN, PROBE_SEED, Generators
from bitnet_sweep.workload.steps import Mean

_MODEL, _WATCH = "model/", "watch/"
_OWN = (_MODEL, AVERAGE, _WATCH, DRAWN)
"""How the names of tensors in a checkpoint begin that are not an optimizer's."""


@dataclass
class TrainState:
    """Weights, optimizer state and the sums behind the next record, after ``step`` updates."""

    model: Model
    optimizer: Optimizer
    watch: CodeWatch
    average: Model | None = None
    """The running mean of the weights, where ``ema`` keeps one."""
    generators: Generators | None = None
    """What a model of a user's own draws from; ours draws nothing."""
    step: int = 0
    loss_sum: float = 0.0
    """Sum over the steps since the last record."""
    grad_norm_sum: float = 0.0
    steps_since_record: int = 0
    log: Mean = field(default_factory=Mean)
    """The mean of the losses since the last row of the training log."""
    diverged: bool = False
    """A loss stopped being finite; there is no next step."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def fresh(cls, config: RunConfig, device: torch.device) -> TrainState:
        """Step 0: initial weights, which depend on the seed and the shapes alone."""
        generators = None if config.has_built_in_model else Generators(config.seed, device)
        model = make_model(config, generators).to(device)
        optimizer = make_optimizer(model, config.optimizer)
        average = average_of(model) if config.ema else None
        if generators is not None:
            model.clear_gradients()
        return cls(model, optimizer, CodeWatch(model.bitlinears()), average, generators, device=device)

    def drawing(self) -> AbstractContextManager[None]:
        """The state in which the model is trained: with the generators that it draws from."""
        return nullcontext() if self.generators is None else self.generators.in_use()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """The state in which the model is measured: in evaluation mode, and alike whatever it draws."""
        if self.generators is None:
            yield
            return
        self.model.eval()
        with Generators(PROBE_SEED, self.device).in_use():
            yield
        self.model.train()

    def export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON facts from which :meth:`restore` makes an equal state."""
        tensors = {_MODEL + name: p.detach() for name, p in self.model.kept().items()}
        tensors |= self._averages()
        for name, parameter in self.model.named_parameters():
            kept = self.optimizer.state(parameter)
            tensors |= {f"{key}/{name}": tensor for key, tensor in kept.items()}
        watch_tensors, watch_facts = self.watch.state()
        tensors |= {_WATCH + name: tensor for name, tensor in watch_tensors.items()}
        facts = {
            "step": self.step,
            "loss_sum": self.loss_sum,
            "grad_norm_sum": self.grad_norm_sum if math.isfinite(self.grad_norm_sum) else None,
            "steps_since_record": self.steps_since_record,
            "log_sum": self.log.total,
            "steps_since_log": self.log.count,
            "watch": watch_facts,
        }
        if self.generators is not None:
            drawn, facts["generators"] = self.generators.export()
            tensors |= drawn
        return tensors, facts

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over an exported state, in place.

        Tensors are copied into memory allocated as in a run that was never interrupted: a mapped file
        may be aligned otherwise, and vector kernels would then sum in another order.
        """
        with torch.no_grad():
            for name, tensor in self.model.kept().items():
                tensor.copy_(tensors[_MODEL + name])
            for name, parameter in self.model.named_parameters():
                if kept := _kept_for(name, tensors):  # one that is not trained has nothing
                    self.optimizer.restore(parameter, facts["step"], kept)
            for name, mean in self._averages().items():
                mean.copy_(tensors[name])
        if self.generators is not None:
            self.generators.restore(tensors, facts["generators"])
        watch = {k.removeprefix(_WATCH): t for k, t in tensors.items() if k.startswith(_WATCH)}
        self.watch.load_state(watch, facts["watch"])
        self.step = facts["step"]
        self.loss_sum = facts["loss_sum"]
        kept_sum = facts["grad_norm_sum"]  # null: it was not finite, so the record's mean is null too
        self.grad_norm_sum = math.nan if kept_sum is None else kept_sum
        self.steps_since_record = facts["steps_since_record"]
        # a checkpoint of before the training log has none
        self.log = Mean(facts.get("log_sum", 0.0), facts.get("steps_since_log", 0))

    def weights(self) -> dict[str, Tensor]:
        """The weights alone, by the model's own names; beside them their means, where they are kept."""
        weights = {name: tensor.detach() for name, tensor in self.model.kept().items()}
        return weights | self._averages()

    def _averages(self) -> dict[str, Tensor]:
        """The means of the weights by the names they are saved under; empty where none are kept."""
        means = self.average.named_parameters() if self.average is not None else ()
        return {AVERAGE + name: mean.detach() for name, mean in means}


def _kept_for(parameter: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the optimizer kept for a parameter, by the optimizer's own names."""
    ending = f"/{parameter}"
    names = [key for key in tensors if key.endswith(ending) and not key.startswith(_OWN)]
    return {key.removesuffix(ending): tensors[key] for key in names}
