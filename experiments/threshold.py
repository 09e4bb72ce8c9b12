"""The thresholds that a bisection found, beside those that conf/experiment/007_threshold.yaml predicted.

    python experiments/threshold.py experiments/007_threshold

Reads ``store/bisections/*.json`` and writes ``tables/threshold.csv``: for each cell the last interval, its
middle, both predictions and by what factor the middle exceeds them.
"""

from __future__ import annotations

import json
import sys
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd

from bitnet_sweep.report.listing import parameter_counts

GRADIENT_NORMS = {"clipped": 1.0, "collapsed": 0.05}
"""G of the two predictions: all that clipping lets through, and as measured at a boundary (003)."""

LAYERS, VOCABULARY = 4, 4096
"""Of scale=small."""


def predicted(hidden: int, norm: float) -> float:
    """G sqrt(hidden / N)."""
    total = parameter_counts(hidden, LAYERS, 2 * hidden, VOCABULARY, tied=False)[0]
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


def table(store: Path) -> str:
    """As CSV."""
    (path,) = (store / "bisections").glob("*.json")
    frame = pd.DataFrame(rows_of(json.loads(path.read_text())), dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "threshold.csv").write_text(table(experiment / "store"))
