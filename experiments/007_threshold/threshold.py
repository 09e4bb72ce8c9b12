"""The thresholds that a bisection found, beside those that conf/experiment/007_threshold.yaml predicted.

    python experiments/007_threshold/threshold.py experiments/007_threshold

Reads the bisections in the store and writes ``tables/threshold.csv``: for each cell the last interval, its
middle, both predictions and by what factor the middle exceeds them; and ``tables/threshold_means.csv``: over
the seeds of a width and a learning rate, the mean of the middles and the extremes of those factors.
"""

from __future__ import annotations

import json
import sys
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd

from bitnet_sweep.counts import ternary_counts
from bitnet_sweep.store import opened

GRADIENT_NORMS = {"clipped": 1.0, "collapsed": 0.05}
"""G of the two predictions: all that clipping lets through, and as measured at a boundary (003)."""

LAYERS, VOCABULARY = 4, 4096
"""Of scale=small."""


def predicted(hidden: int, norm: float) -> float:
    """G sqrt(hidden / N)."""
    total = ternary_counts(hidden, LAYERS, 2 * hidden, VOCABULARY, tied=False).total
    return norm * sqrt(hidden / total)


def rows_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each cell, in the order of the grid."""
    rows = []
    for cell in document["cells"]:
        settings = dict(override.split("=", 1) for override in cell["overrides"])
        row: dict[str, Any] = {key: settings[key] for key in ("model.hidden", "lr", "seed")}
        row |= {"verdict": cell["verdict"], "recovered_at": "", "not_at": "", "middle": ""}
        middle = None
        if cell["interval"]:
            # decay hinders recovery, so the low end has it
            row["recovered_at"], row["not_at"] = cell["interval"]
            middle = sum(cell["interval"]) / 2
            row["middle"] = f"{middle:.5f}"
        for name, norm in GRADIENT_NORMS.items():
            law = predicted(int(row["model.hidden"]), norm)
            row[f"predicted_{name}"] = f"{law:.5f}"
            row[f"over_{name}"] = f"{middle / law:.2f}" if middle is not None else ""
        rows.append(row | {"probes": len(cell["probes"])})
    return rows


def means_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each width and learning rate; a cell without a threshold inside counts in ``n`` alone."""
    means = []
    for (hidden, lr), cells in pd.DataFrame(rows, dtype=object).groupby(["model.hidden", "lr"], sort=False):
        found = cells[cells["middle"] != ""]
        row = {"model.hidden": hidden, "lr": lr, "n": f"{len(found)} of {len(cells)}", "mean_middle": ""}
        row["verdicts"] = ", ".join(dict.fromkeys(cells["verdict"]))
        if len(found):
            row["mean_middle"] = f"{found['middle'].astype(float).mean():.5f}"
        for name in GRADIENT_NORMS:
            factors = found[f"over_{name}"].astype(float)
            row[f"over_{name}"] = f"{factors.min():.2f} to {factors.max():.2f}" if len(found) else ""
        means.append(row)
    return means


def tables(store: Path) -> dict[str, str]:
    """Both as CSV, by name."""
    with opened(store) as folder:
        (path,) = (folder / "bisections").glob("*.json")
        rows = rows_of(json.loads(path.read_text()))
    return {
        name: pd.DataFrame(content, dtype=object).to_csv(index=False, lineterminator="\n")
        for name, content in (("threshold", rows), ("threshold_means", means_of(rows)))
    }


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    for name, text in tables(experiment / "store.tar.gz").items():
        (experiment / "tables" / f"{name}.csv").write_text(text)
