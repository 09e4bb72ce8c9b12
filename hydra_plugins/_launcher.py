"""What our launchers share: Hydra's interface on one side, jobs that wait for their trunk on the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

Job = tuple[HydraContext, TaskFunction, DictConfig]
"""The arguments of :func:`bitnet_sweep.sweep.worker.work`."""


class TreeLauncher(Launcher):
    """A launcher that starts a job as soon as the one it comes after has ended well."""

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
        setup_globals()
        jobs = [
            (self.hydra_context, self.task_function, self._compose(overrides, initial_job_idx + i))
            for i, overrides in enumerate(job_overrides)
        ]
        returns = []
        for overrides, status in zip(job_overrides, self._run(jobs, after), strict=True):
            returned = JobReturn(overrides=list(overrides))
            returned.status = JobStatus.COMPLETED if status == 0 else JobStatus.FAILED
            returned.return_value = None if status == 0 else RuntimeError(f"exit status {status}")
            returns.append(returned)
        return returns

    @abstractmethod
    def _run(self, jobs: Sequence[Job], after: Sequence[int | None]) -> Sequence[int | None]:
        """Run each job once the one it comes after has ended well.

        Returns:
            Exit status by job; None where it was not started.
        """

    def _compose(self, overrides: Sequence[str], index: int) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
        return config
