"""Which job of a plan starts next: the first in the plan's order whose trunk is there."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


class ReadyJobs:
    """The jobs that may start now, in order; each job that ends well lets the ones behind it start.

    Taking a job and ending one cost O(log n), so that a grid of 100,000 runs can go through it.
    """

    def __init__(self, after: Sequence[int | None]) -> None:
        """Begin with jobs 0, 1, ..., each with the job that must have ended well before it, or None."""
        self._behind: dict[int, list[int]] = {}
        for job, parent in enumerate(after):
            if parent is not None:
                self._behind.setdefault(parent, []).append(job)
        self._heap = [job for job, parent in enumerate(after) if parent is None]  # sorted, so a heap

    def __bool__(self) -> bool:
        return bool(self._heap)

    def pop(self) -> int:
        """Take the first one."""
        return heapq.heappop(self._heap)

    def pop_all(self) -> list[int]:
        """Take all of them, in order."""
        return [self.pop() for _ in range(len(self._heap))]

    def push(self, job: int) -> None:
        """One that was taken has to start again."""
        heapq.heappush(self._heap, job)

    def ended_well(self, job: int) -> None:
        """What waited for it may start."""
        for waiting in self._behind.pop(job, []):
            heapq.heappush(self._heap, waiting)
