"""The stages of a grid: shorthands that written-out stages pass over are refused; a dry run shows all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bitnet_sweep.config import ConfigError, Stage, having, plain
from bitnet_sweep.exact import counted
from bitnet_sweep.identity import digest
from bitnet_sweep.roles import Role
from bitnet_sweep.stages import follow_shorthands
from bitnet_sweep.sweep.plan import PlannedRun

SHORTHANDS = [
    knob.key
    for knob in having(Role.in_stages)
    if knob.key not in ("stages", "steps", "lr", "wd1", "wd2")  # these are held against written-out stages
]
"""What stages are made from where none are written out."""

_SHOWN = 8
"""Different schedules of a dry run."""


def check_shorthands(runs: Sequence[PlannedRun]) -> None:
    """Refuse a value that was asked for and that the stages written out by hand do not have.

    Raises:
        ConfigError: naming it. Without a word it would be trained as if it had not been given.
    """
    asked: dict[tuple[str, str], str] = {}
    for run in runs:
        told = _overrides(run)
        rate = _number(told.get("lr", ""))
        if rate is not None and rate != run.config.lr:
            raise _passed_over("lr", told["lr"])
        swept = {key: told[key] for key in SHORTHANDS if key in told}
        for key, value in swept.items():
            if asked.setdefault((run.run_id, key), value) != value and not follow_shorthands(run.config):
                raise _passed_over(key, f"{asked[run.run_id, key]},{value}")


def schedule_lines(runs: Sequence[PlannedRun]) -> list[str]:
    """The stages as they are resolved, each schedule once."""
    schedules: dict[str, list[PlannedRun]] = {}
    for run in runs:
        schedules.setdefault(digest(plain(run.config.stages)), []).append(run)
    lines = []
    for alike in list(schedules.values())[:_SHOWN]:
        lines.append(f"stages of {counted(len(alike), 'run')}:")
        lines += _stage_lines(alike[0].config.stages)
    left = len(schedules) - _SHOWN
    return [*lines, f"and {left} more schedules"] if left > 0 else lines


def _stage_lines(stages: Sequence[Stage]) -> Iterator[str]:
    start = 0
    for number, stage in enumerate(stages, start=1):
        end = start + stage.steps
        path = ", ".join(f"{knot.lr:.6g} at {start + knot.step:,}" for knot in stage.lr)
        path += " (cosine)" if any(knot.phase is not None for knot in stage.lr) else ""
        decays = dict.fromkeys((stage.decay_at(0), stage.decay_at(stage.steps)))
        decay = " to ".join(f"{value:.6g}" for value in decays)
        yield f"  {number}: steps {start + 1:,} to {end:,}, decay {decay}, learning rate {path}"
        start = end


def _overrides(run: PlannedRun) -> dict[str, str]:
    """The run's own settings by key, the last word counting."""
    parted = (override.lstrip("+").partition("=") for override in run.overrides)
    return {key: value for key, _, value in parted}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _passed_over(key: str, value: str) -> ConfigError:
    inside = f"write ${{{key}}} in them, or leave them out"
    return ConfigError(key, value, f"the stages that are written out do not have it; {inside}")
