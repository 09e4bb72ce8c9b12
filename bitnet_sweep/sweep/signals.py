"""Ctrl-C and SIGTERM: the first one asks to stop at the next step, the second one stops at once."""

from __future__ import annotations

import functools
import os
import signal
import threading
from types import FrameType

from bitnet_sweep.sweep.exits import EXIT_INTERRUPTED


class StopRequest:
    """Whether this process has been asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def __bool__(self) -> bool:
        return self.requested

    def ask(self) -> None:
        """Ask to stop at the next step."""
        self.requested = True

    def listen(self) -> None:
        """Take SIGINT and SIGTERM from now on; handlers belong to a process's main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.on_signal)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Every file is whole at every moment, so the second request may end the process anywhere."""
        if self.requested:
            os._exit(EXIT_INTERRUPTED)
        self.ask()


@functools.cache
def stop_request() -> StopRequest:
    """The one request of this process; the first call starts listening for signals."""
    request = StopRequest()
    request.listen()
    return request
