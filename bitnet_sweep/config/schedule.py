"""The group ``schedule``, and the stages that follow from it or are written out."""

# ruff: noqa: RUF009 - knob() makes a field
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any

from bitnet_sweep.config.checks import settle
from bitnet_sweep.roles import Role, knob


class LrShape(Enum):
    """How the learning rate falls behind the warm-up: along straight lines with a bend at ``lr_boundary``, or
    along half a cosine from the peak to the end of the run."""

    linear = "linear"
    cosine = "cosine"


class DecayShape(Enum):
    """The weight decay until ``boundary``: ``wd1`` throughout, or half a cosine from ``wd1`` to zero."""

    constant = "constant"
    cosine = "cosine"


@dataclass
class ScheduleConfig:
    """The shape of a run: lengths as fractions of ``steps``, learning rates as multiples of ``lr``.

    The learning rate warms up linearly to ``lr``, runs linearly to ``lr_bend_from`` at
    ``lr_boundary``, goes on from ``lr_bend_to`` (lower: a drop) and runs linearly to ``lr_final``;
    or ``lr_shape`` has it run to ``lr_final`` along a cosine.
    """

    name: str = knob("two_stage", Role.preset | Role.any_task, label="", rank=11)
    """What names call this schedule; its numbers are the keys below."""
    warmup: float = knob(0.0375, Role.in_stages, above=0.0, below=1.0)
    """Length of the linear warm-up of the learning rate."""
    probe_every: float = knob(0.05, Role.in_length, above=0.0, below=1.0)
    """Distance of two probes, each of which writes a record."""
    checkpoint_every: float = knob(0.1, Role.operational, above=0.0, below=1.0)
    """Distance of two checkpoints, from which an interrupted run goes on."""
    lr_bend_from: float = knob(2 / 3, Role.in_stages)
    """The learning rate at which the path arrives at ``lr_boundary``."""
    lr_bend_to: float = knob(2 / 3, Role.in_stages | Role.later)
    """The learning rate with which it goes on from there."""
    lr_final: float = knob(0.001, Role.in_stages | Role.later)
    """The learning rate at the end of the run."""
    lr_shape: LrShape = knob(LrShape.linear, Role.in_stages | Role.added)
    decay_shape: DecayShape = knob(DecayShape.constant, Role.in_stages | Role.added)
    function: str | None = knob(None, Role.in_stages | Role.added, label="")
    """A function of your own that makes the stages (docs/extend.md); ``schedule=NAME`` sets it."""
    options: dict[str, Any] = knob({}, Role.in_stages | Role.added, label="")
    """Options that the function declares, each a key of its own: ``schedule.options.NAME=VALUE``."""
    version: str | None = knob(None, Role.in_stages | Role.added | Role.follows, label="v")
    """The version that the function declares, noted by itself; null where there is none."""
    set_after_update: bool = knob(False, Role.in_id | Role.added | Role.any_task)
    """Set learning rate and decay behind each update, not before it: update k has those of k - 1, and the
    first one the peak ``lr``."""

    def __post_init__(self) -> None:
        settle(self, "schedule.")


def _left_out_as(value: Any) -> Any:
    """A field of a stage that came after runs had been made: with this value it is not written."""
    return field(default=value, metadata={"left_out_as": value})


@dataclass
class Knot:
    """A corner of a learning-rate path."""

    step: int
    """Completed steps of the stage."""
    lr: float
    """The learning rate there."""
    phase: float | None = _left_out_as(None)
    """Between two corners that both have one the path is no straight line but a part of half a cosine: that
    from the one phase to the other, where 0 is its crest and 1 its trough."""

    def __post_init__(self) -> None:
        settle(self, "stages[?].lr[?].")


@dataclass
class Stage:
    """A stretch of training with one decay and one learning-rate path."""

    steps: int
    """Its length in updates of the optimizer."""
    weight_decay: float
    """The same for all of it, unless it has phases."""
    lr: list[Knot]
    """The first knot at step 0, the last at ``steps``."""
    decay_phase: float | None = _left_out_as(None)
    """With this and ``decay_phase_end`` the decay is ``weight_decay`` times a part of half a cosine: from the
    one phase to the other, where 0 is all of it and 1 nothing."""
    decay_phase_end: float | None = _left_out_as(None)

    def __post_init__(self) -> None:
        settle(self, "stages[?].")

    def lr_at(self, step_in_stage: int) -> float:
        """The learning rate of the update that completes ``step_in_stage`` (1 .. ``steps``)."""
        return interpolate(self.lr, step_in_stage)

    def decay_at(self, step_in_stage: int) -> float:
        """The weight decay of that update."""
        if self.decay_phase is None or self.decay_phase_end is None:
            return self.weight_decay
        share = step_in_stage / self.steps
        return self.weight_decay * _cosine(
            self.decay_phase + (self.decay_phase_end - self.decay_phase) * share
        )


def interpolate(path: Sequence[Knot], step: int) -> float:
    """The learning rate at ``step`` of a path; exact at its corners."""
    for left, right in pairwise(path):
        if left.step <= step <= right.step:
            if step == right.step:
                return right.lr
            share = (step - left.step) / (right.step - left.step)
            if left.phase is not None and right.phase is not None:
                high, low = _cosine(left.phase), _cosine(right.phase)
                share = (high - _cosine(left.phase + (right.phase - left.phase) * share)) / (high - low)
            return left.lr + (right.lr - left.lr) * share
    raise ValueError(f"step {step} lies outside the path {path}")


def _cosine(phase: float) -> float:
    """From 1 at phase 0 to 0 at phase 1."""
    return (1 + math.cos(math.pi * phase)) / 2
