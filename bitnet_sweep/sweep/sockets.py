"""Where the sockets of a sweep's processes go: to a short path, for the system takes 107 bytes at most."""

from __future__ import annotations

import multiprocessing.util
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bitnet_sweep.config import ConfigError

_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - what is made there is made by mkdtemp
MULTIPROCESSING = "pymp-12345678/listener-12345678"
RAY = "ray/session_2026-11-29_12-34-56_123456_4194304/sockets/plasma_store"
"""What each puts below the folder, at the longest."""


def prepare_sockets() -> None:
    """Have ``multiprocessing`` put its sockets where one can be made, in ``TMPDIR`` if that is such a place.

    It chooses the folder once for a process, by ``tempfile``; later calls find it chosen.

    Raises:
        ConfigError: no folder for temporary files can hold a socket.
    """
    before = tempfile.tempdir
    try:
        tempfile.tempdir = str(folder_for(MULTIPROCESSING))
        multiprocessing.util.get_temp_dir()
    finally:
        tempfile.tempdir = before


def prepare_sockets_of_ray() -> None:
    """Have a cluster that is begun here put its sockets where they can be made, unless RAY_TMPDIR says where.

    Raises:
        ConfigError: no folder for temporary files can hold a socket.
    """
    if not os.environ.get("RAY_TMPDIR"):
        folder = folder_for(RAY)
        if str(folder) != os.environ.get("TMPDIR", "/tmp"):  # noqa: S108 - what Ray would take
            os.environ["RAY_TMPDIR"] = str(folder)


def folder_for(name: str) -> Path:
    """A folder for temporary files in which a socket can be made below that name.

    Raises:
        ConfigError: there is none.
    """
    reason: OSError | None = None
    for folder in _candidates():
        try:
            _try_out(folder, name)
        except OSError as error:  # too long, not writable, or a file system without sockets
            reason = reason or error
        else:
            return folder
    why = f"no folder for temporary files can hold a socket ({reason}); set it to a short path that can"
    raise ConfigError("TMPDIR", os.environ.get("TMPDIR"), why)


def _candidates() -> Iterator[Path]:
    with suppress(FileNotFoundError):  # none that can be written
        yield Path(tempfile.gettempdir())
    yield from (Path(folder) for folder in (os.environ.get("XDG_RUNTIME_DIR"), *_SHORT) if folder)


def _try_out(folder: Path, name: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="pymp-", dir=folder) as inside,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        listener.bind(str(Path(inside, "s")).ljust(len(str(folder / name)), "s"))
