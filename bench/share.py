"""Where the wall time of a finished sweep went: steps, probes, and the rest.

    python -m bench.share STORE SWEEP [--runs RUN_ID ...] [--out experiments/bench --name eight]

Reads the store alone, so the sweep may have run anywhere, but each job of it in one go: killed attempts leave
no time. A job's seconds are those its status counts: steps (with the counting of codes), probes, and the rest
(records, checkpoints, the mirror and its last words, reading what it starts from). Checkpoints that another
thread writes show in the steps, as far as they slow them. What lies before and between jobs (imports, token
files, processes) shows in the elapsed time alone, from the plan to the last status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from bench.tables import Row, table, write
from bitnet_sweep.paths import expanded
from bitnet_sweep.store import FINISHED, Folder, Status, Store
from bitnet_sweep.store.asked_runs import AskedRun, Sweep, read_sweep

COLUMNS = {
    "job": "job",
    "steps": "steps",
    "wall_s": "wall, s",
    "step_ms": "ms a step (mean)",
    "steps_s": "steps, s",
    "probes_s": "probes, s",
    "rest_s": "rest, s",
    "beside": "beside steps, %",
}


@dataclass(frozen=True)
class Spent:
    """What jobs did with their time."""

    steps: int = 0
    wall_s: float = 0.0
    steps_s: float = 0.0
    probes_s: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(ours + theirs for ours, theirs in zip(astuple(self), astuple(other), strict=True)))

    def row(self, job: str) -> Row:
        """Of the table."""
        return {
            "job": job,
            "steps": self.steps,
            "wall_s": round(self.wall_s, 1),
            "step_ms": round(1e3 * self.steps_s / self.steps, 1),
            "steps_s": round(self.steps_s, 1),
            "probes_s": round(self.probes_s, 1),
            "rest_s": round(self.wall_s - self.steps_s - self.probes_s, 1),
            "beside": round(100 * (self.wall_s - self.steps_s) / self.wall_s, 1),
        }


def finished(folder: Folder) -> Status:
    """Its status.

    Raises:
        ValueError: it has not finished, or not in one attempt.
    """
    status = folder.status()
    if status is None or status.state != FINISHED or status.attempts != 1:
        raise ValueError(f"{folder.path} has not finished in one attempt")
    return status


def spent(folder: Folder, start: int) -> Spent:
    """By the job that trained this folder, from step ``start`` on.

    Raises:
        ValueError: it has not finished, or not in one attempt.
    """
    steps_s = probes_s = 0.0
    step = start
    for record in folder.records():
        reached: Any = record["step"]
        if reached <= start:
            continue  # a run holds the records of its trunk, too
        milliseconds: Any = record["perf/step_ms"]
        probe_milliseconds: Any = record["perf/probe_ms"]
        steps_s += (reached - step) * milliseconds / 1e3
        probes_s += probe_milliseconds / 1e3
        step = reached
    return Spent(step - start, finished(folder).train_seconds, steps_s, probes_s)


def account(store: Store, runs: Sequence[AskedRun]) -> list[Row]:
    """A row for each job, one for the longest chain of them, one for all.

    Args:
        store: what holds them.
        runs: as a sweep notes them.

    Raises:
        ValueError: a job has not finished, or not in one attempt.
    """
    names: dict[str, str] = {}
    jobs: dict[str, Spent] = {}
    for run in runs:
        for stage_id, start in zip(run.stage_ids, [0, *run.stage_ends[:-1]], strict=True):
            if stage_id in jobs:
                continue
            is_run = stage_id == run.run_id
            names[stage_id] = run.name if is_run else f"trunk of {run.name}"
            jobs[stage_id] = spent(store.run(stage_id) if is_run else store.stage(stage_id), start)
    chains = [sum((jobs[stage_id] for stage_id in run.stage_ids), Spent()) for run in runs]
    longest = max(chains, key=lambda chain: chain.wall_s)
    rows = [jobs[stage_id].row(names[stage_id]) for stage_id in jobs]
    return [*rows, longest.row("the longest chain"), sum(jobs.values(), Spent()).row("all jobs")]


def elapsed(store: Store, sweep: Sweep) -> float:
    """Seconds from the plan of a sweep to the last status of a run."""
    last = max(finished(store.run(run_id)).updated for run_id in sweep.run_ids)
    return (datetime.fromisoformat(last) - datetime.fromisoformat(sweep.created)).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=expanded, metavar="STORE")
    parser.add_argument("sweep", metavar="SWEEP")
    parser.add_argument("--out", type=expanded, default=None, help="folder for share_<name>.md and .json")
    parser.add_argument("--name", default=None, help="that of the sweep, by default")
    parser.add_argument("--runs", nargs="+", metavar="RUN_ID", help="of the sweep's runs, by default all")
    options = parser.parse_args()
    store = Store(options.store)
    sweep = read_sweep(store, options.sweep)
    if sweep is None:
        sys.exit(f"{options.store} holds no sweep {options.sweep}")
    runs = [run for run in sweep.runs if run.run_id in (options.runs or sweep.run_ids)]
    if not runs:
        sys.exit(f"sweep {options.sweep} has none of these runs; it has {' '.join(sweep.run_ids)}")
    try:
        rows = account(store, runs)
        text = table(rows, COLUMNS)
        if options.runs is None:
            text += f"\n\nElapsed from the plan to the last status: {elapsed(store, sweep):.0f} s."
    except ValueError as error:
        sys.exit(str(error))
    print(text)
    if options.out is not None:
        first = finished(store.run(runs[0].run_id)).provenance
        here = {key: value for key, value in first.items() if key != "command"}
        title = f"Where the time of a sweep went: `{sweep.command}`"
        write(options.out, f"share_{options.name or options.sweep}", title, text, here, rows)


if __name__ == "__main__":
    main()
