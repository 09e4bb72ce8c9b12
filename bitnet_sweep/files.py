"""Files that are whole or not there: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import errno
import json
import logging
import mmap
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

# The C parser is the same safe loader, about ten times as fast, which a report of 10,000 configs needs.
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

log = logging.getLogger(__name__)

LACKING = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What a file system answers to a call that it does not have."""

TELL_AFTER, TELL_AGAIN_AFTER = 1.0, 600.0
"""Seconds before the first line about a wait, and between two: a short wait is not worth one."""


class Wait:
    """One wait for another process, from its making on: it is said what is waited for, and since when.

    Args:
        what: is waited for.
    """

    def __init__(self, what: object) -> None:
        self._what = what
        self._since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._next = time.monotonic() + TELL_AFTER

    def tell(self, why: str) -> None:
        """Say so where it is time to; may be called as often as one likes."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + TELL_AGAIN_AFTER
            log.warning("waiting for %s since %s: %s", self._what, self._since, why)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes its place when the block ends well.

    A reader sees the old file or the new one, never a part; after an error nothing is left behind.
    Who may read it is as the umask says, however it is written.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    mode = os.fstat(handle).st_mode
    os.close(handle)
    try:
        yield temporary
        with temporary.open("rb") as file:
            flush_to_disk(file.fileno())
            if (
                os.fstat(file.fileno()).st_mode != mode
            ):  # safetensors puts a file of its own there, for us alone
                with suppress(OSError):  # a file system that keeps no modes
                    temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def flush_to_disk(handle: int) -> None:
    """Have a file's content survive a crash of the machine, where the file system can promise that.

    Raises:
        OSError: the disk is full or broken.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in LACKING:
            raise


def try_out(folder: Path) -> None:
    """Do once, on a file of 4 kB, all that runs do to files: some file systems lack a part of it.

    Raises:
        OSError: whose ``strerror`` says what cannot be done, and why.
    """
    trial = folder / f".trial.{secrets.token_hex(4)}.tmp"
    try:
        with _naming("writing a file"), replacing(trial) as temporary:
            temporary.write_bytes(bytes(4096))
        with _naming("replacing a file"), replacing(trial) as temporary:
            temporary.write_bytes(bytes(4096))
        with _naming("appending to a file"):
            append_line(trial, "")
        with _naming("locking a file by flock"), FileLock(trial, timeout=0, fallback_to_soft=False):
            pass
        with _naming("mapping a file into memory"), trial.open("rb") as file:
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{what}: {error.strerror or error}") from error


def temporaries(folder: Path) -> list[Path]:
    """What :func:`replacing` writes to now, or left when its process was killed.

    The second pattern is safetensors' own: its ``save_file`` writes beside the path it is given, too.
    """
    return sorted({path for pattern in (".*.tmp", ".tmp*") for path in folder.glob(pattern)})


def write_text(path: Path, text: str) -> None:
    """Create or replace a UTF-8 text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, document: Any) -> None:
    """Create or replace a JSON file atomically; numbers must be finite."""
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The document in ``path``, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def parse_yaml(text: bytes) -> Any:
    """The document of a YAML text.

    Raises:
        YAMLError: it is none.
    """
    loader = _SafeLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def append_line(path: Path, line: str) -> None:
    """Add one line and hand it to the operating system before returning.

    A killed process loses nothing; a half-written last line can only come from a full disk or a
    crash of the machine, and ``store.codec`` leaves it out.
    """
    with path.open("ab") as file:
        file.write(f"{line}\n".encode())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Create or replace a file of lines atomically."""
    write_text(path, "".join(f"{line}\n" for line in lines))
