"""The W&B mirror of one run, which never fails or holds up the run it mirrors."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bitnet_sweep import identity
from bitnet_sweep.config import RunConfig, TrackMode, recorded
from bitnet_sweep.records import LogRow, Record, SampleRow, Value
from bitnet_sweep.store import Store
from bitnet_sweep.store.asked_runs import sweeps_of_runs
from bitnet_sweep.track.alerts import COLLAPSE, Alert, alerts_of
from bitnet_sweep.track.mirror import SUFFIX, Mirror, mark_uploaded, remove_wandb_dirs, sync_command
from bitnet_sweep.track.naming import run_name, run_tags
from bitnet_sweep.track.tracker import Tracker
from bitnet_sweep.track.wandb_run import WandbRun
from bitnet_sweep.wandb_client import WandbError, stop_client
from bitnet_sweep.wandb_names import ORIGIN

log = logging.getLogger(__name__)

MAX_TITLE_LENGTH = 63
"""Characters of an alert's title; the client says "less than 64"."""


class WandbTracker(Tracker):
    """Opens, replays, logs; where anything fails, starts over offline with all it has seen, once."""

    def __init__(
        self,
        config: RunConfig,
        run_id: str,
        group: str,
        store: Path,
        past: Sequence[Record],
        past_samples: Sequence[SampleRow],
        past_log: Sequence[LogRow],
        origin: Mapping[str, Any],
    ) -> None:
        asked = sweeps_of_runs(Store(store)).get(run_id, [])
        self._mirror = Mirror(
            run_id,
            group,
            name=run_name(config),
            tags=run_tags(config, list(dict.fromkeys([group, *asked]))),
            config=recorded(config) | {"science_version": identity.SCIENCE_VERSION, ORIGIN: dict(origin)},
        )
        self._store = store.absolute()
        self._folder = self._store / "wandb"
        self._mirror.alerted = _alerted(self._folder / f"{run_id}{SUFFIX}")
        self._boundary_step = config.boundary_step
        self._timeout = config.track.timeout_seconds
        self._records = list(past)
        self._samples = list(past_samples)
        self._log = list(past_log)
        self._begun_online = config.track.mode is TrackMode.online
        self._servers = [config.track.base_url if self._begun_online else None, None]
        """Where to mirror, at first and after a failure; None is offline."""
        self._run: WandbRun | None = None
        self._open_next()
        self._tell()

    def log(self, record: Record) -> None:
        """Mirror one record."""
        self._do(lambda run: run.log(record))
        self._records.append(record)
        self._tell()

    def log_row(self, row: LogRow) -> None:
        """Mirror one row of the training log."""
        self._do(lambda run: run.log(row))
        self._log.append(row)

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Mirror the sample text of the record logged last."""
        self._do(lambda run: run.samples(step, [*self._samples, *rows]))
        self._samples.extend(rows)

    def finish(self, state: str, summary: Mapping[str, Value | str]) -> None:
        """Close the mirror; only the first call counts."""
        if self._mirror.state is not None:
            return
        self._mirror.state = state
        self._mirror.summary = {key: _finite(value) for key, value in summary.items()}
        with suppress(OSError):  # a full disk; training has more to say about it
            self._mirror.save(self._folder)
        self._do(self._close)
        self._run = None

    def _tell(self) -> None:
        """Send the alerts that the records so far call for and that no attempt at this run has sent yet.

        The trunk of a forked arm is no W&B run: what happened in it is told when the arm is opened.
        Offline there is nobody to tell, and an upload later tells nothing: it is no news by then.
        """
        for alert in alerts_of(self._records, self._boundary_step):
            if self._run is not None and self._run.online and alert.kind not in self._mirror.alerted:
                self._do(lambda run, alert=alert: self._send(run, alert))  # type: ignore[misc]  # mypy's

    def _send(self, run: WandbRun, alert: Alert) -> None:
        if not run.online:
            return
        self._mirror.alerted.append(alert.kind)
        with suppress(OSError):  # an alert that cannot be noted might be sent twice
            self._mirror.save(self._folder)
            title = f"{alert.kind}: {self._mirror.name}"[:MAX_TITLE_LENGTH]
            run.alert(title, alert.text, "WARN" if alert.kind == COLLAPSE else "INFO")

    def _close(self, run: WandbRun) -> None:
        run.finish(self._mirror)
        if run.online:
            self._mirror.uploaded = True
            self._mirror.save(self._folder)
            mark_uploaded(self._folder, self._mirror.run_id)

    def _do(self, act: Callable[[WandbRun], None]) -> None:
        """Act on the open run; where that fails, on the one opened after it."""
        while self._run is not None:
            try:
                act(self._run)
            except (WandbError, OSError) as error:
                self._open_next(error)
            else:
                return

    def _open_next(self, failure: Exception | None = None) -> None:
        """Open the run at the next place there is and replay what has been; none left, none open.

        Args:
            failure: of the run that was open, if one was; told once it is clear what becomes of the run.
        """
        failures = [] if failure is None else [failure]
        self._run = None
        while self._servers and self._run is None:
            if failures:
                stop_client(self._timeout)
            server = self._servers.pop(0)
            try:
                remove_wandb_dirs(self._folder, self._mirror.run_id)
                self._mirror.save(self._folder)
                run = WandbRun(self._mirror, self._store, server=server, timeout=self._timeout)
                run.replay(self._records, self._samples, self._log)
                self._run = run
            except (WandbError, OSError) as error:
                failures.append(error)
        if failures:
            self._warn(failures)

    def _warn(self, failures: Sequence[Exception]) -> None:
        if self._run is None:
            stop_client(self._timeout)
            now = "is no longer mirrored; its records are safe in the store"
        elif self._begun_online:
            now = f"is mirrored offline from here; `{sync_command(self._store)}` uploads it later"
        else:
            now = "is mirrored offline still, in a file begun anew"
        why = "; then ".join(dict.fromkeys(str(failure) for failure in failures))
        log.warning("W&B: %s; run %s %s", why, self._mirror.run_id, now)


def _alerted(path: Path) -> list[str]:
    """What an earlier attempt at the run has told already."""
    try:
        return [str(kind) for kind in Mirror.load(path).alerted]
    except (OSError, ValueError, TypeError):
        return []


def _finite(value: Value | str) -> Value | str:
    return None if isinstance(value, float) and not math.isfinite(value) else value
