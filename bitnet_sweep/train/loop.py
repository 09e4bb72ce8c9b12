"""The transformer's updates and records, for the loop of :mod:`bitnet_sweep.workload.steps`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from bitnet_sweep.config import RunConfig
from bitnet_sweep.data import Batches
from bitnet_sweep.records import Record, SampleRow, Value
from bitnet_sweep.task import Stage
from bitnet_sweep.train.average import follow
from bitnet_sweep.train.backward import backward
from bitnet_sweep.train.optimizer import update
from bitnet_sweep.train.state import TrainState
from bitnet_sweep.workload import Step
from bitnet_sweep.workload.steps import Loop

Probe = Callable[[TrainState, bool], tuple[dict[str, Value], list[SampleRow]]]
"""Measures a state; with True it also writes sample texts."""


def train(
    config: RunConfig, state: TrainState, batches: Batches, probe: Probe, until_step: int
) -> Iterator[Step]:
    """Train ``state`` up to ``until_step``, yielding every completed step.

    Between two yields the state is whole: stopping there and going on later, from memory or from a
    checkpoint, changes nothing in any weight or record. A loss that is not finite ends the iteration:
    no update is made, ``state.diverged`` is set, and a last step with a record is yielded whose
    ``train/loss_batch`` is null.

    Args:
        config: resolved.
        state: of ``TrainState.fresh`` or restored; changed in place.
        batches: a pure function of the step.
        probe: what fills the measured part of a record.
        until_step: the last step to complete.
    """
    return TransformerLoop(config, batches, probe).steps(state, until_step)


class TransformerLoop(Loop[TrainState]):
    """See :func:`train`."""

    def __init__(self, config: RunConfig, batches: Batches, probe: Probe) -> None:
        super().__init__(config)
        self._batches = batches
        self._probe = probe
        self._targets = config.batch_size * config.row_targets

    def update(self, state: TrainState, step: int, stage: Stage) -> tuple[float, int]:
        """See :func:`one_step`."""
        loss, grad_norm = one_step(
            self.config, state, self._batches, step, stage.learning_rate, stage.weight_decay
        )
        state.loss_sum += loss
        state.grad_norm_sum += grad_norm
        state.steps_since_record += 1
        if math.isfinite(loss):
            state.watch.after_step(step, self.timetable.next_probed(step))
        else:
            state.watch.cut_short(step)
        return loss, self._targets

    def told(self, state: TrainState, loss: float, stage: Stage) -> Record:
        """Means of loss and gradient norm, and what the last step was given."""
        record: Record = {
            "tokens_seen": state.step * self._targets,
            "train/loss": state.loss_sum / state.steps_since_record,
            "train/loss_batch": loss,
            "optim/lr": stage.learning_rate,
            "optim/weight_decay": stage.weight_decay,
            "optim/grad_norm": state.grad_norm_sum / state.steps_since_record,
        }
        state.loss_sum, state.grad_norm_sum, state.steps_since_record = 0.0, 0.0, 0
        return record

    def measured(self, state: TrainState, is_end: bool) -> tuple[dict[str, Value], Sequence[SampleRow]]:
        """What the probe finds."""
        return self._probe(state, is_end)


def one_step(
    config: RunConfig,
    state: TrainState,
    batches: Batches,
    step: int,
    learning_rate: float,
    weight_decay: float,
) -> tuple[float, float]:
    """One optimizer update; the objective before it and the gradient norm before clipping.

    With an objective that is not finite nothing is updated and the norm is NaN.
    """
    x_BT, y_BT = (torch.from_numpy(part).to(state.device) for part in batches.batch_at(step))
    with state.drawing():
        loss = backward(state.model, x_BT, y_BT, config.loss, config.micro_batches)
    if not math.isfinite(loss):
        return loss, math.nan
    grad_norm = update(
        state.model,
        state.optimizer,
        clip=config.optimizer.clip,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
    )
    if state.average is not None:
        follow(state.average, state.model, config.ema, step)
    return loss, grad_norm
