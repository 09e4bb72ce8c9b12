"""The entries of the ledger: status, heartbeat and last record of every folder, and what is yet to come."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitnet_sweep.records import Record
from bitnet_sweep.store import FINISHED, RUNNING, Folder, Store
from bitnet_sweep.store.asked_runs import AskedRun, asked_runs
from bitnet_sweep.store.lease import TWO_LOOKS, Watch
from bitnet_sweep.store.liveness import error_of, standing
from bitnet_sweep.store.outcome import finite, outcome_text
from bitnet_sweep.store.speed import seconds_per_step
from bitnet_sweep.store.states import UNREADABLE


@dataclass(frozen=True)
class Entry:
    """One run or trunk; what is not known is None."""

    id: str
    is_run: bool
    name: str
    state: str
    num_stages: int | None = None
    """From the beginning of the run to its own end."""
    stage: int | None = None
    """1, 2, ...: the one it is in."""
    step: int = 0
    steps: int | None = None
    """Where it ends, counted from the beginning of the run."""
    loss: float | None = None
    """``val/loss`` of the last record, as the next two."""
    unique_tokens: float | None = None
    tokens_per_s: float | None = None
    seconds_left: float | None = None
    """How long a running one still takes, at the pace of its last record."""
    error: str | None = None
    """The last line of what went wrong."""
    outcome: str | None = None
    """What became of a finished run, with its marks."""


class Ledger:
    """Reads a store again and again; what has finished is read once.

    Args:
        store: may be written by any number of processes meanwhile.
        sweep: only the runs of this recorded sweep, and the trunks they fork from.
    """

    def __init__(self, store: Store, sweep: str | None = None) -> None:
        self._store = store
        self._sweep = sweep
        self._watch = Watch()
        self._finished: dict[Path, tuple[int, Entry]] = {}
        """With the modification time of the status it was read from."""

    def entries(self) -> list[Entry]:
        """Older sweeps first, their runs in order, a trunk before its first run; then what none asked for.

        Raises:
            ConfigError: the sweep is not recorded.
        """
        entries = self._look()
        if not self._watch.knows():  # a host with another clock than ours, or dead: the next look tells
            time.sleep(TWO_LOOKS)
            entries = self._look()
        return entries

    def _look(self) -> list[Entry]:
        asked = asked_runs(self._store, self._sweep)
        trunks = {folder.id: folder for folder in self._store.stages()}
        through = _runs_through_trunks(asked)
        entries: list[Entry] = []
        for run in asked.values():
            for trunk in [stage for stage in run.stage_ids[:-1] if stage in trunks]:
                entries.append(self._entry(trunks.pop(trunk), False, _as_trunk(trunk, through[trunk])))
            entries.append(self._entry(self._store.run(run.run_id), True, run))
        if self._sweep is None:
            others = [folder for folder in self._store.runs() if folder.id not in asked]
            entries += [self._entry(folder, False, AskedRun(folder.id)) for folder in trunks.values()]
            entries += [self._entry(folder, True, AskedRun(folder.id)) for folder in others]
        return entries

    def _entry(self, folder: Folder, is_run: bool, asked: AskedRun) -> Entry:
        modified = folder.status_modified()
        known = self._finished.get(folder.path)
        if known is not None and known[0] == modified:
            return known[1]
        entry = _read(folder, is_run, asked, self._watch)
        if entry.state == FINISHED and modified is not None:
            self._finished[folder.path] = modified, entry
        return entry


def _runs_through_trunks(asked: Mapping[str, AskedRun]) -> dict[str, list[AskedRun]]:
    runs: dict[str, list[AskedRun]] = {}
    for run in asked.values():
        for stage in run.stage_ids[:-1]:
            runs.setdefault(stage, []).append(run)
    return runs


def _as_trunk(stage_id: str, runs: Sequence[AskedRun]) -> AskedRun:
    """What is known of a trunk from the runs that go through it; of their names what they share."""
    first, others = runs[0], [set(run.name.split()) for run in runs[1:]]
    shared = [word for word in first.name.split() if all(word in words for words in others)]
    count = first.stage_ids.index(stage_id) + 1
    return AskedRun(stage_id, " ".join(shared), first.stage_ids[:count], first.stage_ends[:count])


def _read(folder: Folder, is_run: bool, asked: AskedRun, watch: Watch) -> Entry:
    steps = asked.stage_ends[-1] if asked.stage_ends else None
    num_stages = len(asked.stage_ids) or None
    try:
        status, owner, state = standing(folder, watch)
        record = folder.last_record() or {}
    except (OSError, ValueError, TypeError, KeyError):
        return Entry(folder.id, is_run, asked.name, UNREADABLE, num_stages, steps=steps)
    if status is None:
        return Entry(folder.id, is_run, asked.name, state, num_stages, steps=steps)
    step = int(owner.get("step") or finite(record, "step") or 0)
    if steps is None and state == FINISHED:
        steps = step
    elif steps is None and is_run:  # a trunk's owner counts to the end of its run
        steps = owner.get("steps")
    return Entry(
        folder.id,
        is_run,
        asked.name,
        state,
        num_stages or len(status.stage_ids) or None,
        _stage_at(step, asked.stage_ends, record),
        step,
        steps,
        finite(record, "val/loss"),
        finite(record, "probe/unique_tokens"),
        finite(record, "perf/tokens_per_s"),
        _seconds_left(record, step, steps) if state == RUNNING else None,
        error_of(status, state),
        outcome_text(status.outcome, status.marks) if is_run and status.outcome else None,
    )


def _stage_at(step: int, ends: Sequence[int], record: Record) -> int | None:
    if ends:
        return min(bisect_left(ends, step) + 1, len(ends))
    stage = finite(record, "stage")
    return None if stage is None else int(stage)


def _seconds_left(record: Record, step: int, steps: int | None) -> float | None:
    pace = seconds_per_step(record, finite(record, "ternary/window_steps"))
    return None if pace is None or steps is None else pace * max(0, steps - step)
