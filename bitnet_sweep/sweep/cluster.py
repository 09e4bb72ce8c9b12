"""The loop over jobs that a cluster runs: arms wait for their trunk, preempted jobs go again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep.exits import EXIT_FAILED, EXIT_INTERRUPTED
from bitnet_sweep.sweep.job_queue import ReadyJobs
from bitnet_sweep.sweep.signals import StopRequest

MAX_PREEMPTIONS = 100
"""A job interrupted more often has failed: a time limit too short for a single step must not loop for ever
(assumed; a checkpoint costs seconds)."""
_STOP_POLL_SECONDS = 0.2


class Cluster(Protocol):
    """Where jobs run. Jobs are known by their place in the list that the launcher was given."""

    poll_seconds: float
    """Between two looks at the jobs."""
    max_batch: int
    """Jobs in one call of ``submit``; between two calls a request to stop is heard."""

    def submit(self, jobs: Sequence[int]) -> None:
        """Hand over jobs that may start now, in the order in which they should.

        Raises:
            ConfigError: the cluster takes no jobs like these.
        """

    def ended(self) -> Mapping[int, int]:
        """Exit status of each job that has ended since the last call; a job that died has a status too."""

    def interrupt(self) -> None:
        """Ask every job to checkpoint and end; called at each poll until all have ended.

        More than once, because a job that is just starting cannot hear it yet.
        """


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

    Raises:
        ConfigError: the cluster takes no jobs like these.
    """
    statuses: list[int | None] = [None] * len(after)
    ready = ReadyJobs(after)
    running: set[int] = set()
    preemptions: Counter[int] = Counter()
    while True:
        running.update(_submit(cluster, ready.pop_all(), stop))
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


def _submit(cluster: Cluster, jobs: Sequence[int], stop: StopRequest) -> list[int]:
    """Hand over jobs until asked to stop; returns those that the cluster now has."""
    submitted: list[int] = []
    for start in range(0, len(jobs), cluster.max_batch):
        if stop:
            break
        batch = jobs[start : start + cluster.max_batch]
        try:
            cluster.submit(batch)
        except ConfigError:
            if stop:  # Ctrl-C reaches the command that submits, too
                break
            raise
        submitted.extend(batch)
    return submitted


def _sleep(seconds: float, stop: StopRequest) -> None:
    """Sleep; being asked to stop meanwhile ends it in a moment, having been asked before does not."""
    end = time.monotonic() + seconds
    asked_before = bool(stop)
    while (left := end - time.monotonic()) > 0 and bool(stop) == asked_before:
        time.sleep(min(left, _STOP_POLL_SECONDS))
