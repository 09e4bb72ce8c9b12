"""How a job or a sweep can end other than well, and the exit status each gives."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_WRONG = 2
"""The command or its config is wrong; nothing started."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


class InterruptedRunError(Exception):
    """Asked to stop; the newest step is safe in a checkpoint."""


class FailedRunError(Exception):
    """A run failed; the others finished. Its status holds the traceback."""


class AloneError(BaseException):
    """Its cause ended a run without ``-m``. No Exception: of those Hydra prints a line of its own first."""
