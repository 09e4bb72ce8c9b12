"""Jobs as Ray tasks, each in a process of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep.ending import EXIT_FAILED, EXIT_INTERRUPTED
from bitnet_sweep.sweep.worker import work

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

try:
    import ray
except ImportError as error:
    raise ConfigError("hydra/launcher", "ray", "needs Ray: pip install 'bitnet-sweep[ray]'") from error

CONNECT_SECONDS = 10.0


class RayCluster:
    """The running tasks of one sweep; see :class:`bitnet_sweep.sweep.cluster.Cluster`.

    Args:
        address: of a running cluster; None takes RAY_ADDRESS, else the one ``ray start`` began on this
            machine, else begins one that ends with the sweep.
        jobs: the arguments of ``work`` for each; looked up when it is submitted.
        folder: where a job works; relative paths of its config start there.
        num_cpus: of each job.
        num_gpus: of each job; None takes one wherever the cluster has any.

    Raises:
        ConfigError: no cluster answers at the address.
    """

    poll_seconds = 0.2
    max_batch = 1

    def __init__(
        self,
        address: str | None,
        jobs: Sequence[tuple[Any, ...]],
        folder: Path,
        num_cpus: float,
        num_gpus: float | None,
    ) -> None:
        try:
            _check_reachable(address)
            ray.init(
                address=address, include_dashboard=False, ignore_reinit_error=True, logging_level="ERROR"
            )
        except (OSError, RuntimeError, ValueError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ConfigError(
                "hydra.launcher.address", address, f"no Ray cluster answers there ({first_line})"
            ) from error
        if num_gpus is None:
            num_gpus = 1 if ray.cluster_resources().get("GPU") else 0
        # One process a task: signal handlers, threads and allocator settings are the process's own. No
        # blind retries: sweep.max_retries decides.
        self._task = ray.remote(max_calls=1, max_retries=0, num_cpus=num_cpus, num_gpus=num_gpus)(_work_in)
        self._jobs, self._folder = jobs, folder
        self._running: dict[Any, int] = {}
        self._cancelled: set[int] = set()

    def submit(self, jobs: Sequence[int]) -> None:
        """See Cluster."""
        for job in jobs:
            self._running[self._task.remote(self._folder, *self._jobs[job])] = job

    def ended(self) -> dict[int, int]:
        """See Cluster; a task whose process or node died has failed."""
        tasks = list(self._running)
        done, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0)
        return {self._running.pop(task): _exit_status(task) for task in done}

    def interrupt(self) -> None:
        """See Cluster; Ray raises SIGINT's handler in the task, once: a second time would end it at once."""
        for task, job in self._running.items():
            if job not in self._cancelled:
                self._cancelled.add(job)
                ray.cancel(task)


def _check_reachable(address: str | None) -> None:
    """Ray itself tries for minutes. Raises OSError, or ValueError where ``HOST:PORT`` is not one."""
    if address is not None and address not in ("auto", "local") and "://" not in address:
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _work_in(folder: Path, *arguments: Any) -> int:
    os.chdir(folder)
    return work(*arguments)


def _exit_status(task: Any) -> int:
    try:
        return int(ray.get(task))
    except ray.exceptions.TaskCancelledError:
        return EXIT_INTERRUPTED
    except ray.exceptions.RayError as error:
        first_line = str(error).strip().partition("\n")[0]
        print(f"bitnet_sweep: Ray lost a job: {first_line}", flush=True)
        return EXIT_FAILED
