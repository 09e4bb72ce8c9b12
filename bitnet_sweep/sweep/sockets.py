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
_LIKE_ITS_OWN = ("pymp-", "listener-12345678")
"""The name of multiprocessing's folder, and one that it gives its socket there."""


def prepare_sockets() -> None:
    """Have ``multiprocessing`` put its sockets where one can be made, in ``TMPDIR`` if that is such a place.

    It chooses the folder once for a process, by ``tempfile``; later calls find it chosen.

    Raises:
        ConfigError: no folder for temporary files can hold a socket.
    """
    before = tempfile.tempdir
    try:
        tempfile.tempdir = str(_folder_for_sockets())
        multiprocessing.util.get_temp_dir()
    finally:
        tempfile.tempdir = before


def _folder_for_sockets() -> Path:
    reason: OSError | None = None
    for folder in _candidates():
        try:
            _try_out(folder)
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


def _try_out(folder: Path) -> None:
    prefix, name = _LIKE_ITS_OWN
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as inside,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        listener.bind(str(Path(inside, name)))
