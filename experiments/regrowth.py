"""How much learning rate is spent between the end of decay and the recovery, by run.

    python experiments/regrowth.py experiments/006_trigger

Reads the store and writes ``tables/regrowth.csv``: for each run whose decay ends at 0.0 the settings in
which these runs differ, the outcome, the boundary, the mean latent weight there, the recovery step, and the
sums of the learning rates of the steps from the boundary to the last probe before the recovery, to the probe
that shows it, and to the end. Under Adam a weight moves by about its learning rate a step, so such a sum says
how far it can have grown. Not fixed before the runs of 006: they suggested it.
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
from bitnet_sweep.report.settings import setting_text

SETTINGS = (
    "lr",
    "boundary",
    "lr_boundary",
    "schedule.lr_bend_from",
    "schedule.lr_bend_to",
    "schedule.lr_final",
    "loss.label_smoothing",
    "optimizer.clip",
    "optimizer.name",
)
"""What may differ between the runs of a study, in the order of the columns."""


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
    ended = [arm for arm in arms if arm.wd2 == 0.0 and arm.boundary_step and arm.steps]
    ended.sort(key=lambda arm: (sorted(arm.settings.items()), arm.order))
    told = [key for key in SETTINGS if len({_cell(arm, key) for arm in ended}) > 1]
    return [{key: _cell(arm, key) for key in told} | _row(arm) for arm in ended]


def _row(arm: Arm) -> dict[str, Any]:
    boundary, steps, recovery = arm.boundary_step, arm.steps, arm.outcome.recovery_step
    assert boundary is not None, "only arms whose decay ends are asked"
    assert steps is not None, "nor those without a length"
    absmean = arm.value(boundary, "ternary/absmean")
    row = {
        "seed": arm.seed,
        "outcome": arm.result,
        "boundary_step": boundary,
        "absmean_at_boundary": absmean if isinstance(absmean, str) else f"{absmean:.6f}",
        "recovery_step": recovery or "",
        "sum_before_recovery": "",
        "sum_to_recovery": "",
        "sum_to_end": f"{spent(arm, boundary, steps):.3f}",
    }
    if recovery:
        probe_before = max(step for step in arm.by_step if step < recovery)
        row["sum_before_recovery"] = f"{spent(arm, boundary, probe_before):.3f}"
        row["sum_to_recovery"] = f"{spent(arm, boundary, recovery):.3f}"
    return row


def _cell(arm: Arm, key: str) -> str:
    value = arm.run.config[key]
    return f"{value:.3g}" if isinstance(value, float) else setting_text(arm.run.config, key)


def table(store: Path) -> str:
    """As CSV."""
    frame = pd.DataFrame(rows_of(make_report([store]).study.arms), dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "regrowth.csv").write_text(table(experiment / "store.tar.gz"))
