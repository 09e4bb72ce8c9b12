"""``hydra/launcher=ray``: one Ray task a job, on any number of nodes that share the store.

Not hydra-ray-launcher. Measured (1.2.2 with Ray 2.60): a killed job runs four times and then raises, and a
running cluster refuses its ``object_store_memory``. Read: it waits with ``[ray.get(run) for run in runs]``,
so what raises ends the driver and with it the other jobs; nothing passes Ctrl-C on; it pins cloudpickle < 3.
Scheduling, placement and the detection of dead nodes stay Ray's.

Hydra imports every plugin at start-up, so nothing heavy is imported at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra_plugins._launcher import Job, TreeLauncher


class RayLauncher(TreeLauncher):
    """Hydra's launcher interface on top of :mod:`bitnet_sweep.sweep.on_ray`."""

    def __init__(self, address: str | None, num_cpus: float, num_gpus: float | None) -> None:
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus

    def _run(self, jobs: Sequence[Job], after: Sequence[int | None]) -> Sequence[int | None]:
        """Raises: ConfigError: Ray is not installed, or there is no cluster at the address."""
        from bitnet_sweep.sweep.cluster import run_on_cluster
        from bitnet_sweep.sweep.on_ray import RayCluster
        from bitnet_sweep.sweep.signals import stop_request

        stop = stop_request()
        use_gpus = self.config.device.name != "cpu"
        num_gpus = self.num_gpus if use_gpus else 0
        cluster = RayCluster(self.address, jobs, Path.cwd(), self.num_cpus, num_gpus)
        stop.listen()  # starting Ray put its own handlers in place
        return run_on_cluster(cluster, after, stop)
