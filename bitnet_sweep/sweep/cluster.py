"""The loop over jobs that a cluster runs: arms wait for their trunk, preempted jobs go again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from bitnet_sweep.sweep.ending import EXIT_FAILED, EXIT_INTERRUPTED
from bitnet_sweep.sweep.ready import ReadyJobs
from bitnet_sweep.sweep.signals import StopRequest

MAX_PREEMPTIONS = 100
"""A job interrupted more often has failed: a time limit too short for a single step must not loop for ever
(assumed; a checkpoint costs seconds)."""
_STOP_POLL_SECONDS = 0.2


class Cluster(Protocol):
    """Where jobs run. Jobs are known by their place in the list that the launcher was given."""

    poll_seconds: float
    """Between two looks at the jobs."""

    def submit(self, jobs: Sequence[int]) -> None:
        """Hand over jobs that may start now, in the order in which they should."""

    def ended(self) -> Mapping[int, int]:
        """Exit status of each job that has ended since the last call; a job that died has a status too."""

    def interrupt(self) -> None:
        """Ask every job to checkpoint and end; called at each poll until all have ended."""


def run_on_cluster(cluster: Cluster, after: Sequence[int | None], stop: StopRequest) -> list[int | None]:
    """Run every job, each once the one it comes after has ended well.

    A job that ends as interrupted although nobody here asked it to was preempted, or met its time limit:
    it is handed over again and goes on from its checkpoint.

    Args:
        cluster: takes the jobs.
        after: for each job the one that must have ended well before it starts, or None.
        stop: once requested nothing more starts, and the running jobs are asked to end.

    Returns:
        Exit status by job; None where it was not started.
    """
    statuses: list[int | None] = [None] * len(after)
    ready = ReadyJobs(after)
    running: set[int] = set()
    preemptions: Counter[int] = Counter()
    while True:
        if ready and not stop:
            jobs = ready.pop_all()
            cluster.submit(jobs)
            running.update(jobs)
        if not running:
            return statuses
        if stop:
            cluster.interrupt()
        _sleep(cluster.poll_seconds, stop)
        for job, status in cluster.ended().items():
            running.remove(job)
            if status == EXIT_INTERRUPTED and not stop:
                preemptions[job] += 1
                if preemptions[job] <= MAX_PREEMPTIONS:
                    ready.push(job)
                    continue
                status = EXIT_FAILED
            statuses[job] = status
            if status == 0:
                ready.ended_well(job)


def _sleep(seconds: float, stop: StopRequest) -> None:
    """Sleep, but no longer than a moment once asked to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _STOP_POLL_SECONDS))
        if stop:
            return
