"""``hydra/launcher=local``: one process a job, N at once, on this machine.

Hydra imports every plugin at start-up, so nothing heavy is imported at the top.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class LocalLauncher(Launcher):
    """Hydra's launcher interface on top of :mod:`bitnet_sweep.sweep.pool`."""

    def __init__(self, n_jobs: int | None) -> None:
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config: DictConfig = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run independent jobs; a failed one is marked as failed and takes no other with it."""
        return self.launch_after(job_overrides, [None] * len(job_overrides), initial_job_idx)

    def launch_after(
        self,
        job_overrides: Sequence[Sequence[str]],
        after: Sequence[int | None],
        initial_job_idx: int = 0,
    ) -> Sequence[JobReturn]:
        """Run jobs in order, each once the job it comes after has ended well."""
        from bitnet_sweep.sweep.pool import run_pool
        from bitnet_sweep.sweep.signals import stop_request
        from bitnet_sweep.sweep.worker import work

        setup_globals()
        jobs = [
            (self.hydra_context, self.task_function, self._compose(overrides, initial_job_idx + i))
            for i, overrides in enumerate(job_overrides)
        ]
        statuses = run_pool(work, jobs, after, self.jobs_at_once(), stop_request())
        returns = []
        for overrides, status in zip(job_overrides, statuses, strict=True):
            returned = JobReturn(overrides=list(overrides))
            returned.status = JobStatus.COMPLETED if status == 0 else JobStatus.FAILED
            returned.return_value = None if status == 0 else RuntimeError(f"exit status {status}")
            returns.append(returned)
        return returns

    def _compose(self, overrides: Sequence[str], index: int) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
        return config

    def jobs_at_once(self) -> int:
        """How many processes run side by side."""
        from bitnet_sweep.sweep.pool import cuda_devices

        if self.n_jobs is not None:
            return max(1, self.n_jobs)
        cores = len(os.sched_getaffinity(0)) // int(self.config.threads)
        return max(1, len(cuda_devices()) if self.config.device.name != "cpu" and cuda_devices() else cores)
