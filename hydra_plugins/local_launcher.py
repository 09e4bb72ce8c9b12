"""``hydra/launcher=local``: one process a job, N at once, on this machine.

Hydra imports every plugin at start-up, so nothing heavy is imported at the top.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins._launcher import TreeLauncher, WorkArguments


class LocalLauncher(TreeLauncher):
    """Hydra's launcher interface on top of :mod:`bitnet_sweep.sweep.pool`."""

    def __init__(self, n_jobs: object) -> None:
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra.

        Raises:
            ConfigError: ``n_jobs`` is no number of processes.
        """
        from bitnet_sweep.config import ConfigError

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if self.n_jobs is not None and (type(self.n_jobs) is not int or self.n_jobs < 1):
            allowed = "must be a whole number, 1 or more, or null (one for each core)"
            raise ConfigError("hydra.launcher.n_jobs", self.n_jobs, allowed)

    def require_backend(self) -> None:
        """Raises: ConfigError: processes cannot talk to one another here."""
        from bitnet_sweep.sweep.sockets import prepare_sockets

        prepare_sockets()

    def _run(self, jobs: Sequence[WorkArguments], after: Sequence[int | None]) -> Sequence[int | None]:
        from bitnet_sweep.sweep.pool import run_pool
        from bitnet_sweep.sweep.signals import stop_request
        from bitnet_sweep.sweep.worker import work

        return run_pool(work, jobs, after, self.jobs_at_once(), stop_request())

    def jobs_at_once(self) -> int:
        """How many processes run side by side."""
        from bitnet_sweep.sweep.pool import cuda_devices

        if isinstance(self.n_jobs, int):
            return self.n_jobs
        devices = [] if self.config.device.name == "cpu" else cuda_devices()
        threads = max(1, int(self.config.threads))  # the config's own check, which comes later, refuses a 0
        return len(devices) or max(1, _cores() // threads)


def _cores() -> int:
    """Those this process may use, as far as the system tells."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
