"""Where the wall time of a finished sweep went: steps, probes, and the rest.

    python -m bench.share STORE SWEEP [--out experiments/bench --name eight]

Reads the store alone, so the sweep may have run anywhere, but in one go: killed attempts leave no time. A
job's seconds are those its status counts: steps (with the counting of codes), probes, and the rest (records,
checkpoints, the mirror and its last words, reading what it starts from). Checkpoints that another thread
writes show in the steps, as far as they slow them. What lies before and between jobs (imports, token files,
processes) shows in the elapsed time alone, from the plan to the last status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.tables import Row, table, write
from bitnet_sweep.store import FINISHED, Folder, Status, Store

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


def _row(job: str, steps: int, wall_s: float, steps_s: float, probes_s: float) -> Row:
    return {
        "job": job,
        "steps": steps,
        "wall_s": round(wall_s, 1),
        "step_ms": round(1e3 * steps_s / steps, 1),
        "steps_s": round(steps_s, 1),
        "probes_s": round(probes_s, 1),
        "rest_s": round(wall_s - steps_s - probes_s, 1),
        "beside": round(100 * (wall_s - steps_s) / wall_s, 1),
    }


def _sum(job: str, rows: Sequence[Row]) -> Row:
    sums = (sum(row[key] for row in rows) for key in ("steps", "wall_s", "steps_s", "probes_s"))
    return _row(job, *sums)


def finished(folder: Folder) -> Status:
    """Its status.

    Raises:
        ValueError: it has not finished, or not in one attempt.
    """
    status = folder.status()
    if status is None or status.state != FINISHED or status.attempts != 1:
        raise ValueError(f"{folder.path} has not finished in one attempt")
    return status


def job_row(job: str, folder: Folder, start: int) -> Row:
    """Of the folder that trains from ``start`` on."""
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
    return _row(job, step - start, finished(folder).train_seconds, steps_s, probes_s)


def account(store: Store, sweep: dict[str, Any]) -> tuple[list[Row], float]:
    """A row for each job, one for the longest chain of them, one for all; and the seconds elapsed.

    Raises:
        ValueError: a job has not finished, or not in one attempt.
    """
    jobs: dict[str, Row] = {}
    for run in sweep["runs"]:
        for stage_id, start in zip(run["stage_ids"], [0, *run["stage_ends"][:-1]], strict=True):
            if stage_id in jobs:
                continue
            if stage_id == run["run_id"]:
                jobs[stage_id] = job_row(run["name"], store.run(stage_id), start)
            else:
                jobs[stage_id] = job_row(f"trunk of {run['name']}", store.stage(stage_id), start)
    chains = ([jobs[stage_id] for stage_id in run["stage_ids"]] for run in sweep["runs"])
    longest = max(chains, key=lambda chain: sum(job["wall_s"] for job in chain))
    last = max(finished(store.run(run["run_id"])).updated for run in sweep["runs"])
    elapsed = datetime.fromisoformat(last) - datetime.fromisoformat(sweep["created"])
    sums = [_sum("the longest chain", longest), _sum("all jobs", list(jobs.values()))]
    return [*jobs.values(), *sums], elapsed.total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path, metavar="STORE")
    parser.add_argument("sweep", metavar="SWEEP")
    parser.add_argument("--out", type=Path, default=None, help="folder for share_<name>.md and .json")
    parser.add_argument("--name", default=None, help="that of the sweep, by default")
    options = parser.parse_args()
    store = Store(options.store)
    sweep = store.sweep(options.sweep)
    if sweep is None:
        sys.exit(f"{options.store} holds no sweep {options.sweep}")
    rows, elapsed = account(store, sweep)
    text = f"{table(rows, COLUMNS)}\n\nElapsed from the plan to the last status: {elapsed:.0f} s."
    print(text)
    if options.out is not None:
        first = finished(store.run(sweep["run_ids"][0])).provenance
        here = {key: value for key, value in first.items() if key != "command"}
        title = f"Where the time of a sweep went: `{sweep['command']}`"
        write(options.out, f"share_{options.name or options.sweep}", title, text, here, rows)


if __name__ == "__main__":
    main()
