"""Time the report on a store of many finished runs, written here with the fields of real ones.

    python -m bench.report [--runs 10000] [--records 30] [--shape grid|sections]

The frame and the whole report are made in processes of their own; their time and largest resident
memory are printed. The numbers in the records are made up and mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import yaml

TIMED = """
import resource, sys, time
from pathlib import Path
start = time.perf_counter()
from bitnet_sweep.report import make_report, write_report
report = make_report([Path(sys.argv[1])])
{work}
seconds, megabytes = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{{seconds:.1f}} s ({{time.process_time():.1f}} s of CPU), {{megabytes:.0f}} MB")
"""
FRAME = "frame = report.table('records').csv; print(f'frame of {len(frame)} rows:')"
REPORT = "write_report(report, Path(sys.argv[2])); print('report:')"
LAYERS = [
    f"blocks.{i}.{name}" for i in range(4) for name in ("attention.qkv", "attention.out", "ffn.in", "ffn.out")
]


def main() -> None:
    """Write the store, then time both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=30)
    parser.add_argument(
        "--shape", choices=["grid", "sections"], default="grid", help="few sections, or very many"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        start = time.perf_counter()
        write_store(store, options.runs, options.records, options.shape)
        print(
            f"{options.runs} runs of {options.records} records written in {time.perf_counter() - start:.1f} s"
        )
        out = Path(folder) / "out"
        for work in (FRAME, REPORT):
            subprocess.run([sys.executable, "-c", TIMED.format(work=work), store, out], check=True)
        print(f"report.html: {(out / 'report.html').stat().st_size / 1e6:.2f} MB")


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
