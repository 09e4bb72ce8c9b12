"""What becomes of the ternary codes at the boundary and at the end, cell by cell.

    python experiments/codes.py experiments/005_root_cause

Reads the store and writes ``tables/codes.csv``: for each combination of settings the means over seeds of the
latent absmean, the share of codes that changed in the last step, the share that is zero, and the number of
matrices whose absmean the quantiser clamps; of the first two also the range over seeds, and n as *k of n*
where only k of the runs have a record there. A description: no criterion was fixed. Where ``model.weights``
is full there are no codes, and their cells are empty.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from bitnet_sweep.report import make_report
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.settings import shown

SETTINGS = ("lr", "optimizer.name", "optimizer.decay", "model.weights", "model.activations")
"""What tells a row from another, besides hidden size and decay."""

FIELDS = {"absmean": "{:.2e}", "flip_rate": "{:.4f}", "zero_frac": "{:.3f}", "clamped_layers": "{:.1f}"}
"""What is read of a record's ``ternary/``, and how its mean is written."""

RANGED = ("absmean", "flip_rate")


def rows_of(arms: list[Arm]) -> list[dict[str, Any]]:
    """A row for each cell and place; until the boundary ``wd2`` does nothing, so its arms are one cell.

    Raises:
        ValueError: the arms differ in more than the settings, hidden, decay and the seed.
    """
    cells: dict[tuple[str, ...], dict[int | None, Arm]] = defaultdict(dict)
    for arm in arms:
        settings = tuple(arm.settings[key] for key in SETTINGS)
        cells["boundary", shown(arm.hidden), *settings, ""][arm.seed] = arm
        end = cells["end", shown(arm.hidden), *settings, repr(arm.wd2)]
        if arm.seed in end:
            raise ValueError(f"two runs of seed {arm.seed} at {settings}: the store varies in more")
        end[arm.seed] = arm
    return [_row(key, list(seeds.values())) for key, seeds in sorted(cells.items())]


def _row(key: tuple[str, ...], arms: list[Arm]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(("at", "hidden", *SETTINGS, "wd2"), key, strict=True))
    steps = [arm.boundary_step if row["at"] == "boundary" else arm.steps for arm in arms]
    found = {
        field: [
            value
            for arm, step in zip(arms, steps, strict=True)
            if not isinstance(value := arm.value(step, f"ternary/{field}"), str)
        ]
        for field in FIELDS
    }
    recorded = max(len(known) for known in found.values())
    row["n"] = len(arms) if recorded == len(arms) else f"{recorded} of {len(arms)}"
    for field, form in FIELDS.items():
        known = found[field]
        row[field] = form.format(mean(known)) if known else ""
        if field in RANGED:
            row[f"{field}_range"] = f"{form.format(min(known))} to {form.format(max(known))}" if known else ""
    return row


def table(store: Path) -> str:
    """As CSV."""
    arms = make_report([store]).study.arms
    return pd.DataFrame(rows_of(arms), dtype=object).to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "codes.csv").write_text(table(experiment / "store.tar.gz"))
