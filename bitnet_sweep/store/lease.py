"""Who may write a folder: one process at a time, found out at once when it has died.

On one host the operating system's file lock decides; it is gone the moment its owner dies. Where a
shared file system does not carry locks across hosts, a heartbeat file decides: another host's lease
stands while its heartbeat is fresh. The clocks of two hosts may differ by any amount, so whoever waits
for a lease goes by whether the heartbeat changes while it looks, see :class:`Watch`.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from bitnet_sweep import files

HEARTBEAT_EVERY = 2.0
"""Seconds between heartbeats: what a live display of the store can show."""
HEARTBEAT_LIMIT = 60.0
"""Seconds after which another host's silent owner counts as dead (assumed)."""
LOOK_SECONDS = 5 * HEARTBEAT_EVERY
"""How long a heartbeat that is too old by our clock is watched, in case that clock is wrong (assumed)."""
CLOCK_SLACK = 1.0
"""Seconds by which a process's start, counted from boot, may differ from the wall clock (assumed)."""

TWO_LOOKS = 2 * HEARTBEAT_EVERY
"""Seconds between two looks at a heartbeat of which one cannot tell whether it is alive."""


class HeldError(Exception):
    """Another living process has the lease."""


class LostError(Exception):
    """Another host took the lease over: this process had been silent for too long (suspended, cut off)."""


class Lease:
    """A held lease; a thread keeps its heartbeat file fresh, however long a step takes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Hosts in containers may share their names and numbers: the token alone says whose a file is.
        self._owner = {
            "host": socket.gethostname(),
            "place": _place(),
            "pid": os.getpid(),
            "token": secrets.token_hex(8),
        }
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


class Watch:
    """What was seen of owners out of sight: a heartbeat that changes is alive, whatever time it says."""

    def __init__(self) -> None:
        self._seen: dict[Path, _Seen] = {}

    def is_alive(self, folder: Path, owner: dict[str, Any] | None) -> bool:
        """As :func:`is_alive`, but where one look cannot tell by whether the heartbeat was seen to change."""
        if owner is None or not is_unclear(owner):
            return is_alive(owner)
        seen = self._look(folder, owner)
        return seen.has_changed and seen.silent_seconds < HEARTBEAT_LIMIT

    def has_to_wait(self, folder: Path, owner: dict[str, Any]) -> bool:
        """Whether an owner out of sight may live: its heartbeat was not the same for long enough."""
        is_old = time.time() - float(owner["heartbeat"]) > HEARTBEAT_LIMIT
        return self._look(folder, owner).silent_seconds < (LOOK_SECONDS if is_old else HEARTBEAT_LIMIT)

    def knows(self) -> bool:
        """Whether every heartbeat that one look cannot judge has been looked at more than once."""
        return all(seen.looks > 1 for seen in self._seen.values())

    def _look(self, folder: Path, owner: dict[str, Any]) -> _Seen:
        seen = self._seen.setdefault(folder, _Seen(_beat_of(owner)))
        seen.looks += 1
        if seen.beat != _beat_of(owner):
            seen.beat, seen.since, seen.has_changed = _beat_of(owner), time.monotonic(), True
        return seen


@dataclass
class _Seen:
    beat: object
    since: float = field(default_factory=time.monotonic)
    """When it was seen first, by our steady clock."""
    looks: int = 0
    has_changed: bool = False

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self.since


def _beat_of(owner: dict[str, Any] | None) -> object:
    return owner and (owner.get("token"), owner["heartbeat"])


@contextmanager
def lease(folder: Path, watch: Watch | None = None) -> Iterator[Lease]:
    """Hold the lease of ``folder``; what a killed owner had half written there is removed.

    Args:
        folder: made where it is not there.
        watch: of a caller that tries again and again; without one, two looks within seconds have to do.

    Raises:
        HeldError: another process of this host has it, or one of another host did within the last minute.
        OSError: the folder cannot be written or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lease.lock", timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise HeldError(_described(read_lease(folder))) from None
    try:
        owner = read_lease(folder)
        if owner and not _is_here(owner):
            alive = watch.has_to_wait(folder, owner) if watch else is_fresh(owner) or _beats(folder, owner)
            if alive:
                raise HeldError(_described(owner))
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
    """Whether the process that wrote this heartbeat still lives, found by one look, not touching the lock.

    Nobody is not alive.

    A process that can be seen from here must be there and be older than the heartbeat: a younger one was
    merely given the same number. Trying the lock instead would make a job that comes at that moment
    believe it held. Of any other process only the heartbeat is known: it must be less than
    ``HEARTBEAT_LIMIT`` from our clock, to either side.
    """
    if owner is None:
        return False
    alive = _seen_alive(owner)
    return is_fresh(owner) if alive is None else alive


def is_fresh(owner: dict[str, Any]) -> bool:
    """Whether the heartbeat is of this moment, if the clock that it was taken from agrees with ours."""
    return abs(time.time() - float(owner["heartbeat"])) < HEARTBEAT_LIMIT


def _beats(folder: Path, owner: dict[str, Any]) -> bool:
    """Whether a heartbeat that its clock says is not of this moment changes while we look."""
    time.sleep(TWO_LOOKS)
    return _beat_of(read_lease(folder)) not in (None, _beat_of(owner))


def is_unclear(owner: dict[str, Any]) -> bool:
    """Whether one look cannot tell: the owner is out of sight, and is dead or has a wrong clock."""
    return not is_fresh(owner) and _seen_alive(owner) is None


def _seen_alive(owner: dict[str, Any]) -> bool | None:
    """Whether the owner is among the processes; None where it would not be seen if it were."""
    if not _is_here(owner):
        return None
    pid = int(owner["pid"])
    try:
        process = psutil.Process(pid)
        is_younger = process.create_time() > float(owner["heartbeat"]) + CLOCK_SLACK
        return not is_younger and process.status() != psutil.STATUS_ZOMBIE
    except psutil.ZombieProcess:
        return False
    except (psutil.Error, OSError, RuntimeError):  # gone, or hidden from us (hidepid), or no /proc at all
        return None if _has_number(pid) else False


def _has_number(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _is_here(owner: dict[str, Any]) -> bool:
    """Whether the owner's process number means the same here; hosts and containers may share a name."""
    return bool(owner["host"] == socket.gethostname() and owner.get("place", _place()) == _place())


@functools.cache
def _place() -> str | None:
    """Which list of processes this one is in: that of a boot and a container (pid namespace), if told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _described(owner: dict[str, Any] | None) -> str:
    """Who has a lease, and what is known of that process, for whoever waits."""
    if owner is None:
        return "another process has it"
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(owner["heartbeat"])))
    text = f"process {owner['pid']} on {owner['host']} has it, last heartbeat {at}"
    ahead = float(owner["heartbeat"]) - time.time()
    if ahead >= HEARTBEAT_LIMIT:
        text += f", its clock is {ahead:,.0f} s ahead of ours"
    if not _is_here(owner):
        text += f"; taken over when that has not changed for {HEARTBEAT_LIMIT:.0f} s"
    return text
