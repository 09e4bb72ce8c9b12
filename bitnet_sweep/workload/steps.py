"""The loop around the updates of any training: stages, records, the training log, time and divergence."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from bitnet_sweep.config import RunConfig
from bitnet_sweep.records import LOG_LOSS, LOG_LR, Record, SampleRow, Value, clean
from bitnet_sweep.runtime import peak_memory_mb
from bitnet_sweep.stages import Timetable
from bitnet_sweep.task import Stage
from bitnet_sweep.workload import State, Step


@dataclass
class Mean:
    """The mean of the numbers that came since it was taken last."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        """Count one more."""
        self.total += value
        self.count += 1

    def take(self) -> float:
        """What it is so far; it begins anew."""
        mean = self.total / self.count
        self.total, self.count = 0.0, 0
        return mean


class Counted(State, Protocol):
    """A state as the loop counts it on."""

    step: int
    diverged: bool
    log: Mean
    """The mean of the losses since the last row of the training log."""


S = TypeVar("S", bound=Counted)


class Loop(ABC, Generic[S]):
    """Trains a state step by step, and yields what happened; it knows no sinks.

    Args:
        config: resolved.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.timetable = Timetable.of(config)

    @abstractmethod
    def update(self, state: S, step: int, stage: Stage) -> tuple[float, int]:
        """Make one update in place; the loss before it, and how many targets it had (0: not known).

        With a loss that is not finite nothing is updated.
        """

    @abstractmethod
    def told(self, state: S, loss: float, stage: Stage) -> Record:
        """What a record says of the steps since the last one, which are forgotten then."""

    @abstractmethod
    def measured(self, state: S, is_end: bool) -> tuple[dict[str, Value], Sequence[SampleRow]]:
        """What a record says of the state itself; sample texts at the end of a stage."""

    def steps(self, state: S, until_step: int) -> Iterator[Step]:
        """See :meth:`bitnet_sweep.workload.Training.steps`."""
        pace = _Pace()
        for step in range(state.step + 1, until_step + 1):
            stage = Stage(*self.timetable.settings_of(self.config, step), self.timetable.stage_of(step) + 1)
            started = time.perf_counter()
            loss, targets = self.update(state, step, stage)
            pace.count(time.perf_counter() - started, targets)
            state.step, state.diverged = step, not math.isfinite(loss)
            state.log.add(loss)
            row = record = None
            samples: Sequence[SampleRow] = ()
            if self.timetable.is_logged(step) or state.diverged:
                row = clean({"step": step, LOG_LOSS: state.log.take(), LOG_LR: stage.learning_rate})
            if self.timetable.is_probed(step) or state.diverged:
                record = {"step": step, "stage": stage.number, **self.told(state, loss, stage)}
                started = time.perf_counter()
                measures, samples = self.measured(state, step in self.timetable.ends or state.diverged)
                record = clean(record | measures | pace.measures(time.perf_counter() - started))
                pace = _Pace()
            yield Step(step, loss, record, tuple(samples), row)
            if state.diverged:
                return


@dataclass
class _Pace:
    """What the steps since the last record took in this process."""

    seconds: float = 0.0
    steps: int = 0
    targets: int = 0

    def count(self, seconds: float, targets: int) -> None:
        self.seconds += seconds
        self.steps += 1
        self.targets += targets

    def measures(self, probe_seconds: float) -> Record:
        rate: Record = {"perf/tokens_per_s": self.targets / self.seconds} if self.targets else {}
        return rate | {
            "perf/step_ms": 1e3 * self.seconds / self.steps,
            "perf/probe_ms": 1e3 * probe_seconds,
            "perf/peak_memory_mb": peak_memory_mb(),
        }
