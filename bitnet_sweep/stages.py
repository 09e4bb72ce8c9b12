"""From a config's shorthands to its stages: lengths absolute, learning rates written out, probes set."""

from __future__ import annotations

import copy
import dataclasses
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bitnet_sweep.config import (
    KNOBS,
    ConfigError,
    DecayShape,
    Knot,
    LrShape,
    RunConfig,
    Stage,
    check_number,
    check_whole,
    interpolate,
)
from bitnet_sweep.own_code import in_a_line
from bitnet_sweep.parts import known


@dataclass(frozen=True)
class Asked:
    """What a config asks of a schedule: what a function of a user's own makes stages of."""

    steps: int
    """Length of the run."""
    lr: float
    """The peak of the learning rate."""
    wd1: float
    """The weight decay that the first stage must have."""
    wd2: float
    """The weight decay that the last stage must have."""
    boundary_step: int
    """Where the decay is to change, if the function follows ``boundary``."""
    warmup_steps: int
    """Length of the warm-up, if the function has one."""


Schedule = Callable[[Asked, Any], list[Stage]]
"""A part of the kind ``schedule``: the stages of a run, of what it asks for and of the function's options.

They may depend on nothing else. Arms share a stage where it is equal, and so are all before it."""

LOG_EVERY = 0.01
"""Share of a run between two rows of the training log (chosen: a curve of 100 points)."""


def resolve(config: RunConfig) -> RunConfig:
    """The config with every length absolute and the stages written out; idempotent.

    A copy that shares what it does not change: a deep one costs most of the planning of 10,000 runs.

    Raises:
        ConfigError: where the lengths do not fit the run.
    """
    config = copy.copy(config)
    shape, steps = config.schedule, config.steps
    if config.model.ffn is None and config.has_built_in_model:
        config.model = copy.copy(config.model)
        config.model.ffn = config.model.ffn_width
    config.warmup_steps = config.warmup_steps or _length(shape.warmup, steps)
    config.probe_every_steps = config.probe_every_steps or _length(shape.probe_every, steps)
    config.checkpoint_every_steps = config.checkpoint_every_steps or _length(shape.checkpoint_every, steps)
    config.log_every_steps = config.log_every_steps or _length(LOG_EVERY, steps)
    if config.stages:
        _check_stages(config)
    elif shape.function is not None:
        config.stages = _stages_of_function(config, config.warmup_steps)
        _check_stages(config)
    else:
        config.stages = _stages_of_schedule(config, config.warmup_steps)
    return config


def follow_shorthands(config: RunConfig) -> bool:
    """Whether the shorthands of a resolved config say all of its stages, or stages written by hand do.

    They do with a function of a user's own, which is not asked: a config out of a store imports nothing.
    """
    if config.schedule.function is not None:
        return True
    try:
        return resolve(dataclasses.replace(config, stages=[])).stages == config.stages
    except ConfigError:  # such a boundary is only to be had by hand
        return False


def _length(fraction: float, steps: int) -> int:
    return max(1, round(fraction * steps))


def _inner_step(key: str, fraction: float, steps: int) -> int:
    """The step at ``fraction`` of the run; a boundary has at least one step on each side."""
    step = round(fraction * steps)
    if not 0 < step < steps:
        raise ConfigError(
            key,
            fraction,
            f"falls on step {step}; it must leave a step on each side of steps={steps}",
        )
    return step


def _stages_of_schedule(config: RunConfig, warmup_steps: int) -> list[Stage]:
    """The learning-rate path cut at the union of the decay boundary and the LR boundary."""
    decay_step = _inner_step("boundary", config.boundary, config.steps)
    paths = _lr_paths(config, warmup_steps)
    falls = config.schedule.decay_shape is DecayShape.cosine
    stages = []
    for start, end in pairwise(sorted({0, decay_step, *(path[-1].step for path in paths)})):
        path = next(path for path in paths if end <= path[-1].step)
        corners = [start, *(knot.step for knot in path if start < knot.step < end), end]
        stage = Stage(
            steps=end - start,
            weight_decay=config.wd1 if end <= decay_step else config.wd2,
            lr=[Knot(x - start, interpolate(path, x), _phase_at(path, x)) for x in corners],
        )
        if falls and end <= decay_step:
            stage.decay_phase, stage.decay_phase_end = start / decay_step, end / decay_step
        stages.append(stage)
    return stages


def _stages_of_function(config: RunConfig, warmup_steps: int) -> list[Stage]:
    """The stages that a function of a user's own makes, not yet checked.

    ``doors.settled`` has imported it: the config may be one out of a store, which must import nothing.

    Raises:
        ConfigError: there is no such function, its options are wrong, or it fails.
    """
    name, key = str(config.schedule.function), "schedule.function"
    part = known("schedule", name)
    if part is None:
        raise ConfigError(key, name, "is not here, and the config has no stages")
    part.check_version(config.schedule.version, "schedule.version")
    options = part.options_of(config.schedule.options, "schedule.options")
    asked = Asked(config.steps, config.lr, config.wd1, config.wd2, config.boundary_step, warmup_steps)
    try:
        found = list(part.load()(asked, options))
    except ConfigError:
        raise
    except Exception as error:  # whatever its author's code raises
        raise ConfigError(key, name, f"makes no stages: {in_a_line(error)}") from error
    if not found or not all(isinstance(stage, Stage) for stage in found):
        raise ConfigError(key, name, "must return a list of bitnet_sweep.config.Stage, one or more")
    return found


