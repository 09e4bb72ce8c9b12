"""A few steps of a config: the same stages in the same proportions, and a record often."""

from __future__ import annotations

from dataclasses import replace

from bitnet_sweep.config import ConfigError, RunConfig, Stage, TrackConfig, TrackName
from bitnet_sweep.stages import follow_shorthands, resolve, stage_ends

FEWEST = 2
"""Steps of a stage: it is killed behind its first checkpoint."""

_RECORDS = 10
"""How many a run has, besides those that its stages ask for."""


def shortened(config: RunConfig, steps: int) -> RunConfig:
    """The config as a run of at most so many steps, without a mirror.

    Args:
        config: resolved.
        steps: of the whole run.

    Raises:
        ConfigError: a stage would be too short.
    """
    length = min(steps, config.steps)
    share = length / config.steps
    short = resolve(
        replace(
            config,
            steps=length,
            stages=[] if follow_shorthands(config) else _shortened(config.stages, share),
            warmup_steps=max(1, round((config.warmup_steps or 1) * share)),
            probe_every_steps=max(1, length // _RECORDS),
            checkpoint_every_steps=1,
            log_every_steps=1,
            track=TrackConfig(name=TrackName.none),
            sweep=replace(config.sweep, name=None, keep_final=True, keep_stages=True),
        )
    )
    least = min(stage.steps for stage in short.stages)
    if least < FEWEST:
        raise ConfigError("--steps", steps, f"leaves a stage of {least} step; each needs {FEWEST} or more")
    # several checkpoints in each stage, so that a killed run has some steps to train again
    return replace(short, checkpoint_every_steps=max(1, least // 4))


def deaths(config: RunConfig) -> list[tuple[int, int]]:
    """For each stage the step it begins behind, and the step in it at which a run is killed."""
    ends = stage_ends(config.stages)
    starts = [0, *ends[:-1]]
    return [
        (start, start + max(FEWEST, 2 * (end - start) // 3)) for start, end in zip(starts, ends, strict=True)
    ]


def _shortened(stages: list[Stage], share: float) -> list[Stage]:
    """Stages that were written by hand."""
    ends = [round(end * share) for end in stage_ends(stages)]
    short = []
    for stage, start, end in zip(stages, [0, *ends[:-1]], ends, strict=True):
        length = end - start
        if length < FEWEST:
            raise ConfigError(
                "--steps", ends[-1], f"leaves a stage of {length} steps; each needs {FEWEST} or more"
            )
        knots = {
            step: replace(k, step=step) for k in stage.lr for step in [round(k.step * length / stage.steps)]
        }
        short.append(replace(stage, steps=length, lr=list(knots.values())))
    return short
