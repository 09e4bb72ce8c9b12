"""Where records go: what a tracker is told of the end."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest

from bitnet_sweep.records import LogRow, Record, SampleRow, Value
from bitnet_sweep.store import Store
from bitnet_sweep.store.lease import LostError
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.sink import Sink
from bitnet_sweep.track import Tracker


class Remembering(Tracker):
    """Remembers how it was finished."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def log(self, record: Record) -> None:
        """Not asked for here."""

    def log_row(self, row: LogRow) -> None:
        """Not asked for here."""

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Not asked for here."""

    def finish(self, state: str, summary: Mapping[str, Value | str]) -> None:
        """Remember."""
        self.states.append(state)


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (None, "finished"),
        (ValueError, "failed"),
        (InterruptedRunError, "interrupted"),
        (KeyboardInterrupt, "interrupted"),
        (SystemExit, "interrupted"),
        (LostError, None),
    ],
    ids=["nothing", "error", "asked to stop", "interrupt", "exit", "another host has it now"],
)
def test_leaving_the_sink_says_how_it_ended(tmp_path, raised, state):
    """But nothing of a run that another host took over: its mirror is that host's, too."""
    tracker = Remembering()
    folder = Store(tmp_path).run("0" * 16)
    folder.path.mkdir(parents=True)
    with suppress(Exception, KeyboardInterrupt, SystemExit), Sink(folder, lambda *_: tracker) as sink:
        sink.catch_up([], [])
        if raised is not None:
            raise raised
    assert tracker.states == ([] if state is None else [state])
