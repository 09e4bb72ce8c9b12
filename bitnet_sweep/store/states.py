"""Every state of a run or trunk: one table for the store, the ledger and the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """What one word means to the programs that read it."""

    word: str
    is_written: bool
    """Whether a ``status.json`` may hold it; the others are found by looking."""
    urgency: int
    """A screen too short for every row shows the lowest first."""
    worth: int | None = None
    """The report takes the copy of a run that has the higher one; None where no run has it there."""


RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
WAITING, DIED, UNREADABLE = "waiting", "died", "unreadable"
"""Not begun; running by its status, but its process is gone; a status that cannot be read."""
UNKNOWN_STATE, MISSING = "unknown", "missing"
"""A status that says none of these words; a run that a sweep asked for and no store holds."""

TABLE = (
    State(RUNNING, is_written=True, urgency=0, worth=5),
    State(DIED, is_written=False, urgency=1),
    State(FAILED, is_written=True, urgency=2, worth=3),
    State(UNREADABLE, is_written=False, urgency=3, worth=2),
    State(INTERRUPTED, is_written=True, urgency=4, worth=4),
    State(WAITING, is_written=False, urgency=5),
    State(FINISHED, is_written=True, urgency=6, worth=6),
    State(UNKNOWN_STATE, is_written=False, urgency=7, worth=1),
    State(MISSING, is_written=False, urgency=8, worth=0),
)

BY_URGENCY = tuple(state.word for state in sorted(TABLE, key=lambda state: state.urgency))
REPORTED = tuple(s.word for s in sorted(TABLE, key=lambda s: -(s.worth or 0)) if s.worth is not None)
"""The words of a report, the best copy of a run first."""
WRITTEN = frozenset(state.word for state in TABLE if state.is_written)
