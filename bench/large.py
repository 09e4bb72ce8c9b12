"""Time what must stay quick on many finished runs: planning and skipping a sweep, frame, report, status.

    python -m bench.large [--runs 10000] [--records 30] [--shape grid|sections] [--out FOLDER]

Each is a process of its own, whose wall time, processor time and peak memory (``VmHWM``) are told; the
sweep is also given on a twentieth of the runs. The stores are written here with the fields of real ones;
the numbers in their records are made up and mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import open_dict

from bench.tables import Row, table, where, write
from bitnet_sweep.app import config_folder
from bitnet_sweep.compose import Composer, sweep_settings
from bitnet_sweep.paths import expanded
from bitnet_sweep.store import FINISHED, Status, Store
from bitnet_sweep.sweep.grid import make_grid, overrides_of, read_axes
from bitnet_sweep.sweep.orchestrate import plan_runs
from bitnet_sweep.sweep.plan import PlannedRun

TIMED = """
import json, re, runpy, sys, time
start = time.perf_counter()
sys.argv[:] = sys.argv[1:]
{work}
facts = {{"wall_s": time.perf_counter() - start, "cpu_s": time.process_time()}}
status = open("/proc/self/status").read()
facts["peak_mb"] = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
print("\\n" + json.dumps(facts))
"""
REPORT = """
from pathlib import Path
from bitnet_sweep.report import make_report, write_report
report = make_report([Path(sys.argv[1])])
"""
FRAME = "report.table('records').frame"
WHOLE = "write_report(report, Path(sys.argv[2]))"
SWEEP = """
try:
    runpy.run_module("bitnet_sweep", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code
"""
STATUS = SWEEP.replace('"bitnet_sweep"', '"bitnet_sweep.status"')
COLUMNS = {"what": "what", "runs": "runs", "wall_s": "s", "cpu_s": "s of CPU", "peak_mb": "peak memory, MB"}
LAYERS = [
    f"blocks.{i}.{name}"
    for i in range(4)
    for name in ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")
]


def main() -> None:
    """Write the stores, time everything, print the table; with ``--out`` also write it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=30)
    parser.add_argument(
        "--shape", choices=["grid", "sections"], default="grid", help="few sections, or very many"
    )
    parser.add_argument("--out", type=expanded, help="folder for large.md and large.json")
    options = parser.parse_args()
    here, runs = where(), options.runs
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store, out = Path(folder) / "store", Path(folder) / "out"
        write_store(store, runs, options.records, options.shape)
        for what, work in (("frame", FRAME), ("report", WHOLE)):
            facts = timed(REPORT + work, ["report", str(store), str(out)])
            rows.append({"what": what, "runs": runs, **facts})
        facts = timed(STATUS, ["status", str(store)])
        rows.append({"what": "status", "runs": runs, **facts})
        print(f"report.html: {(out / 'report.html').stat().st_size / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as folder:
        seeds = math.ceil(runs / SETTINGS)
        finished_store(grid(Path(folder), seeds), options.records)
        for count in (math.ceil(seeds / 20), seeds):
            facts = timed(SWEEP, ["bitnet_sweep", "-m", *grid(Path(folder), count)])
            rows.append({"what": "plan and skip", "runs": count * SETTINGS, **facts})
    shown = table(rows, COLUMNS)
    print(shown)
    if options.out:
        write(options.out, "large", "Many finished runs", shown, here, rows)


def timed(work: str, arguments: Sequence[str]) -> Row:
    """Wall and processor seconds and peak memory of a process that does this work, imports included."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(work=work), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    facts: Row = json.loads(done.stdout.splitlines()[-1])
    return {key: round(value, 1 if key != "peak_mb" else None) for key, value in facts.items()}


SETTINGS = 2 * 2 * 5
"""Points of :func:`grid` for one seed: models, sizes, second-stage decays."""


def grid(folder: Path, seeds: int) -> list[str]:
    """A command's overrides for so many runs of each setting, on a text of their own."""
    corpus = folder / "corpus.txt"
    if not corpus.exists():
        corpus.write_text("\n\n".join(f"{i} quick brown foxes, {i + 1} lazy dogs." for i in range(2000)))
    return [
        "model=ternary,full",
        "model.hidden=16,32",
        "wd2=range(0.0,0.045,0.01)",
        "model.num_heads=2",
        "steps=20",
        "data=text",
        f"data.path={corpus}",
        "tokenizer.vocab_size=300",
        "track=none",
        f"store={folder / 'store'}",
        f"seed=range({seeds})",
    ]


def planned(words: Sequence[str]) -> tuple[Store, list[PlannedRun]]:
    """What the sweeper does up to the plan."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def load(overrides: Sequence[str]) -> Any:
            config = loader.load_configuration("config", list(overrides), run_mode=RunMode.RUN)
            with open_dict(config):
                del config["hydra"]
            return config

        parser = OverridesParser.create(config_loader=loader)
        axes = read_axes(parser.parse_overrides(list(words)), parser)
        compose = Composer(load, lambda key: bool(loader.get_group_options(key)))
        points = make_grid(axes, sweep_settings(axes, load), compose).points
    return plan_runs([(overrides_of(point), config) for point, config in points])


def finished_store(words: Sequence[str], records: int) -> tuple[Store, list[PlannedRun]]:
    """Every run of the grid as if it had been trained; nothing is flushed to disk one by one."""
    store, runs = planned(words)
    record = json.dumps({f"some/field{i}": i / 7 for i in range(40)} | {"step": 20, "val/loss": 5.0})
    for run in runs:
        status = Status(FINISHED, list(run.stage_ids), run.run_id, outcome="stuck").__dict__
        folder = store.run(run.run_id)
        folder.path.mkdir(parents=True)
        (folder.path / "status.json").write_text(json.dumps(status))
        folder.records_path.write_text(f"{record}\n" * records)
    return store, runs


def write_store(store: Path, runs: int, records: int, shape: str = "grid") -> None:
    """A sweep of ``runs`` finished runs: pairs of arms of one trunk that differ in ``wd2``.

    Args:
        shape: *grid* has 20 points and the rest are seeds; *sections* has as many learning rates as it can.
    """
    sizes, decays, forms = (128, 256, 512, 1024), (0.0, 0.05), ("adam_l2", "adamw")
    rates = (
        [5e-4, 1e-3, 1.5e-3] if shape == "grid" else [round(1e-4 * (i + 1), 6) for i in range(runs // 32 + 1)]
    )
    seeds = range(math.ceil(runs / (len(sizes) * len(decays) * len(forms) * len(rates))))
    points = list(product(sizes, rates, forms, seeds, decays))[:runs]
    chance = random.Random(0)  # noqa: S311  # made-up numbers
    for number, (hidden, rate, form, seed, wd2) in enumerate(points):
        folder = store / "runs" / f"{number:016x}"
        folder.mkdir(parents=True)
        config = _config(hidden, rate, form, seed, wd2)
        (folder / "config.yaml").write_text(yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False))
        trunk = f"t{number // 2:015x}"
        status = {"schema": 1, "run_id": folder.name, "state": "finished", "stage_ids": [trunk, folder.name]}
        status |= {"parent_stage_id": trunk, "attempts": 1, "updated": "2026-01-01T00:00:00Z", "error": None}
        (folder / "status.json").write_text(json.dumps(status))
        lines = [json.dumps(_record(chance, index, records, wd2)) for index in range(records)]
        (folder / "records.jsonl").write_text("\n".join(lines) + "\n")
    (store / "sweeps").mkdir()
    document = {"command": "made up", "overrides": [], "run_ids": [f"{n:016x}" for n in range(len(points))]}
    (store / "sweeps" / "made_up.json").write_text(json.dumps(document))


def _config(hidden: int, rate: float, form: str, seed: int, wd2: float) -> dict[str, Any]:
    first = {"steps": 1000, "weight_decay": 0.1, "lr": [{"step": 0, "lr": 0.0}, {"step": 1000, "lr": rate}]}
    last = {"steps": 1000, "weight_decay": wd2, "lr": [{"step": 0, "lr": rate}, {"step": 1000, "lr": 1e-6}]}
    model = {"hidden": hidden, "num_layers": 4, "num_heads": 4, "ffn": 2 * hidden, "tied": False}
    return {
        "scale": "small",
        "model": model | {"weights": "ternary", "activations": "int8"},
        "lr": rate,
        "wd1": 0.1,
        "wd2": wd2,
        "seed": seed,
        "steps": 2000,
        "boundary": 0.5,
        "lr_boundary": 0.5,
        "batch_size": 4,
        "sequence_length": 32,
        "warmup_steps": 75,
        "stages": [first, last],
        "optimizer": {"name": form, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "decay": "all", "clip": 1.0},
        "data": {"name": "world_factbook", "order": "random", "heldout_fraction": 0.05},
        "tokenizer": {"name": "bpe", "vocab_size": 4096},
        "precision": "fp32",
    }


def _record(chance: random.Random, index: int, records: int, wd2: float) -> dict[str, float | None]:
    from bitnet_sweep.records import FIELDS

    half = records // 2
    step = (
        round(1000 * index / (half - 1))
        if index < half
        else 1000 + 1000 * (index + 1 - half) // (records - half)
    )
    step = max(step, 1)
    loss = 8.3 - 6 * max(0.0, step / 2000 - 0.5) * (wd2 == 0.0) + chance.gauss(0, 0.05)
    record: dict[str, float | None] = {name: chance.random() for name in FIELDS}
    record |= {f"ternary/absmean/{layer}": chance.random() for layer in LAYERS}
    record |= {"step": step, "stage": 1 if step <= 1000 else 2, "val/loss": loss, "ref/unigram_loss": 6.5}
    return record | {"probe/unique_tokens": chance.randint(2, 20)}


if __name__ == "__main__":
    main()
