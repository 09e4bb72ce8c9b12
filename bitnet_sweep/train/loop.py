"""The training loop: one pass over the steps that yields what happened and knows no sinks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch

from bitnet_sweep.config import RunConfig
from bitnet_sweep.data import Batches
from bitnet_sweep.records import LOG_LOSS, LOG_LR, Record, SampleRow, Value, clean
from bitnet_sweep.runtime import peak_memory_mb
from bitnet_sweep.stages import Timetable
from bitnet_sweep.train.average import follow
from bitnet_sweep.train.backward import backward
from bitnet_sweep.train.optimizer import update
from bitnet_sweep.train.state import TrainState
from bitnet_sweep.workload import Step

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
    timetable = Timetable.of(config)
    seconds, timed_steps = 0.0, 0
    for step in range(state.step + 1, until_step + 1):
        started = time.perf_counter()
        stage_index = timetable.stage_of(step)
        learning_rate, weight_decay = timetable.settings_of(config, step)
        loss, grad_norm = one_step(config, state, batches, step, learning_rate, weight_decay)
        state.step = step
        state.diverged = not math.isfinite(loss)
        state.loss_sum += loss
        state.grad_norm_sum += grad_norm
        state.steps_since_record += 1
        state.log_sum += loss
        state.steps_since_log += 1
        if state.diverged:
            state.watch.cut_short(step)
        else:
            state.watch.after_step(step, timetable.next_probed(step))
        seconds += time.perf_counter() - started
        timed_steps += 1
        row = None
        if timetable.is_logged(step) or state.diverged:
            row = clean(
                {"step": step, LOG_LOSS: state.log_sum / state.steps_since_log, LOG_LR: learning_rate}
            )
            state.log_sum, state.steps_since_log = 0.0, 0
        if not (timetable.is_probed(step) or state.diverged):
            yield Step(step, loss, log=row)
            continue
        targets = config.batch_size * config.row_targets
        record: Record = {
            "step": step,
            "stage": stage_index + 1,
            "tokens_seen": step * targets,
            "train/loss": state.loss_sum / state.steps_since_record,
            "train/loss_batch": loss,
            "optim/lr": learning_rate,
            "optim/weight_decay": weight_decay,
            "optim/grad_norm": state.grad_norm_sum / state.steps_since_record,
        }
        probe_started = time.perf_counter()
        measures, samples = probe(state, step in timetable.ends or state.diverged)
        record |= measures | {
            "perf/tokens_per_s": timed_steps * targets / seconds,
            "perf/step_ms": 1e3 * seconds / timed_steps,
            "perf/probe_ms": 1e3 * (time.perf_counter() - probe_started),
            "perf/peak_memory_mb": peak_memory_mb(),
        }
        state.loss_sum, state.grad_norm_sum, state.steps_since_record = 0.0, 0.0, 0
        seconds, timed_steps = 0.0, 0
        yield Step(step, loss, clean(record), tuple(samples), row)
        if state.diverged:
            return


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
