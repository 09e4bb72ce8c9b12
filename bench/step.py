"""A table and a picture a batch: a training step of this project beside other ways to make it, and the floor.

    python -m bench.step [--hidden 256 1024] [--batch 4x32 8x256] [--rounds 15] [--out experiments/bench]

The arms (``bench.arms.ARMS`` says what each computes) take turns, A B C A B C ..., so that whatever else the
machine does meets all of them. Times are medians with the quartiles; ``speed-up`` is the median over rounds
of plain time / own time, ``mixed is faster`` of own time / mixed time, ``floor share`` of floor time / own
time. Memory is each arm's own process, whole: Python and torch with it. All arms live at once. A peer that
is not installed is left out, and said to be.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.arms import ARMS, Arm, Setting
from bench.peers import PEERS, missing
from bench.tables import Row, quartiles, ratio, table, where, write

COLUMNS = {
    "hidden": "hidden",
    "batch": "batch",
    "arm": "arm",
    "parameters": "parameters",
    "ms": "ms (median)",
    "quartiles": "quartiles",
    "tokens_per_s": "tokens/s",
    "speed_up": "speed-up over plain",
    "mixed_faster": "mixed is faster, times",
    "floor_share": "floor share",
    "peak_mb": "peak memory, MB",
    "base_mb": "of it Python and torch, MB",
    "page_faults": "page faults a step",
}


def measure(setting: Setting, names: Sequence[str], rounds: int, warmup: int = 3) -> list[Row]:
    """The rows of one setting, one for each arm; floor, mixed and plain must be among them."""
    arms = [Arm(name, setting) for name in names]
    for i in range(warmup + rounds):
        for arm in arms:
            arm.run(1, keep=i >= warmup)
    ms = {arm.name: [timing.ms for timing in arm.timings] for arm in arms}
    rows = []
    for arm in arms:
        own, facts = ms[arm.name], arm.close()
        rows.append(
            {
                "hidden": setting.hidden,
                "batch": f"{setting.batch}x{setting.length}",
                "arm": arm.name,
                "parameters": facts.parameters,
                "ms": round(median(own), 1),
                "quartiles": quartiles(own),
                "tokens_per_s": round(setting.tokens / median(own) * 1e3),
                "speed_up": ratio(ms["plain"], own),
                "mixed_faster": ratio(own, ms["mixed"]),
                "floor_share": ratio(ms["floor"], own),
                "peak_mb": round(facts.peak_mb),
                "base_mb": round(facts.base_mb),
                "page_faults": round(median(timing.page_faults for timing in arm.timings)),
            }
        )
    return rows


def main() -> None:
    """Print a table a batch; with ``--out`` also write it as Markdown and JSON, and draw it."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 512, 768, 1024])
    parser.add_argument("--batch", nargs="+", default=["4x32", "8x256"], help="sequences x tokens")
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--out", type=Path, help="folder for step_<batch>.md, .json and .svg")
    options = parser.parse_args()
    absent = {name: why for name in options.peers if (why := missing(name))}
    for name, why in absent.items():
        print(f"{name} is left out: {why}")
    names = [name for name in ARMS if name not in PEERS or (name in options.peers and name not in absent)]
    here = where() | {name: version(name) for name in names if name in PEERS}
    print(", ".join(f"{key}: {value}" for key, value in here.items()))
    for shape in options.batch:
        batch, length = map(int, shape.split("x"))
        rows: list[Row] = []
        for hidden in options.hidden:
            setting = Setting(hidden, batch, length, options.vocab_size, options.threads)
            rows += measure(setting, names, options.rounds)
            print(table(rows[-len(names) :], COLUMNS), flush=True)
            if options.out:  # after each size, for the largest takes as long as all others
                _save(options.out, f"step_{shape}", rows, here, names, absent)


def _save(
    out: Path, name: str, rows: list[Row], here: Row, names: Sequence[str], absent: Mapping[str, str]
) -> None:
    from bench.picture import draw  # here, or the arms' processes would carry matplotlib

    legend = "\n".join(f"- `{arm}`: {ARMS[arm]}" for arm in names)
    left_out = "".join(f"\n- `{arm}` is left out: {why}." for arm, why in absent.items())
    text = f"{table(rows, COLUMNS)}\n\n{legend}{left_out}\n\n![The table as a picture]({name}.svg)"
    write(out, name, "A training step", text, here, rows)
    draw(rows, out / f"{name}.svg")


if __name__ == "__main__":
    main()
