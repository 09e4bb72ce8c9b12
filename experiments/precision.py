"""Compare the two precisions of a sweep, by the criteria that conf/experiment/00[23]_precision*.yaml fixed.

    python experiments/precision.py experiments/002_precision

Reads the store and writes ``tables/precision.csv``: for each arm and probed step the held-out loss in
both precisions (medians over the seeds), the range of fp32 over the seeds, the median over the seeds of
|mixed - fp32| (criterion of 002) and the mean of mixed - fp32 (criterion of 003), whether each is within the
range, and how many seeds there are; in the rows of the last step also the outcomes.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, median
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from bitnet_sweep.store import opened

COLUMNS = ["wd2", "step", "fp32", "mixed", "fp32_range", "median_difference", "median_within"]
COLUMNS += ["mean_difference", "mean_within", "n", "same_outcome", "outcomes_fp32"]


def read(store: Path) -> dict[tuple[float, int, str], dict[str, Any]]:
    """Of each run by (wd2, seed, precision): held-out loss by step, and outcome."""
    with opened(store) as root:
        return dict(map(_read_run, sorted((root / "runs").iterdir())))


def _read_run(folder: Path) -> tuple[tuple[float, int, str], dict[str, Any]]:
    config = OmegaConf.load(folder / "config.yaml")
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    key = (float(config.wd2), int(config.seed), str(config.precision))
    status = json.loads((folder / "status.json").read_text())
    return key, {
        "losses": {record["step"]: record["val/loss"] for record in records},
        "outcome": status["outcome"],
    }


def compare(store: Path) -> list[dict[str, Any]]:
    """The rows of the table; every run must have its partner."""
    runs = read(store)
    seeds = defaultdict(set)
    for wd2, seed, _ in runs:
        seeds[wd2].add(seed)
    rows = []
    for wd2 in sorted(seeds):
        pairs = [(runs[wd2, seed, "fp32"], runs[wd2, seed, "mixed"]) for seed in sorted(seeds[wd2])]
        steps = list(pairs[0][0]["losses"])
        for step in steps:
            fp32 = [a["losses"][step] for a, _ in pairs]
            mixed = [b["losses"][step] for _, b in pairs]
            differences = [b - a for a, b in zip(fp32, mixed, strict=True)]
            typical, shift = median(map(abs, differences)), mean(differences)
            spread = max(fp32) - min(fp32)
            row = {
                "wd2": wd2,
                "step": step,
                "fp32": f"{median(fp32):.4f}",
                "mixed": f"{median(mixed):.4f}",
                "fp32_range": f"{spread:.4f}",
                "median_difference": f"{typical:.4f}",
                "median_within": typical <= spread,
                "mean_difference": f"{shift:.4f}",
                "mean_within": abs(shift) < spread,
                "n": len(pairs),
            }
            if step == steps[-1]:
                row["same_outcome"] = sum(a["outcome"] == b["outcome"] for a, b in pairs)
                row["outcomes_fp32"] = " ".join(sorted({a["outcome"] for a, _ in pairs}))
            rows.append(row)
    return rows


def table(store: Path) -> str:
    """As CSV."""
    frame = pd.DataFrame(compare(store), columns=COLUMNS, dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "precision.csv").write_text(table(experiment / "store.tar.gz"))
