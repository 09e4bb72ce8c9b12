"""Jobs as SLURM jobs: submitit writes and submits them, ``squeue`` says which have ended.

A job that SLURM preempts, or whose time is nearly up, is told by SIGTERM or SIGUSR2: it checkpoints and
ends, and is submitted again. One that gets no time to do so SLURM requeues itself; it goes on from its
newest checkpoint.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitnet_sweep.config import ConfigError
from bitnet_sweep.exact import counted
from bitnet_sweep.sweep.exits import EXIT_FAILED, EXIT_INTERRUPTED
from bitnet_sweep.sweep.signals import stop_request
from bitnet_sweep.sweep.worker import work

try:
    import submitit
    from submitit.core.utils import FailedJobError, pickle_load
except ImportError as error:
    raise ConfigError(
        "hydra/launcher", "slurm", "needs submitit: pip install 'bitnet-sweep[slurm]'"
    ) from error

log = logging.getLogger(__name__)

RESULT_SECONDS = 10.0
"""How long a shared file system may take to show the result of a job that has ended (assumed)."""


_OF_AN_ALLOCATION = ("SLURM_", "SLURMD_", "SALLOC_", "SBATCH_", "SRUN_", "SQUEUE_", "SCANCEL_")
_WHERE_SLURM_IS = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"}
_IN_THE_CONFIG = {"SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS"}
"""What conf/hydra/launcher/slurm.yaml takes them for, unless the command says otherwise."""


class SlurmCluster:
    """The SLURM jobs of one sweep; see :class:`bitnet_sweep.sweep.cluster.Cluster`.

    Args:
        jobs: the arguments of ``work`` for each; looked up when it is submitted.
        folder: for job scripts, logs and results; every node must see it.
        poll_seconds: between two calls of ``squeue``.
        parameters: of submitit's SlurmExecutor.

    Raises:
        ConfigError: as of :func:`new_executor`.
    """

    max_batch = 1000
    """Jobs in one array; SLURM's default limit, MaxArraySize, is one above the largest index, 1001."""

    def __init__(
        self, jobs: Sequence[tuple[Any, ...]], folder: Path, poll_seconds: float, parameters: dict[str, Any]
    ) -> None:
        self.poll_seconds = poll_seconds
        self._executor = new_executor(folder, parameters)
        self._jobs = jobs
        self._running: dict[int, submitit.Job[int]] = {}
        self._unlisted_since: dict[int, float] = {}
        self._refused: list[int] = []
        self._accepted_any = False
        self._interrupted = False

    def submit(self, jobs: Sequence[int]) -> None:
        """See Cluster; the jobs make an array.

        Raises:
            ConfigError: SLURM refuses the very first ones; later on those that it refuses have failed.
        """
        try:
            submitted = self._executor.map_array(
                work_under_slurm, *zip(*(self._jobs[job] for job in jobs), strict=True)
            )
        except FailedJobError as error:
            message = " ".join(str(error).split())
            if not self._accepted_any:
                raise ConfigError("hydra.launcher", "?", message) from error
            print(f"bitnet_sweep: SLURM refuses {counted(len(jobs), 'job')}: {message}", flush=True)
            self._refused.extend(jobs)
            return
        self._accepted_any = True
        self._running.update(zip(jobs, submitted, strict=True))

    def ended(self) -> dict[int, int]:
        """See Cluster; a job that left no result (killed, out of memory) has failed."""
        listed = _listed_jobs()
        if listed is None:
            return {}  # the controller is busy or being restarted
        statuses = dict.fromkeys(self._refused, EXIT_FAILED)
        self._refused.clear()
        for number, job in self._running.items():
            if job.job_id in listed:
                self._unlisted_since.pop(number, None)
            elif job.paths.result_pickle.exists():
                statuses[number] = _exit_status(job)
            elif self._interrupted:
                statuses[number] = EXIT_INTERRUPTED
            elif (
                time.monotonic() - self._unlisted_since.setdefault(number, time.monotonic()) > RESULT_SECONDS
            ):
                print(f"bitnet_sweep: SLURM lost job {job.job_id}; see {job.paths.stderr}", flush=True)
                statuses[number] = EXIT_FAILED
        for number in statuses:
            self._running.pop(number, None)
            self._unlisted_since.pop(number, None)
        return statuses

    def interrupt(self) -> None:
        """See Cluster; asking twice does no harm to a job that is saving."""
        self._interrupted = True
        ids = [job.job_id for job in self._running.values()]
        if not ids:
            return  # without one, scancel takes every pending job of the user
        for how in (["--state=PENDING"], ["--signal=TERM"]):
            subprocess.run(["scancel", "--quiet", *how, *ids], check=False)  # noqa: S607


def leave_out_allocation() -> None:
    """A job is what ``hydra.launcher`` says: nothing of the allocation that this command runs in reaches it.

    SLURM's commands take options from variables, before those of a job's script (SBATCH_TIMELIMIT), and so
    does ``srun`` in a job that inherits them (SLURM_CPU_BIND). What a user has set of the former is told.
    """
    found = {name for name in os.environ if name.startswith(_OF_AN_ALLOCATION)} - _WHERE_SLURM_IS
    told = sorted(name for name in found - _IN_THE_CONFIG if name.startswith("SBATCH_"))
    for name in found:
        del os.environ[name]
    if told:
        log.warning("SLURM: left out: %s; what jobs ask for is said by hydra.launcher", ", ".join(told))


def new_executor(folder: Path, parameters: dict[str, Any]) -> submitit.SlurmExecutor:
    """What submits jobs; see :class:`SlurmCluster` for the arguments. Nothing is written yet.

    Raises:
        ConfigError: this machine has no SLURM, or submitit does not know a parameter.
    """
    leave_out_allocation()
    try:
        executor = submitit.SlurmExecutor(folder)
    except RuntimeError as error:
        raise ConfigError("hydra/launcher", "slurm", "sbatch and srun are not on this machine") from error
    try:
        executor.update_parameters(**parameters)
    except (NameError, ValueError) as error:
        raise ConfigError("hydra.launcher", "?", " ".join(str(error).split())) from error
    return executor


def work_under_slurm(*arguments: Any) -> int:
    """One job on its node. However many signals come, they ask it to stop: what takes too long SLURM ends."""
    stop = stop_request()
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: stop.ask())
    return work(*arguments)


def _listed_jobs() -> set[str] | None:
    """The ids of the user's jobs that wait, run or are completing; None where SLURM does not answer."""
    listing = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i", "--me"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return set(listing.stdout.split()) if listing.returncode == 0 else None


def _exit_status(job: submitit.Job[int]) -> int:
    outcome, result = pickle_load(job.paths.result_pickle)
    if outcome == "success":
        return int(result)
    print(f"bitnet_sweep: SLURM job {job.job_id}: {result}", flush=True)
    return EXIT_FAILED
