"""Jobs as Ray tasks, each in a process of its own."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep.exits import EXIT_FAILED, EXIT_INTERRUPTED
from bitnet_sweep.sweep.sockets import prepare_sockets_of_ray
from bitnet_sweep.sweep.worker import work

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

try:
    import ray
    from ray._private.utils import read_ray_address
except ImportError as error:
    raise ConfigError("hydra/launcher", "ray", "needs Ray: pip install 'bitnet-sweep[ray]'") from error

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""The longest wait for the first answer of what listens at an address, loading Ray included (assumed)."""

_ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


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
        ConfigError: as of :func:`answering`, or the cluster does not take us.
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
            ray.init(
                address=answering(address),
                include_dashboard=False,
                ignore_reinit_error=True,
                logging_level="ERROR",
            )
        except (OSError, RuntimeError, ValueError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ConfigError(*_told(address), f"no Ray cluster answers there ({first_line})") from error
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


@functools.cache
def answering(address: str | None) -> str | None:
    """What to hand to ``ray.init``, once a cluster has answered where ``address`` or RAY_ADDRESS points.

    Ray itself tries for minutes and hears no signal meanwhile, so it is asked in a process that can be ended.
    A cluster that `ray start` noted on this machine and that is gone is passed over, unless asked for.

    Raises:
        ConfigError: none answers.
    """
    prepare_sockets_of_ray()
    key, named = _told(address)
    noted = read_ray_address() if named in (None, "auto") else None
    asked = noted or (named if named not in (None, "auto", "local") else None)
    if asked is None:
        return named
    try:
        _check(asked, was_noted=bool(noted))
    except (OSError, ValueError) as error:
        if named is not None:
            raise ConfigError(key, named, f"no Ray cluster answers there ({error})") from error
        print(f"bitnet_sweep: Ray at {asked} is gone; one is begun for this sweep", flush=True)
        return "local"
    return named


def _told(address: str | None) -> tuple[str, str | None]:
    """The address that Ray would take, and what the user calls it."""
    variable = os.environ.get("RAY_ADDRESS", "").strip()
    if variable and address in (None, "auto"):
        return "RAY_ADDRESS", variable
    return "hydra.launcher.address", address


def _check(address: str, was_noted: bool) -> None:
    """Ask whether Ray answers there.

    Args:
        address: as Ray takes it.
        was_noted: by ``ray start`` on this machine. Then Ray brings its token by itself, and else never.

    Raises:
        OSError: nothing answers.
        ValueError: ``address`` is not ``HOST:PORT``, it wants a token, or what listens there is not Ray.
    """
    scheme, _, place = address.rpartition("://")
    host, colon, port = place.partition("/")[0].rpartition(":")
    if scheme not in ("", "ray") or not colon or not port.isdecimal():
        raise ValueError("must be HOST:PORT, ray://HOST:PORT, auto or local")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    if scheme:  # Ray's own server for clients, where Ray waits half a minute and not longer
        return
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, place], capture_output=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"what listens there says nothing for {ANSWER_SECONDS:g} s") from error
    wants_token = b"AuthenticationError" in asked.stderr
    if wants_token and not was_noted:
        raise ValueError("it wants its token: set RAY_AUTH_MODE=token, as where it was started")
    if asked.returncode and not wants_token:
        raise ValueError("what listens there is not Ray")


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
