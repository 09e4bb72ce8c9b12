"""A table: memory and time of a step on a large batch, whole and in parts, beside a batch of one such part.

    python -m bench.micro_batches [--hidden 256] [--batch 64x256] [--parts 8] [--rounds 3] [--out FOLDER]

Each line is a process of its own, one after the other; memory is its peak, whole, Python and torch with it.
Times are medians of the rounds.
"""

from __future__ import annotations

import argparse
from statistics import median

from bench.arms import Arm, Setting
from bench.tables import Row, table, where, write
from bitnet_sweep.paths import expanded

COLUMNS = {
    "precision": "precision",
    "batch": "batch",
    "micro_batches": "micro_batches",
    "peak_mb": "peak memory, MB",
    "base_mb": "of it Python and torch, MB",
    "ms": "ms a step (median)",
}


def measure(precision: str, setting: Setting, rounds: int) -> Row:
    """One line."""
    arm = Arm(precision, setting)
    arm.run(rounds)
    facts = arm.close()
    return {
        "precision": precision,
        "batch": f"{setting.batch}x{setting.length}",
        "micro_batches": setting.micro_batches,
        "peak_mb": round(facts.peak_mb),
        "base_mb": round(facts.base_mb),
        "ms": round(median(timing.ms for timing in arm.timings)),
    }


def main() -> None:
    """Print the table; with ``--out`` also write it as Markdown and JSON."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", default="64x256", help="sequences x tokens")
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=expanded, help="folder for micro_batches.md and micro_batches.json")
    options = parser.parse_args()
    batch, length = map(int, options.batch.split("x"))
    here, rows = where(), []
    for precision in ("mixed", "fp32"):
        for size, parts in ((batch, 1), (batch, options.parts), (batch // options.parts, 1)):
            setting = Setting(
                options.hidden, size, length, options.vocab_size, options.threads, micro_batches=parts
            )
            rows.append(measure(precision, setting, options.rounds))
            print(table(rows[-1:], COLUMNS), flush=True)
    if options.out:
        title = "The memory of a batch in parts"
        write(options.out, "micro_batches", title, table(rows, COLUMNS), here, rows)


if __name__ == "__main__":
    main()
