"""Files that are whole or not there: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

# The C parser is the same safe loader, about ten times as fast, which a report of 10,000 configs needs.
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

log = logging.getLogger(__name__)

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

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
        return json.loads(path.read_text())
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
    crash of the machine, and :func:`read_json_lines` leaves it out.
    """
    with path.open("ab") as file:
        file.write(f"{line}\n".encode())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Create or replace a file of lines atomically."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; an unfinished last line is left out, no file is no lines.

    Raises:
        ValueError: a line before the last one is not a JSON object.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return json_lines(data, path)


def json_lines(data: bytes, path: Path, decode: Callable[[str], Any] = json.loads) -> list[dict[str, Any]]:
    """The objects of ``data``, read from ``path``, by the rules of :func:`read_json_lines`.

    Raises:
        ValueError: a line before the last one is not a JSON object.
    """
    lines = data.split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = decode(line.decode())
            if not isinstance(row, dict):
                raise TypeError
        except (ValueError, TypeError) as error:
            if number == len(lines):  # no newline behind it: the write was cut off
                break
            raise ValueError(f"{path}:{number}: not a JSON object") from error
        rows.append(row)
    return rows


def read_last_json_line(path: Path, block: int = 8192) -> dict[str, Any] | None:
    """The last whole object of a JSON-lines file without reading the rest; None where there is none.

    Args:
        path: of lines as :func:`append_line` writes them.
        block: bytes to begin with; doubled until a whole line lies in them.

    Raises:
        ValueError: the last whole line is not a JSON object.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        size = file.seek(0, os.SEEK_END)
        while True:
            start = max(0, size - block)
            file.seek(start)
            *whole, _ = file.read(size - start).split(b"\n")  # behind the last newline nothing is whole
            lines = [line for line in (whole if start == 0 else whole[1:]) if line.strip()]
            if lines or start == 0:
                break
            block *= 2
    if not lines:
        return None
    row = json.loads(lines[-1])
    if not isinstance(row, dict):
        raise ValueError(f"{path}: its last line is not a JSON object")
    return row
