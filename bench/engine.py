"""What the engine costs and saves: an 8-run sweep against the same 8 runs as plain processes, one by one.

    python bench/engine.py --out experiments/bench/engine                  about 25 minutes on two cores
    python bench/engine.py --hidden 16,32 --steps 40 --repeats 1           shows that it works, in two minutes

The grid is two sizes by four second-stage decays. *Sweep* is one command under ``hydra/launcher=local``;
*alone* is eight commands without ``-m``, one after the other. Both orders are timed, as often as
``--repeats`` says, each in a fresh store with the token files already there; medians are compared. The
overhead of a job is the wall time less the seconds of its training steps and probes, by its records.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitnet_sweep import files
from bitnet_sweep.paths import expanded
from bitnet_sweep.store import codec
from bitnet_sweep.sweep.provenance import machine

WD2 = ["0.0", "0.02", "0.05", "0.1"]


def command(arguments: Sequence[str], folder: Path) -> float:
    """Run the product's command line; its wall time in seconds.

    Raises:
        CalledProcessError: it failed.
    """
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "bitnet_sweep", *arguments], cwd=folder, check=True, capture_output=True
    )
    return time.perf_counter() - began


def sweep(hidden: Sequence[str], fixed: Sequence[str], folder: Path) -> float:
    """All eight runs in one command."""
    return command(["-m", f"model.hidden={','.join(hidden)}", f"wd2={','.join(WD2)}", *fixed], folder)


def alone(hidden: Sequence[str], fixed: Sequence[str], folder: Path) -> float:
    """The same runs, one process after the other, each in a store of its own: nothing is shared."""
    total = 0.0
    for i, (h, wd2) in enumerate(itertools.product(hidden, WD2)):
        store = folder / str(i)
        shutil.copytree(folder / "runs" / "tokens", store / "tokens")
        total += command([f"model.hidden={h}", f"wd2={wd2}", *fixed, f"store={store}"], folder)
    return total


def trained_seconds(root: Path) -> tuple[float, int]:
    """Seconds of training steps and probes in all stores below, by their records, and the stages trained.

    A run's records hold its trunk's as well; where the trunk has a folder, they count there.
    """
    seconds, stages = 0.0, 0
    for path in sorted(root.glob("**/records.jsonl")):
        is_run = path.parent.parent.name == "runs"
        shared = is_run and (path.parents[2] / "stages").exists()
        records = [r for r in codec.read_json_lines(path) if not shared or r["stage"] > 1]
        stages += len({r["stage"] for r in records})
        for record in records:
            steps = record["ternary/window_steps"] * record["perf/step_ms"]
            seconds += (steps + record["perf/probe_ms"]) / 1000
    return seconds, stages


def measure(hidden: Sequence[str], fixed: Sequence[str], tokens: Path) -> dict[str, float]:
    """Both ways once, in both orders."""
    found: dict[str, float] = {}
    for first in ("sweep", "alone"):
        for way in (first, {"sweep": "alone", "alone": "sweep"}[first]):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                shutil.copytree(tokens, folder / "runs" / "tokens")
                wall = (sweep if way == "sweep" else alone)(hidden, fixed, folder)
                trained, stages = trained_seconds(folder)
            found[f"{way}, {first} first"] = wall
            found[f"{way} trained, {first} first"] = trained
            found[f"{way} stages"] = stages
    return found


def overhead(hidden: str, fixed: Sequence[str], tokens: Path, track: str) -> float:
    """Seconds a job costs beside training, from a sweep with one slot: what a second, third ... job adds.

    The wall time of four arms less that of one, less what was trained, over three.
    """
    rest = []
    for decays in (WD2[:1], WD2):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shutil.copytree(tokens, folder / "runs" / "tokens")
            arguments = [f"model.hidden={hidden}", f"wd2={','.join(decays)}", *fixed]
            arguments += [f"track={track}", "hydra.launcher.n_jobs=1", "sweep.share_stages=false"]
            wall = command(["-m", *arguments], folder)
            rest.append(wall - trained_seconds(folder)[0])
    return (rest[1] - rest[0]) / 3


def summarise(rounds: Sequence[dict[str, float]], slots: int) -> dict[str, Any]:
    """Medians over rounds and orders."""

    def median(way: str) -> float:
        return statistics.median(
            value for found in rounds for key, value in found.items() if key.startswith(way)
        )

    wall = {way: median(f"{way}, ") for way in ("sweep", "alone")}
    trained = {way: median(f"{way} trained") for way in ("sweep", "alone")}
    stages = {way: int(rounds[0][f"{way} stages"]) for way in ("sweep", "alone")}
    return {
        "sweep_seconds": wall["sweep"],
        "alone_seconds": wall["alone"],
        "speedup": wall["alone"] / wall["sweep"],
        "slots": slots,
        "sweep_engine_share": 1 - trained["sweep"] / (slots * wall["sweep"]),
        "alone_engine_share": 1 - trained["alone"] / wall["alone"],
        "alone_overhead_seconds_a_run": (wall["alone"] - trained["alone"]) / len(WD2) / 2,
        "stages_trained": stages,
        "rounds": list(rounds),
    }


def main() -> None:
    """Measure, print and write ``<out>.json`` and ``<out>.md``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", default="64,128", help="two sizes")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=expanded, default=Path("experiments/bench/engine"))
    options = parser.parse_args()
    hidden = options.hidden.split(",")
    base = [f"steps={options.steps}", "tokenizer.vocab_size=2048"]
    fixed = [*base, "track=none"]
    slots, here = len(os.sched_getaffinity(0)), machine()
    with tempfile.TemporaryDirectory() as name:
        prepared = Path(name)
        command([*fixed, "model.hidden=16", "steps=2"], prepared)
        tokens = prepared / "runs" / "tokens"
        rounds = []
        for _ in range(options.repeats):
            rounds.append(measure(hidden, fixed, tokens))
            print(json.dumps(rounds[-1]), flush=True)
        cost = {track: overhead(hidden[0], base, tokens, track) for track in ("none", "wandb")}
    result = summarise(rounds, slots) | {"overhead_seconds_a_job": cost}
    document = {"machine": here, "hidden": hidden, "steps": options.steps, "result": result}
    files.write_json(options.out.with_suffix(".json"), document)
    text = _markdown(here, hidden, options.steps, result)
    files.write_text(options.out.with_suffix(".md"), text)
    print(text)


def _markdown(here: dict[str, Any], hidden: Sequence[str], steps: int, result: dict[str, Any]) -> str:
    cost, stages = result["overhead_seconds_a_job"], result["stages_trained"]
    return "\n".join(
        [
            f"8 runs (hidden {' and '.join(hidden)}, {len(WD2)} values of wd2, {steps} steps), medians:",
            "",
            "| | one sweep | one by one |",
            "|---|---|---|",
            f"| wall time | {result['sweep_seconds']:.1f} s | {result['alone_seconds']:.1f} s |",
            f"| stages trained | {stages['sweep']} | {stages['alone']} |",
            f"| not training | {result['sweep_engine_share']:.0%} of {result['slots']} slots "
            f"| {result['alone_engine_share']:.0%} |",
            "",
            f"Speed-up {result['speedup']:.2f}. A further job of a sweep costs {cost['none']:.2f} s beside "
            f"its training, with a W&B mirror {cost['wandb']:.2f} s; a run by itself "
            f"{result['alone_overhead_seconds_a_run']:.1f} s.",
            "",
            f"`{here['cpu']}`, {here['cores']} cores, commit `{here['commit']}`",
            "",
        ]
    )


if __name__ == "__main__":
    main()
