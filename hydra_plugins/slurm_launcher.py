"""``hydra/launcher=slurm``: one SLURM job for each of ours, submitted as arrays through submitit.

Not hydra-submitit-launcher. Measured (1.2.0 with submitit 1.5): preemption's SIGTERM is bypassed, so that
the steps since the last checkpoint are lost, and with a time limit of at most 10 minutes every SIGUSR2
counts as a timeout, after which nothing is requeued. Read: it collects ``job.results()`` one by one, so the
first job that died raises and nobody waits for the others; job states come from ``sacct`` alone, so without
accounting a killed job is waited for for ever; nothing passes Ctrl-C on.

Hydra imports every plugin at start-up, so nothing heavy is imported at the top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins._launcher import TreeLauncher, WorkArguments


class SlurmLauncher(TreeLauncher):
    """Hydra's launcher interface on top of :mod:`bitnet_sweep.sweep.on_slurm`.

    Args:
        folder: for job scripts and logs; every node must see it.
        poll_seconds: between two calls of ``squeue``.
        parameters: what submitit's SlurmExecutor takes; null leaves one out.
    """

    trains_here: ClassVar[bool] = False

    def __init__(self, folder: str, poll_seconds: float, **parameters: Any) -> None:
        from bitnet_sweep.config import path_text

        self.folder = Path(path_text("hydra.launcher.folder", folder)).absolute()
        self.poll_seconds = poll_seconds
        self.parameters = {
            key: OmegaConf.to_container(value) if isinstance(value, DictConfig) else value
            for key, value in parameters.items()
            if value is not None
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra.

        Raises:
            ConfigError: a value is wrong.
        """
        from bitnet_sweep.config import ConfigError

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if type(self.poll_seconds) not in (int, float) or not 0 < self.poll_seconds < math.inf:
            allowed = "must be a number of seconds, greater than 0"
            raise ConfigError("hydra.launcher.poll_seconds", self.poll_seconds, allowed)

    def require_backend(self) -> None:
        """Raises: ConfigError: submitit or SLURM is not there."""
        from bitnet_sweep.sweep.on_slurm import new_executor

        new_executor(self.folder, self.parameters)

    def _run(self, jobs: Sequence[WorkArguments], after: Sequence[int | None]) -> Sequence[int | None]:
        """Raises: ConfigError: SLURM refuses the very first jobs."""
        from bitnet_sweep.sweep.cluster import run_on_cluster
        from bitnet_sweep.sweep.on_slurm import SlurmCluster
        from bitnet_sweep.sweep.signals import stop_request

        cluster = SlurmCluster(jobs, self.folder, self.poll_seconds, self.parameters)
        return run_on_cluster(cluster, after, stop_request())
