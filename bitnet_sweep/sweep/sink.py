"""Where records go: the folder on disk first, then the tracker that mirrors it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from bitnet_sweep.records import LogRow, Record, SampleRow, in_order
from bitnet_sweep.store import FAILED, FINISHED, INTERRUPTED, Folder
from bitnet_sweep.store.lease import LostError
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.track import NoTracker, Tracker

OpenTracker = Callable[[list[Record], list[SampleRow], list[LogRow]], Tracker]


def no_tracker(records: list[Record], samples: list[SampleRow], log: list[LogRow]) -> Tracker:
    """Mirror nothing: trunks are no runs."""
    return NoTracker()


class Sink:
    """Takes the records of one folder in order, and the rows of its log, each step once, whatever was there.

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
        self._last_step = self._last_logged = 0

    def catch_up(
        self, records: Sequence[Record], samples: Sequence[SampleRow], log: Sequence[LogRow] = ()
    ) -> None:
        """Take everything that happened up to now, from step 1 on."""
        if self._tracker is None:
            self._folder.rewrite(records, samples, log)
            self._tracker = self._open_tracker(list(records), list(samples), list(log))
            self._last_step = max((_step(record) for record in records), default=0)
            self._last_logged = max((_step(row) for row in log), default=0)
        for record, row in in_order(records, log):
            own = [] if record is None else [s for s in samples if s["step"] == record["step"]]
            self.put(record, own, row)

    def put(self, record: Record | None, samples: Sequence[SampleRow], log: LogRow | None = None) -> None:
        """Take what one step has left: its record with its samples, its row of the training log, or both.

        On disk the log is first: a run that diverged is done once its last record is there.
        """
        assert self._tracker is not None, "a sink starts by catching up"
        is_new = log is not None and _step(log) > self._last_logged
        if log is not None and is_new:
            self._folder.append_log(log)
            self._last_logged = _step(log)
        if record is not None and _step(record) > self._last_step:
            self._folder.append(record, samples)
            self._tracker.log(record)
            if samples:
                self._tracker.samples(_step(record), list(samples))
            self._last_step = _step(record)
        if log is not None and is_new:
            self._tracker.log_row(log)

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
