"""Who may write a folder: one process at a time, found out at once when it has died.

On one host the operating system's file lock decides; it is gone the moment its owner dies. Where a
shared file system does not carry locks across hosts, a heartbeat file decides: another host's lease
stands until its heartbeat is ``HEARTBEAT_LIMIT`` seconds old.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from bitnet_sweep import files

HEARTBEAT_EVERY = 2.0
"""Seconds between heartbeats: what a live display of the store can show."""
HEARTBEAT_LIMIT = 60.0
"""Seconds after which another host's silent owner counts as dead (assumed; DESIGN asks for at most 60)."""
CLOCK_SLACK = 1.0
"""Seconds by which a process's start, counted from boot, may differ from the wall clock (assumed)."""


class HeldError(Exception):
    """Another living process has the lease."""


class Lease:
    """A held lease; tell it of progress, and it keeps the heartbeat file fresh."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write({})
        self._last = 0.0  # the first progress is shown at once

    def beat(self, progress: dict[str, Any], every: float = 0.0) -> None:
        """Write the heartbeat if the last one is ``every`` seconds old."""
        if time.time() - self._last >= every:
            self._last = time.time()
            self._write(progress)

    def _write(self, progress: dict[str, Any]) -> None:
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time()}
        files.write_json(self._path, owner | progress)


@contextmanager
def lease(folder: Path) -> Iterator[Lease]:
    """Hold the lease of ``folder``.

    Raises:
        HeldError: another process of this host has it, or one of another host did within the last minute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lease.lock", timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise HeldError(str(folder)) from None
    try:
        owner = read_lease(folder)
        if owner and owner["host"] != socket.gethostname():
            age = time.time() - float(owner["heartbeat"])
            if age < HEARTBEAT_LIMIT:
                raise HeldError(f"{folder}: by {owner['host']}, {age:.0f} s ago")
        held = Lease(folder / "lease.json")
        try:
            yield held
        finally:
            (folder / "lease.json").unlink(missing_ok=True)
    finally:
        lock.release()


def read_lease(folder: Path) -> dict[str, Any] | None:
    """The heartbeat of the folder's owner (host, pid, heartbeat, progress), if there is one."""
    try:
        document = files.read_json(folder / "lease.json")
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def is_alive(owner: dict[str, Any] | None) -> bool:
    """Whether the process that wrote this heartbeat still lives, found without touching the lock.

    Nobody is not alive.

    On this host its process must be there and be older than the heartbeat: a younger one was merely
    given the same number. Trying the lock instead would make a job that comes at that moment believe
    it held. Of another host's process only the age of the heartbeat is known.
    """
    if owner is None:
        return False
    heartbeat = float(owner["heartbeat"])
    if owner["host"] != socket.gethostname():
        return time.time() - heartbeat < HEARTBEAT_LIMIT
    try:
        process = psutil.Process(int(owner["pid"]))
        is_younger = process.create_time() > heartbeat + CLOCK_SLACK
        return not is_younger and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
