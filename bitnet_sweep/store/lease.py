"""Who may write a folder: one process at a time, found out at once when it has died.

On one host the operating system's file lock decides; it is gone the moment its owner dies. Where a
shared file system does not carry locks across hosts, a heartbeat file decides: another host's lease
stands until its heartbeat is ``HEARTBEAT_LIMIT`` seconds old.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from bitnet_sweep import files

HEARTBEAT_EVERY = 2.0
"""Seconds between heartbeats: what a live display of the store can show."""
HEARTBEAT_LIMIT = 60.0
"""Seconds after which another host's silent owner counts as dead (assumed)."""
CLOCK_SLACK = 1.0
"""Seconds by which a process's start, counted from boot, may differ from the wall clock (assumed)."""


class HeldError(Exception):
    """Another living process has the lease."""


class LostError(Exception):
    """Another host took the lease over: this process had been silent for too long (suspended, cut off)."""


class Lease:
    """A held lease; a thread keeps its heartbeat file fresh, however long a step takes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Hosts in containers may share their names and numbers: the token alone says whose a file is.
        self._owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
        self._progress: dict[str, Any] = {}
        self._wake = threading.Event()
        self._released = False
        self._lost = False
        self._write()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()

    def beat(self, progress: dict[str, Any]) -> None:
        """Have the heartbeats show this; the first progress shows at once, the next ones in their time.

        Raises:
            LostError: another host has the lease or had it meanwhile; nothing may be written any more.
        """
        if time.time() - self._written > HEARTBEAT_LIMIT and not self._is_mine():
            self._lost = True  # suspended until now, and the heart has not looked yet
        if self._lost:
            raise LostError(f"{self._path.parent}: another host took it over")
        first = not self._progress
        self._progress = progress
        if first:
            self._wake.set()

    def release(self) -> None:
        """Stop beating and take the file away, unless it is another's by now."""
        self._released = True
        self._wake.set()
        self._thread.join()
        if self._is_mine():
            self._path.unlink(missing_ok=True)

    def _keep_beating(self) -> None:
        while True:
            self._wake.wait(HEARTBEAT_EVERY)
            self._wake.clear()
            if self._released:
                return
            with suppress(OSError):  # a full disk; training has more to say about it
                if not self._is_mine():
                    self._lost = True
                    return
                self._write()

    def _is_mine(self) -> bool:
        """Not when the file is gone, either: whoever took it over may be through by now."""
        owner = read_lease(self._path.parent)
        return owner is not None and owner.get("token") == self._owner["token"]

    def _write(self) -> None:
        now = time.time()
        files.write_json(self._path, self._owner | {"heartbeat": now} | self._progress)
        self._written = now


@contextmanager
def lease(folder: Path) -> Iterator[Lease]:
    """Hold the lease of ``folder``; what a killed owner had half written there is removed.

    Raises:
        HeldError: another process of this host has it, or one of another host did within the last minute.
        OSError: the folder cannot be written or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lease.lock", timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise HeldError(str(folder)) from None
    try:
        owner = read_lease(folder)
        if owner and owner["host"] != socket.gethostname() and is_alive(owner):
            raise HeldError(f"{folder}: by {owner['host']}")
        for temporary in files.temporaries(folder):
            temporary.unlink(missing_ok=True)
        held = Lease(folder / "lease.json")
        try:
            yield held
        finally:
            held.release()
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
