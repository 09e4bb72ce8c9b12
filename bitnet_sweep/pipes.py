"""Commands whose output is piped into one that stops reading, such as ``| head``."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

EXIT_PIPE = 128 + signal.SIGPIPE
"""What a shell reports of a command that the signal ended."""


def until_unread(main: Callable[[], int]) -> int:
    """The exit status of ``main``, or EXIT_PIPE, quietly, once nobody reads its stdout.

    The signal itself stays ignored: it would also end the process when a server of W&B hangs up.
    """
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return EXIT_PIPE
    return status


def go_on_unread() -> None:
    """From now on nothing this process does ends because nobody reads its stdout or stderr any more.

    For what trains: its results are in the store, and its exit status says whether they are whole.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # a notebook or a test has others
            stream.flush()
            setattr(sys, name, _heedless(stream))


def _heedless(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same file, written to by somebody who does not mind that nobody reads it."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Heedless(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


class _Heedless(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # a closed pipe, a terminal that is gone
                raise
            return memoryview(data).nbytes
