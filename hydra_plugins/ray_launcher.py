"""``hydra/launcher=ray``: one Ray task a job, on any number of nodes that share the store.

Not hydra-ray-launcher. Measured (1.2.2 with Ray 2.60): a killed job runs four times and then raises, and a
running cluster refuses its ``object_store_memory``. Read: it waits with ``[ray.get(run) for run in runs]``,
so what raises ends the driver and with it the other jobs; nothing passes Ctrl-C on; it pins cloudpickle < 3.
Scheduling, placement and the detection of dead nodes stay Ray's.

Hydra imports every plugin at start-up, so nothing heavy is imported at the top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import ClassVar

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins._launcher import TreeLauncher, WorkArguments


class RayLauncher(TreeLauncher):
    """Hydra's launcher interface on top of :mod:`bitnet_sweep.sweep.on_ray`."""

    trains_here: ClassVar[bool] = False

    def __init__(self, address: str | None, num_cpus: float, num_gpus: float | None) -> None:
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra.

        Raises:
            ConfigError: a value is wrong.
        """
        from bitnet_sweep.config import ConfigError

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if type(self.address) not in (str, NoneType):
            allowed = "must be HOST:PORT, ray://HOST:PORT, auto, local or null"
            raise ConfigError("hydra.launcher.address", self.address, allowed)
        if not _is_quantity(self.num_cpus):
            raise ConfigError("hydra.launcher.num_cpus", self.num_cpus, f"must be {_QUANTITY}")
        if self.num_gpus is not None and not _is_quantity(self.num_gpus, whole_above=1):
            allowed = f"must be {_QUANTITY}, whole above 1, or null (one wherever the cluster has any)"
            raise ConfigError("hydra.launcher.num_gpus", self.num_gpus, allowed)

    def require_backend(self) -> None:
        """Raises: ConfigError: Ray is not installed, or no cluster answers at the address."""
        import_module("bitnet_sweep.sweep.on_ray").answering(self.address)

    def _run(self, jobs: Sequence[WorkArguments], after: Sequence[int | None]) -> Sequence[int | None]:
        """Raises: ConfigError: there is no cluster at the address."""
        from bitnet_sweep.sweep.cluster import run_on_cluster
        from bitnet_sweep.sweep.on_ray import RayCluster
        from bitnet_sweep.sweep.signals import stop_request

        stop = stop_request()
        use_gpus = self.config.device.name != "cpu"
        num_gpus = self.num_gpus if use_gpus else 0
        cluster = RayCluster(self.address, jobs, Path.cwd(), self.num_cpus, num_gpus)
        stop.listen()  # starting Ray put its own handlers in place
        return run_on_cluster(cluster, after, stop)


_QUANTITY = "0 or a number of at least 0.0001"


def _is_quantity(value: float, whole_above: float = math.inf) -> bool:
    """What Ray takes, which says so only once a job is submitted."""
    is_number = type(value) in (int, float) and (value == 0 or 1e-4 <= value < math.inf)
    return is_number and (value <= whole_above or value % 1 == 0)
