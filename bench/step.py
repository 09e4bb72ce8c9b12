"""A table and a picture a batch: a training step of this project beside other ways to make it, and the floor.

    python -m bench.step [--hidden 256 1024] [--batch 4x32 8x256] [--rounds 15] [--out experiments/bench]

The arms (``bench.arms.ARMS`` says what each computes) take turns, A B C A B C ..., so that whatever else the
machine does meets all of them. Times are medians with the quartiles; ``speed-up`` is the median over rounds
of plain time / own time, ``mixed is faster`` of own time / mixed time, ``floor share`` of floor time / own
time. Memory is each arm's own process, whole: Python and torch with it. All arms live at once; with
``--anew`` one at a time, begun anew for each of its turns, where memory does not hold them all. A peer that
is not installed is left out, and said to be.

The class of the processor stands in the files' names and above each table, with the rates that the floor is
built from. Another class is timed on a richer processor by taking features away before Python starts:

    BITNET_SWEEP_CPU=avx512_vnni ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI python -m bench.step ...
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 python -m bench.step ...
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

from bench.arms import ARMS, Arm, Facts, Setting, Timing
from bench.peers import PEERS, missing
from bench.rates import rates
from bench.tables import Row, quartiles, ratio, table, where, write
from bitnet_sweep.paths import expanded

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


Measured = dict[str, tuple[list[Timing], Facts]]
"""What each arm's kept steps took, and its process."""


def side_by_side(setting: Setting, names: Sequence[str], rounds: int, warmup: int = 3) -> Measured:
    """A step each in turn, all processes alive throughout; the first rounds are not kept."""
    arms = [Arm(name, setting) for name in names]
    for i in range(warmup + rounds):
        for arm in arms:
            arm.run(1, keep=i >= warmup)
    return {arm.name: (arm.timings, arm.close()) for arm in arms}


def one_at_a_time(setting: Setting, names: Sequence[str], rounds: int, warmup: int = 1) -> Measured:
    """A step each in turn, by a process begun anew for it, whose first steps are not kept."""
    kept: dict[str, list[Timing]] = {name: [] for name in names}
    facts: dict[str, Facts] = {}
    for _ in range(rounds):
        for name in names:
            arm = Arm(name, setting)
            arm.run(warmup, keep=False)
            arm.run(1)
            kept[name] += arm.timings
            facts[name] = arm.close()
    return {name: (kept[name], facts[name]) for name in names}


def rows_of(setting: Setting, measured: Measured) -> list[Row]:
    """The rows of one setting, one for each arm; floor, mixed and plain must be among them."""
    ms = {name: [timing.ms for timing in timings] for name, (timings, _) in measured.items()}
    rows = []
    for name, (timings, facts) in measured.items():
        own = ms[name]
        rows.append(
            {
                "hidden": setting.hidden,
                "batch": f"{setting.batch}x{setting.length}",
                "arm": name,
                "parameters": facts.parameters,
                "ms": round(median(own), 1),
                "quartiles": quartiles(own),
                "tokens_per_s": round(setting.tokens / median(own) * 1e3),
                "speed_up": ratio(ms["plain"], own),
                "mixed_faster": ratio(own, ms["mixed"]),
                "floor_share": ratio(ms["floor"], own),
                "peak_mb": round(facts.peak_mb),
                "base_mb": round(facts.base_mb),
                "page_faults": round(median(timing.page_faults for timing in timings)),
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
    parser.add_argument("--anew", action="store_true", help="one process at a time, begun anew each turn")
    parser.add_argument(
        "--out", type=expanded, help="folder for step_<batch>[_anew]_<class>.md, .json and .svg"
    )
    options = parser.parse_args()
    absent = {name: why for name in options.peers if (why := missing(name))}
    for name, why in absent.items():
        print(f"{name} is left out: {why}")
    names = [name for name in ARMS if name not in PEERS or (name in options.peers and name not in absent)]
    take_turns = one_at_a_time if options.anew else side_by_side
    suffix = "_anew" if options.anew else ""
    turns = "one at a time, begun anew for each turn" if options.anew else "all alive throughout"
    torch.set_num_threads(1)
    here = where() | {"processes": turns} | rates() | {name: version(name) for name in names if name in PEERS}
    suffix += f"_{here['cpu_class']}"
    print(", ".join(f"{key}: {value}" for key, value in here.items()))
    for shape in options.batch:
        batch, length = map(int, shape.split("x"))
        rows: list[Row] = []
        for hidden in options.hidden:
            setting = Setting(hidden, batch, length, options.vocab_size, options.threads)
            rows += rows_of(setting, take_turns(setting, names, options.rounds))
            print(table(rows[-len(names) :], COLUMNS), flush=True)
            if options.out:  # after each size, for the largest takes as long as all others
                _save(options.out, f"step_{shape}{suffix}", rows, here, names, absent)


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
