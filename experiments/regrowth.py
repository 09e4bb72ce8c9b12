"""How much learning rate is spent between the end of decay and the recovery, by run.

    python experiments/regrowth.py experiments/006_trigger

Reads ``store/`` and writes ``tables/regrowth.csv``: for each run whose decay ends at 0.0 the outcome, the
boundary, the recovery step, and the sum of the learning rates of the steps from the boundary to the recovery
and to the end. Under Adam a weight moves by about its learning rate a step, so the sum says how far it can
have grown. Not fixed before the runs of 006: they suggested it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from bitnet_sweep.config import Knot, Stage
from bitnet_sweep.report import make_report
from bitnet_sweep.report.arms import Arm


def spent(arm: Arm, first: int, last: int) -> float:
    """The sum of the learning rates of the steps behind ``first`` up to ``last``."""
    total, start = 0.0, 0
    for written in arm.run.config["stages"]:
        stage = Stage(written["steps"], written["weight_decay"], [Knot(**knot) for knot in written["lr"]])
        steps = range(max(first, start) + 1, min(last, start + stage.steps) + 1)
        total += sum(stage.lr_at(step - start) for step in steps)
        start += stage.steps
    return total


def rows_of(arms: Iterable[Arm]) -> list[dict[str, Any]]:
    """A row for each arm whose decay ends at 0.0, by its settings and seed."""
    rows = []
    for arm in sorted(arms, key=lambda arm: (sorted(arm.settings.items()), arm.order)):
        if arm.wd2 != 0.0 or arm.boundary_step is None or arm.steps is None:
            continue
        config, recovery = arm.run.config, arm.outcome.recovery_step
        rows.append(
            {
                "boundary": f"{config['boundary']:.3g}",
                "lr_boundary": f"{config['lr_boundary']:.3g}",
                "lr_bend_from": f"{config['schedule.lr_bend_from']:.3g}",
                "seed": arm.seed,
                "outcome": arm.result,
                "boundary_step": arm.boundary_step,
                "recovery_step": recovery or "",
                "sum_to_recovery": f"{spent(arm, arm.boundary_step, recovery):.3f}" if recovery else "",
                "sum_to_end": f"{spent(arm, arm.boundary_step, arm.steps):.3f}",
            }
        )
    return rows


def table(store: Path) -> str:
    """As CSV."""
    frame = pd.DataFrame(rows_of(make_report([store]).study.arms), dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "regrowth.csv").write_text(table(experiment / "store"))
