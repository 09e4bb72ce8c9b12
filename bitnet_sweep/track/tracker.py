"""What a mirror of a run looks like to whoever writes the run; trackers are interchangeable."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bitnet_sweep.config import RunConfig, TrackName
from bitnet_sweep.records import LogRow, Record, SampleRow, Value
from bitnet_sweep.wandb_environment import leave_out

_UNKNOWN: Mapping[str, Any] = {}

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """A sink for what the store already holds. No method raises, and none waits without a bound."""

    def log(self, record: Record) -> None:
        """Mirror one record, as the row at ``record["step"]``."""

    def log_row(self, row: LogRow) -> None:
        """Mirror one row of the training log; of a step that has a record too, after that."""

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Mirror the sample text of the record logged last."""

    def finish(self, state: str, summary: Mapping[str, Value | str]) -> None:
        """Close the mirror; only the first call counts.

        Args:
            state: finished, failed or interrupted, as in ``status.json``.
            summary: figures shown beside the run.
        """


class NoTracker(Tracker):
    """Mirrors nothing."""

    def log(self, record: Record) -> None:
        """Nothing to do."""

    def log_row(self, row: LogRow) -> None:
        """Nothing to do."""

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Nothing to do."""

    def finish(self, state: str, summary: Mapping[str, Value | str]) -> None:
        """Nothing to do."""


def open_tracker(
    config: RunConfig,
    *,
    run_id: str,
    group: str,
    store: Path,
    past: Sequence[Record],
    past_samples: Sequence[SampleRow],
    past_log: Sequence[LogRow] = (),
    origin: Mapping[str, Any] = _UNKNOWN,
) -> Tracker:
    """Open the mirror that ``config.track`` asks for and bring it up to date.

    Args:
        config: of the run, resolved.
        run_id: also the id of the W&B run.
        group: name of the sweep.
        store: root of the store; W&B's own files go to ``<store>/wandb``.
        past: the run's records so far, from step 1 on; an earlier mirror of the run is replaced.
        past_samples: the sample text so far.
        past_log: the training log so far.
        origin: where the run comes from, such as its commit and the class of its processor.
    """
    if config.track.name is TrackName.none:
        return NoTracker()
    leave_out([config.track.mode.name])  # first: it reads some as it is imported
    try:
        from bitnet_sweep.track.wandb_tracker import WandbTracker  # late: takes a second
    except Exception as error:  # whatever a broken installation raises, training can do without
        log.warning("W&B cannot be imported (%s); run %s is not mirrored", error, run_id)
        return NoTracker()
    return WandbTracker(config, run_id, group, store, past, past_samples, past_log, origin)
