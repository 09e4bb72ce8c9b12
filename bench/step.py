"""One table: a training step of this project beside a plain PyTorch loop and the floor.

    python -m bench.step [--hidden 256 1024] [--batch 4x32 8x256] [--rounds 15] [--out experiments/bench]

The arms of a setting take turns (A B C A B C ...), so that whatever else the machine does meets all of
them. Times are medians with the quartiles; ``speed-up`` is the median over rounds of plain time / own
time. The floor is a step's matrix products alone and one fused Adam pass, timed in the same turns;
``floor share`` is the median over rounds of floor time / own time.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from tabulate import tabulate

from bench.arms import Arm, Setting
from bitnet_sweep.sweep.provenance import machine

ARMS = ("floor", "mixed", "fp32", "plain")
COLUMNS = {
    "hidden": "hidden",
    "batch": "batch",
    "arm": "arm",
    "ms": "ms (median)",
    "quartiles": "quartiles",
    "tokens_per_s": "tokens/s",
    "speed_up": "speed-up over plain",
    "floor_share": "floor share",
    "peak_mb": "peak memory, MB",
    "page_faults": "page faults a step",
}
Row = dict[str, Any]


def measure(setting: Setting, rounds: int, warmup: int = 3) -> list[Row]:
    """The rows of one setting, one for each arm."""
    arms = [Arm(name, setting) for name in ARMS]
    for i in range(warmup + rounds):
        for arm in arms:
            arm.run(1, keep=i >= warmup)
    ms = {arm.name: [timing.ms for timing in arm.timings] for arm in arms}
    rows = []
    for arm in arms:
        low, _, high = quantiles(ms[arm.name], n=4)
        rows.append(
            {
                "hidden": setting.hidden,
                "batch": f"{setting.batch}x{setting.length}",
                "arm": arm.name,
                "ms": round(median(ms[arm.name]), 1),
                "quartiles": f"{low:.1f} to {high:.1f}",
                "tokens_per_s": round(setting.tokens / median(ms[arm.name]) * 1e3),
                "speed_up": _ratio(ms["plain"], ms[arm.name]),
                "floor_share": _ratio(ms["floor"], ms[arm.name]),
                "peak_mb": round(arm.close()),
                "page_faults": round(median(timing.page_faults for timing in arm.timings)),
            }
        )
    return rows


def _ratio(numerator: list[float], denominator: list[float]) -> float:
    return round(median(a / b for a, b in zip(numerator, denominator, strict=True)), 2)


def where() -> dict[str, Any]:
    """Where and with what the numbers were taken."""
    return machine() | {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def table(rows: list[Row]) -> str:
    """Markdown."""
    cells = [[row[key] for key in COLUMNS] for row in rows]
    return tabulate(cells, headers=list(COLUMNS.values()), tablefmt="github")


def main() -> None:
    """Print the table; with ``--out`` also write it as Markdown and JSON."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 512, 768, 1024])
    parser.add_argument("--batch", nargs="+", default=["4x32", "8x256"], help="sequences x tokens")
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for step.md and step.json")
    options = parser.parse_args()
    here, rows = where(), []
    print(", ".join(f"{key}: {value}" for key, value in here.items()))
    for batch, length in (tuple(map(int, shape.split("x"))) for shape in options.batch):
        for hidden in options.hidden:
            setting = Setting(hidden, batch, length, options.vocab_size, options.threads)
            rows += measure(setting, options.rounds)
            print(table(rows[-len(ARMS) :]), flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        facts = "\n".join(f"- {key}: {value}" for key, value in here.items())
        options.out.joinpath("step.md").write_text(f"# A training step\n\n{facts}\n\n{table(rows)}\n")
        options.out.joinpath("step.json").write_text(json.dumps({"machine": here, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
