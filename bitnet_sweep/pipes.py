"""Streams as a command may find them: closed, full, read by nobody, or without letters beyond ASCII.

What a stream cannot show is written as ``\\u03bb``. Whoever trains goes on unread; a command whose output
is what it is for ends when nobody reads it.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Raw = TypeVar("Raw", bound=io.FileIO)

EXIT_PIPE = 128 + signal.SIGPIPE
"""What a shell reports of a command that the signal ended."""
EXIT_UNWRITTEN = 1
"""Exit status of a command whose output could not be written, to a full disk for example."""


def until_unread(main: Callable[[], int]) -> int:
    """The exit status of ``main``, or EXIT_PIPE, quietly, once nobody reads its stdout.

    Where its stdout cannot be written for another reason, that is said, and it is EXIT_UNWRITTEN.
    The signal itself stays ignored: it would also end the process when a server of W&B hangs up.
    """
    _open_standard_files()
    _replace("stderr", _Heedless)
    out = _replace("stdout", _Watched)
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if out is None or error is not out.error:
            raise
        if isinstance(error, BrokenPipeError):
            return EXIT_PIPE
        print(f"stdout cannot be written ({error.strerror})", file=sys.stderr)
        return EXIT_UNWRITTEN


def go_on_unread() -> None:
    """From now on nothing this process does ends because its stdout or stderr cannot be written.

    For what trains: its results are in the store, and its exit status says whether they are whole.
    """
    _open_standard_files()
    for name in ("stdout", "stderr"):
        _replace(name, _Heedless)


def _open_standard_files() -> None:
    """Open those that were closed (``2>&-``) to nowhere, lest the next file that is opened becomes one.

    A library or a process that is started would then write its words into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if nowhere <= 2:
            os.set_inheritable(nowhere, True)
        mode = "w" if number else "r"
        setattr(sys, name, open(nowhere, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _replace(name: str, kind: type[Raw]) -> Raw | None:
    """Write to the same file by a file object of this kind."""
    stream = getattr(sys, name)
    if not isinstance(stream, io.TextIOWrapper):  # a notebook or a test has others
        return None
    raw = kind(stream.fileno(), "wb", closefd=False)
    with suppress(OSError):
        stream.flush()
    setattr(
        sys,
        name,
        io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering or stream.write_through,
        ),
    )
    return raw


class _Heedless(io.FileIO):
    """For somebody who does not mind whether it can be written."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:  # a closed pipe, a terminal that is gone, a full disk
            return memoryview(data).nbytes


class _Watched(io.FileIO):
    """For somebody who ends when it cannot be written."""

    error: OSError | None = None
    """Why it could not; from then on what is written goes nowhere."""

    def write(self, data: ReadableBuffer, /) -> int:
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
                raise
        return memoryview(data).nbytes
