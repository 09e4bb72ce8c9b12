"""N one-thread jobs side by side on N cores against one N-thread job: steps a second in all.

    python -m bench.threads [--jobs 2] [--hidden 256 1024] [--steps 10] [--rounds 15] [--out FOLDER]

The job is this project's step at ``mixed``. Both ways take turns, A B A B ..., each making the same number of
steps in a turn: ``--steps`` in each of N processes, or N times that in one. A turn is timed from its first
start to its last end; the ratio is the median over rounds. All N + 1 processes live throughout.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from bench.arms import Arm, Setting
from bench.tables import Row, quartiles, ratio, table, where, write
from bitnet_sweep.paths import expanded

COLUMNS = {
    "hidden": "hidden",
    "batch": "batch",
    "way": "way",
    "steps_per_s": "steps/s in all (median)",
    "quartiles": "quartiles",
    "of_one_job": "times the one job's rate",
    "peak_mb": "peak memory in all, MB",
}


def rate(arms: Sequence[Arm], steps: int) -> float:
    """Steps a second of all arms together, each of which makes so many."""
    started = time.perf_counter()
    for arm in arms:
        arm.start(steps)
    for arm in arms:
        arm.wait()
    return len(arms) * steps / (time.perf_counter() - started)


def measure(setting: Setting, jobs: int, steps: int, rounds: int, warmup: int = 2) -> list[Row]:
    """The rows of one size: jobs of one thread each, then one job with all threads."""
    ways = {
        f"{jobs} jobs of 1 thread": [Arm("mixed", setting) for _ in range(jobs)],
        f"1 job of {jobs} threads": [Arm("mixed", replace(setting, threads=jobs))],
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(warmup + rounds):
        for way, arms in ways.items():
            rates[way].append(rate(arms, steps * jobs // len(arms)))
    rates = {way: values[warmup:] for way, values in rates.items()}
    *_, one = rates.values()
    return [
        {
            "hidden": setting.hidden,
            "batch": f"{setting.batch}x{setting.length}",
            "way": way,
            "steps_per_s": round(median(rates[way]), 2),
            "quartiles": quartiles(rates[way], digits=2),
            "of_one_job": ratio(rates[way], one),
            "peak_mb": round(sum(arm.close().peak_mb for arm in arms)),
        }
        for way, arms in ways.items()
    ]


def main() -> None:
    """Print the table; with ``--out`` also write it as Markdown and JSON."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="one a core")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--batch", default="4x32", help="sequences x tokens")
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--steps", type=int, default=10, help="of each job in a turn")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=expanded, help="folder for threads.md and threads.json")
    options = parser.parse_args()
    batch, length = map(int, options.batch.split("x"))
    here, rows = where(), []
    print(", ".join(f"{key}: {value}" for key, value in here.items()))
    for hidden in options.hidden:
        setting = Setting(hidden, batch, length, options.vocab_size)
        rows += measure(setting, options.jobs, options.steps, options.rounds)
        print(table(rows[-2:], COLUMNS), flush=True)
    if options.out:
        write(options.out, "threads", "Jobs side by side", table(rows, COLUMNS), here, rows)


if __name__ == "__main__":
    main()
