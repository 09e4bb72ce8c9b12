"""The workload that a run's config names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bitnet_sweep.config import RunConfig
from bitnet_sweep.parts import find
from bitnet_sweep.workload import Workload

MODULES = ("bitnet_sweep.train.task", "bitnet_sweep.train.probe")
"""The built-in task and what it loads to train, found by name: nothing of the engine imports them."""


def workload_of(config: RunConfig) -> Workload:
    """What the engine asks about a run.

    Raises:
        ConfigError: there is no such task here, its options are wrong, or it is of another version.
    """
    part = find("task", config.task, config.plugins)
    part.check_version(config.task_version, "task_version")
    options = part.options_of(config.task_options, "task_options")
    made = part.load()()
    if part.is_built_in:
        assert isinstance(made, Workload), "built-in tasks are workloads"
        return made
    from bitnet_sweep.workload.own import OwnWorkload  # late: it imports torch

    return OwnWorkload(config.task, made, options)


def check_all(configs: Sequence[RunConfig]) -> None:
    """Have the tasks of these runs refuse what cannot be had.

    Raises:
        ConfigError: naming the key.
    """
    for alike in _by_task(configs):
        workload_of(alike[0]).check(alike)


def remarks_on(configs: Sequence[RunConfig]) -> list[str]:
    """What the tasks of these runs have to say of a plan."""
    return [line for alike in _by_task(configs) for line in workload_of(alike[0]).remarks(alike)]


def _by_task(configs: Sequence[RunConfig]) -> Iterable[list[RunConfig]]:
    of_task: dict[str, list[RunConfig]] = {}
    for config in configs:
        of_task.setdefault(config.task, []).append(config)
    return of_task.values()
