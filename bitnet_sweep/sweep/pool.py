"""N processes at once, one for each job: a job that dies takes no other with it.

Existing launchers were measured and fall short here: joblib's kills the siblings of a
killed worker and loses the jobs behind it, submitit's local executor has no cap on parallel jobs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import takewhile
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bitnet_sweep.pipes import go_on_unread
from bitnet_sweep.sweep.exits import EXIT_INTERRUPTED
from bitnet_sweep.sweep.job_queue import ReadyJobs
from bitnet_sweep.sweep.signals import StopRequest
from bitnet_sweep.workload.find import MODULES

POLL_SECONDS = 0.2
PRELOAD = ["bitnet_sweep.sweep.job", *MODULES]
"""Imported once by the server that workers are forked from, so that a job does not pay for torch."""


def run_pool(
    target: Callable[..., int],
    arguments: Sequence[tuple[Any, ...]],
    after: Sequence[int | None],
    slots: int,
    stop: StopRequest,
) -> list[int | None]:
    """Call ``target(*arguments[i])`` in a process of its own for each i, ``slots`` at once, in order.

    Args:
        target: importable; returns the exit status.
        arguments: of each job; picklable, and looked up when it starts.
        after: the job that must have ended well before this one starts, or None.
        slots: how many processes at once.
        stop: once requested nothing more starts, and the running jobs get one SIGINT.

    Returns:
        Exit status by job (negative: killed by that signal); None where it was not started.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    ready = ReadyJobs(after)
    running: dict[int, BaseProcess] = {}
    statuses: list[int | None] = [None] * len(arguments)
    free = list(range(slots))
    slot_of: dict[int, int] = {}
    asked_to_stop = False
    while True:
        while ready and free and not stop:
            job = ready.pop()
            slot_of[job] = free.pop(0)
            worker: BaseProcess = context.Process(target=_work, args=(slot_of[job], target, arguments[job]))
            worker.start()
            running[job] = worker
        if not running:
            return statuses
        wait([worker.sentinel for worker in running.values()], timeout=POLL_SECONDS)
        if stop and not asked_to_stop:
            asked_to_stop = True
            for worker in running.values():
                _interrupt(worker)
        for job, worker in list(running.items()):
            if worker.exitcode is not None:
                worker.join()
                statuses[job] = worker.exitcode
                if worker.exitcode == 0:
                    ready.ended_well(job)
                del running[job]
                free.append(slot_of.pop(job))


def _interrupt(worker: BaseProcess) -> None:
    if worker.pid is not None and worker.exitcode is None:
        os.kill(worker.pid, signal.SIGINT)


def _work(slot: int, target: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    """The life of a worker: its own process group, so that Ctrl-C reaches it only through the sweep."""
    os.setpgrp()
    go_on_unread()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    devices = cuda_devices()
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    try:
        raise SystemExit(target(*arguments))
    except KeyboardInterrupt:  # asked to stop before the job could listen
        raise SystemExit(EXIT_INTERRUPTED) from None


def _die_with_parent() -> None:
    """However the sweep ends, no worker outlives it; every file is whole at every moment."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def cuda_devices() -> list[str]:
    """The CUDA devices this process may use, found without starting CUDA (which forbids forking)."""
    if version("torch").endswith("+cpu"):  # a build that uses none, whatever the machine has
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:  # for CUDA the list ends before the first one that cannot be: -1 means none
        return list(takewhile(lambda device: device and not device.startswith("-"), visible.split(",")))
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
