"""A table and a picture a batch: a training step of this project beside other ways to make it, and the floor.

    python -m bench.step [--hidden 256 1024] [--batch 4x32 8x256] [--rounds 15] [--out experiments/bench]
    python -m bench.step --device cuda --batch 4x32 32x256 64x1024 [--seconds 150] [--out DIR]

The arms (``bench.arms.ARMS`` says what each computes) take turns, A B C A B C ..., so that whatever else the
machine does meets all of them. Times are medians with the quartiles; ``speed-up`` is the median over rounds
of plain time / own time, ``mixed is faster`` of own time / mixed time, ``floor share`` of floor time / own
time. Memory is each arm's own process, whole: Python and torch with it. All arms live at once; with
``--anew`` one at a time, begun anew for each of its turns, where memory does not hold them all. A peer that
is not installed is left out, and so is an arm that cannot take its step, which is then said. On a GPU memory
is the GPU's, and the plain loop under ``torch.compile`` joins in, the peers only where they are asked for.

The class of the processor stands in the files' names and above each table, with the rates that the floor is
built from. Another class is timed on a richer processor by taking features away before Python starts:

    BITNET_SWEEP_CPU=avx512_vnni ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI python -m bench.step ...
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 python -m bench.step ...
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

from bench.arms import ARMS, Arm, ArmError, Facts, Setting, Timing
from bench.peers import PEERS, missing
from bench.rates import rates
from bench.tables import Row, quartiles, ratio, table, where, write
from bitnet_sweep.config import ConfigError, Device
from bitnet_sweep.paths import expanded
from bitnet_sweep.runtime import choose_device
from bitnet_sweep.sweep.provenance import accelerator

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

Absent = dict[str, str]
"""What is left out, and why."""


def side_by_side(
    setting: Setting, names: Sequence[str], rounds: int, warmup: int = 3
) -> tuple[Measured, Absent]:
    """A step each in turn, all processes alive throughout; the first rounds are not kept."""
    arms = [Arm(name, setting) for name in names]
    broken: Absent = {}
    for i in range(warmup + rounds):
        for arm in arms:
            if arm.name in broken:
                continue
            try:
                arm.run(1, keep=i >= warmup)
            except ArmError as error:
                broken[arm.name] = str(error)
    return {arm.name: (arm.timings, arm.close()) for arm in arms if arm.name not in broken}, broken


def one_at_a_time(
    setting: Setting, names: Sequence[str], rounds: int, warmup: int = 1
) -> tuple[Measured, Absent]:
    """A step each in turn, by a process begun anew for it, whose first steps are not kept."""
    kept: dict[str, list[Timing]] = {name: [] for name in names}
    facts: dict[str, Facts] = {}
    broken: Absent = {}
    for _ in range(rounds):
        for name in names:
            if name in broken:
                continue
            arm = Arm(name, setting)
            try:
                arm.run(warmup, keep=False)
                arm.run(1)
            except ArmError as error:
                broken[name] = str(error)
                continue
            kept[name] += arm.timings
            facts[name] = arm.close()
    return {name: (kept[name], facts[name]) for name in names if name not in broken}, broken


def rows_of(setting: Setting, measured: Measured) -> list[Row]:
    """The rows of one setting, one for each arm; what compares with an arm that is not there is None."""
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
                "speed_up": ratio(ms["plain"], own) if "plain" in ms else None,
                "mixed_faster": ratio(own, ms["mixed"]) if "mixed" in ms else None,
                "floor_share": ratio(ms["floor"], own) if "floor" in ms else None,
                "peak_mb": round(facts.peak_mb),
                "base_mb": round(facts.base_mb),
                "page_faults": round(median(timing.page_faults for timing in timings)),
            }
        )
    return rows


def arms_for(options: argparse.Namespace) -> tuple[list[str], Absent]:
    """The arms that are asked for, and which of them cannot be timed here."""
    on_gpu = options.device == "cuda"
    peers = options.peers if options.peers is not None else [] if on_gpu else list(PEERS)
    absent = {name: why for name in peers if (why := missing(name))}
    wanted = {name: name in peers and name not in absent for name in PEERS}
    wanted["plain_compiled"] = on_gpu if options.compiled is None else options.compiled
    return [name for name in ARMS if wanted.get(name, True)], absent


def main() -> None:
    """Print a table a batch; with ``--out`` also write it as Markdown and JSON, and draw it."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 512, 768, 1024])
    parser.add_argument("--batch", nargs="+", default=["4x32", "8x256"], help="sequences x tokens")
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, help="begin no further setting once these are over")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), help="default: all of them, on a GPU none")
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, help="default: on a GPU alone")
    parser.add_argument("--anew", action="store_true", help="one process at a time, begun anew each turn")
    parser.add_argument(
        "--out", type=expanded, help="folder for step_<batch>[_anew]_<class>.md, .json and .svg"
    )
    options = parser.parse_args()
    began = time.monotonic()
    try:
        device = choose_device(Device[options.device])
    except ConfigError as error:
        parser.error(str(error))
    names, absent = arms_for(options)
    for name, why in absent.items():
        print(f"{name} is left out: {why}")
    turns = "one at a time, begun anew for each turn" if options.anew else "all alive throughout"
    torch.set_num_threads(1)
    peers = {name: version(name) for name in names if name in PEERS}
    here = where() | accelerator(device) | {"processes": turns} | rates(options.device) | peers
    suffix = "_anew" if options.anew else ""
    suffix += "_cuda" if options.device == "cuda" else f"_{here['cpu_class']}"
    print(", ".join(f"{key}: {value}" for key, value in here.items()))
    rows: dict[str, list[Row]] = {shape: [] for shape in options.batch}
    left_out = {shape: dict(absent) for shape in options.batch}
    for hidden, shape in [(hidden, shape) for hidden in options.hidden for shape in options.batch]:
        if options.seconds is not None and time.monotonic() - began > options.seconds:
            left_out[shape][f"hidden {hidden}"] = f"the {options.seconds:g} seconds were over"
            print(f"hidden {hidden}, batch {shape} is left out: {left_out[shape][f'hidden {hidden}']}")
        else:
            batch, length = map(int, shape.split("x"))
            setting = Setting(
                hidden, batch, length, options.vocab_size, options.threads, device=options.device
            )
            measured, broken = _take_turns(setting, names, options)
            new = rows_of(setting, measured)
            rows[shape] = sorted([*rows[shape], *new], key=lambda row: int(row["hidden"]))
            left_out[shape] |= {f"{name} at hidden {hidden}": why for name, why in broken.items()}
            print(table(new, COLUMNS), *(f"{k} is left out: {why}" for k, why in broken.items()), sep="\n")
        if options.out and rows[shape]:  # after each size, for the largest takes as long as all others
            _save(options.out, f"step_{shape}{suffix}", rows[shape], here, names, left_out[shape])


def _take_turns(
    setting: Setting, names: Sequence[str], options: argparse.Namespace
) -> tuple[Measured, Absent]:
    if options.anew:
        return one_at_a_time(setting, names, options.rounds)
    # on a GPU each turn has a step of its own that is not kept
    return side_by_side(setting, names, options.rounds, warmup=1 if setting.device == "cuda" else 3)


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
