"""Hydra's way in: a flat grid goes to the stage-tree engine, the jobs to whatever launcher is chosen.

Hydra imports every plugin at start-up, so nothing heavy is imported at the top.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins._launcher import read_once

if TYPE_CHECKING:
    from bitnet_sweep.sweep.plan import Plan

log = logging.getLogger(__name__)


class StageTreeSweeper(Sweeper):
    """Composes the whole grid, checks it, and lets the engine launch trunks before arms."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self._has_launched = False
        self.num_stages: dict[int, int] = {}
        """By number, for jobs that leave a trunk; the launcher passes it on to them, beside their config."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        read_once(hydra_context.config_loader)
        self._hydra_context = hydra_context
        self._master = config
        work: Callable[..., Any] = task_function  # bitnet_sweep.app.job, which takes more than Hydra knows
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context,
            task_function=partial(work, num_stages=self.num_stages),
            config=config,
        )

    def sweep(self, arguments: list[str]) -> None:
        """Called by Hydra with the command line's overrides.

        Raises:
            ConfigError: a point of the grid is wrong; nothing has started.
            InterruptedRunError: a signal asked to stop.
            FailedRunError: some runs are not finished.
        """
        from bitnet_sweep.compose import Conf, sweep_settings
        from bitnet_sweep.sweep.bisect import bisect
        from bitnet_sweep.sweep.grid import make_grid, overrides_of
        from bitnet_sweep.sweep.orchestrate import drive, plan_runs

        conf = Conf(self._hydra_context.config_loader, self._master)
        axes = conf.axes()
        settings = sweep_settings(axes, conf.load)
        compose = conf.composer()
        # Of Hydra's launchers, ours say these.
        of_launcher = getattr(self.launcher, "jobs_at_once", None)
        jobs_at_once = of_launcher and of_launcher()
        trains_here = getattr(self.launcher, "trains_here", True)
        require_backend = getattr(self.launcher, "require_backend", None)
        if require_backend is not None and not settings.dry_run:
            require_backend()
        if settings.bisect is not None:
            bisect(axes, settings, compose, conf.words, self.launch, jobs_at_once, trains_here)
            return
        grid = make_grid(axes, settings, compose)
        points = [(overrides_of(point), config) for point, config in grid.points]
        store, runs = plan_runs(points, trains_here)
        drive(store, runs, conf.words, self.launch, grid.excluded, jobs_at_once)

    def launch(self, plan: Plan, name: str) -> None:
        """A launcher that knows dependencies gets them; any other gets the tree level by level.

        Raises:
            ConfigError: the launcher cannot be used; nothing has started.
        """
        from bitnet_sweep.config import ConfigError

        # Hydra loads plugins twice: no isinstance
        launch_after = getattr(self.launcher, "launch_after", None)
        levels = [plan.todo] if launch_after is not None else plan.levels()
        numbers = {job.id: number for number, job in enumerate(chain.from_iterable(levels))}
        self.num_stages.clear()
        self.num_stages.update({numbers[job.id]: job.num_stages for job in plan.todo if not job.is_run})
        # unquoted, a hash such as 1234e567 would be a number
        commands = {job.id: [*job.run.overrides, f"sweep.name='{name}'"] for job in plan.todo}
        if launch_after is not None:
            try:
                launch_after(list(commands.values()), [numbers.get(job.parent or "") for job in plan.todo])
            except ConfigError as error:
                if not self._has_launched:
                    raise
                _warn(error)  # a cluster that took the jobs before and takes these no more
            self._has_launched = True
            return
        for level in levels:
            try:
                words = [commands[job.id] for job in level]
                for returned in self.launcher.launch(words, numbers[level[0].id]):
                    warn_if_failed(returned)
            except Exception as error:
                # Some launchers raise when one job died (submitit's, Ray's, joblib's): the store says
                # which jobs ended well, and the next level may hold what does not need that job.
                _warn(error)


def warn_if_failed(returned: JobReturn) -> None:
    """Hydra's own launcher keeps quiet about why a job failed."""
    from bitnet_sweep.sweep.exits import InterruptedRunError

    error = returned._return_value  # the property of that name writes to stderr by itself
    if returned.status is JobStatus.FAILED and not isinstance(error, InterruptedRunError):
        log.warning("a job ended with %s: %s", type(error).__name__, error)


def _warn(error: Exception) -> None:
    log.warning("the launcher ended with %s: %s", type(error).__name__, error)
