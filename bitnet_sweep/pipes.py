"""Commands whose output is piped into one that stops reading, such as ``| head``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

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