def _lr_paths(config: RunConfig, warmup_steps: int) -> list[list[Knot]]:
    """The learning rate over the steps of the run, in pieces that may jump where one follows another."""
    steps, peak, shape = config.steps, config.lr, config.schedule
    start, top = Knot(0, 0.0), Knot(warmup_steps, peak)
    if shape.lr_shape is LrShape.cosine:
        for key in ("lr_boundary", "schedule.lr_bend_from", "schedule.lr_bend_to"):
            if (value := KNOBS[key].of(config)) != KNOBS[key].default:
                raise ConfigError(key, value, "needs schedule.lr_shape=linear; a cosine has no bend")
        if warmup_steps >= steps:
            raise ConfigError("warmup_steps", warmup_steps, f"must be less than steps={steps}")
        return [[start, Knot(warmup_steps, peak, 0.0), Knot(steps, peak * shape.lr_final, 1.0)]]
    bend_step = _inner_step("lr_boundary", config.lr_boundary, steps)
    if warmup_steps > bend_step:
        raise ConfigError(
            "lr_boundary",
            config.lr_boundary,
            f"must come after the warm-up of {warmup_steps} steps",
        )
    bend = [Knot(bend_step, peak * shape.lr_bend_from)] if bend_step > warmup_steps else []
    after = [Knot(bend_step, peak * shape.lr_bend_to), Knot(steps, peak * shape.lr_final)]
    return [[start, top, *bend], after]


def _phase_at(path: Sequence[Knot], step: int) -> float | None:
    """Where on its cosine the path is at ``step``; None where it is straight behind there."""
    for left, right in pairwise(path):
        if left.phase is not None and right.phase is not None and left.step <= step <= right.step:
            return left.phase + (right.phase - left.phase) * ((step - left.step) / (right.step - left.step))
    return None


def _check_stages(config: RunConfig) -> None:
    for i, stage in enumerate(config.stages):
        key = f"stages[{i}]"
        check_whole(f"{key}.steps", stage.steps)
        check_number(f"{key}.weight_decay", stage.weight_decay)
        positions = [knot.step for knot in stage.lr]
        rising = all(a < b for a, b in pairwise(positions))
        if not rising or positions[:1] != [0] or positions[-1] != stage.steps:
            raise ConfigError(
                f"{key}.lr", positions, f"its knots must rise from step 0 to step {stage.steps}"
            )
        for knot in stage.lr:
            check_number(f"{key}.lr", knot.lr)
        _check_phases(f"{key}.lr", [knot.phase for knot in stage.lr if knot.phase is not None])
        ends = [phase for phase in (stage.decay_phase, stage.decay_phase_end) if phase is not None]
        if len(ends) == 1:
            raise ConfigError(
                f"{key}.decay_phase", stage.decay_phase, "needs decay_phase_end, and the other way round"
            )
        _check_phases(f"{key}.decay_phase", ends)
    total = sum(stage.steps for stage in config.stages)
    if total != config.steps:
        raise ConfigError("stages", f"{total} steps", f"their lengths must add up to steps={config.steps}")
    config.lr = max(knot.lr for stage in config.stages for knot in stage.lr)
    first, last = config.stages[0].weight_decay, config.stages[-1].weight_decay
    for name, shorthand, decay in (("wd1", config.wd1, first), ("wd2", config.wd2, last)):
        if shorthand != decay:
            raise ConfigError(
                name,
                shorthand,
                f"must equal its stage's weight_decay={decay:g} (stages that are written by hand have "
                f"${{{name}}}, those of a function asked.{name})",
            )
    for end, (stage, after) in zip(stage_ends(config.stages), pairwise(config.stages), strict=False):
        if stage.weight_decay != after.weight_decay:
            if config.boundary_step != end:
                config.boundary = end / total
            break


def _check_phases(key: str, phases: list[float]) -> None:
    if not all(0 <= phase <= 1 for phase in phases) or not all(a < b for a, b in pairwise(phases)):
        raise ConfigError(key, phases, "its phases must rise, from 0 or more to 1 or less")


def stage_ends(stages: list[Stage]) -> list[int]:
    """The completed step at which each stage ends."""
    ends, step = [], 0
    for stage in stages:
        step += stage.steps
        ends.append(step)
    return ends


@dataclass(frozen=True)
class Timetable:
    """Which step belongs to which stage, and which steps are probed or logged."""

    ends: list[int]
    probe_every_steps: int
    log_every_steps: int = 1

    @classmethod
    def of(cls, config: RunConfig) -> Timetable:
        """The timetable of a resolved config."""
        assert config.probe_every_steps is not None, "the config is not resolved"
        assert config.log_every_steps is not None, "the config is not resolved"
        return cls(stage_ends(config.stages), config.probe_every_steps, config.log_every_steps)

    def stage_of(self, step: int) -> int:
        """0, 1, ...: the stage that ``step`` (from 1) belongs to."""
        return bisect_left(self.ends, step)

    def settings_of(self, config: RunConfig, step: int) -> tuple[float, float]:
        """Learning rate and decay of the update that completes ``step``, by the stages of ``config``."""
        if config.schedule.set_after_update:
            step -= 1
        index = self.stage_of(max(1, step))
        stage = config.stages[index]
        step_in_stage = step - (self.ends[index] - stage.steps)
        return stage.lr_at(step_in_stage) if step else config.lr, stage.decay_at(step_in_stage)

    def is_probed(self, step: int) -> bool:
        """Step 1, every ``probe_every_steps``, each stage's last step."""
        return step == 1 or step % self.probe_every_steps == 0 or step in self.ends

    def is_logged(self, step: int) -> bool:
        """Step 1, every ``log_every_steps``, the run's last step."""
        return step == 1 or step % self.log_every_steps == 0 or step == self.ends[-1]

    def next_probed(self, step: int) -> int:
        """The first probed step that is ``step`` or later."""
        if step <= 1:
            return 1
        regular = -(-step // self.probe_every_steps) * self.probe_every_steps
        return min(regular, self.ends[bisect_left(self.ends, step)])
