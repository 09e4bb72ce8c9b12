"""Where records go: the folder on disk first, then the tracker that mirrors it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from bitnet_sweep.records import Record, SampleRow
from bitnet_sweep.store import FAILED, FINISHED, INTERRUPTED, Folder
from bitnet_sweep.store.lease import LostError
from bitnet_sweep.sweep.ending import InterruptedRunError
from bitnet_sweep.track import NoTracker, Tracker

OpenTracker = Callable[[list[Record], list[SampleRow]], Tracker]


def no_tracker(records: list[Record], samples: list[SampleRow]) -> Tracker:
    """Mirror nothing: trunks are no runs."""
    return NoTracker()


class Sink:
    """Takes the records of one folder in order, each step once, whatever was there before.

    The first past it is given rewrites the folder, and the tracker begins with it. After that, records
    at steps already taken are passed over. As a context it closes the tracker: as finished, or as
    interrupted or failed by the exception that passes.
    """

    def __init__(self, folder: Folder, open_tracker: OpenTracker = no_tracker) -> None:
        self.summary: dict[str, Any] = {}
        """What the tracker shows beside the run at the end."""
        self._folder = folder
        self._open_tracker = open_tracker
        self._tracker: Tracker | None = None
        self._last_step = 0

    def catch_up(self, records: Sequence[Record], samples: Sequence[SampleRow]) -> None:
        """Take everything that happened up to now, from step 1 on."""
        if self._tracker is None:
            self._folder.rewrite(records, samples)
            self._tracker = self._open_tracker(list(records), list(samples))
            self._last_step = max((_step(record) for record in records), default=0)
        for record in records:
            self.put(record, [row for row in samples if row["step"] == record["step"]])

    def put(self, record: Record, samples: Sequence[SampleRow]) -> None:
        """Take one record and the samples of its step."""
        assert self._tracker is not None, "a sink starts by catching up"
        step = _step(record)
        if step <= self._last_step:
            return
        self._folder.append(record, samples)
        self._tracker.log(record)
        if samples:
            self._tracker.samples(step, list(samples))
        self._last_step = step

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracker is None or isinstance(error, LostError):
            return  # the run is another process's now, and its mirror with it
        if error is None:
            state = FINISHED
        elif isinstance(error, InterruptedRunError) or not isinstance(error, Exception):
            state = INTERRUPTED
        else:
            state = FAILED
        self._tracker.finish(state, self.summary)


def _step(record: Record) -> int:
    step = record["step"]
    assert isinstance(step, int), "a record without a step"
    return step
