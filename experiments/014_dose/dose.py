"""The shrinkage a step that each dose of decay stands for, beside what became of the first stage.

    python experiments/014_dose/dose.py experiments/014_dose

Reads the store and writes ``tables/dose.csv``, a row a run: form and size of the decay, outcome, held-out
loss at the boundary and above the unigram loss there, and the shrinkage of a BitLinear weight in one step at
the peak rate. With g the norm of the clipped gradient over the root of the number of parameters and |w| the
mean latent weight, both at the first probe behind step 1, that is lr * wd1 / (g + wd1 * |w|) for coupled
decay and lr * wd1 for decoupled decay. Fixed before the runs of 014.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from bitnet_sweep.report import make_report
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.settings import number


def shrinkage(form: str, lr: float, decay: float, g: float, weight: float) -> float:
    """The share of a weight that decay alone takes in one step of Adam."""
    return lr * decay if form == "adamw" else lr * decay / (g + decay * weight)


def row_of(arm: Arm) -> dict[str, Any]:
    """A run's."""
    config = arm.run.config
    early = min(step for step in arm.by_step if step > 1)
    clip = number(config["optimizer.clip"])
    norm = min(_of(arm, early, "optim/grad_norm"), clip or math.inf)
    g = norm / math.sqrt(arm.run.status["parameters"]["total"])
    form, decay, weight = config["optimizer.name"], config["wd1"], _of(arm, early, "ternary/absmean")
    loss = _of(arm, arm.boundary_step, "val/loss")
    return {
        "optimizer": form,
        "wd1": decay,
        "seed": arm.seed,
        "outcome": arm.result,
        "loss_at_boundary": f"{loss:.3f}",
        "above_unigram": f"{loss - _of(arm, arm.boundary_step, 'ref/unigram_loss'):.3f}",
        "step": early,
        "g": f"{g:.3g}",
        "absmean": f"{weight:.3g}",
        "shrinkage": f"{shrinkage(form, config['lr'], decay, g, weight):.3g}",
    }


def _of(arm: Arm, step: int | None, field: str) -> float:
    """A field of a record; not a number where there is none, as in a run that diverged."""
    found = arm.value(step, field)
    return math.nan if isinstance(found, str) else found


def table(store: Path) -> str:
    """As CSV."""
    rows = [row_of(arm) for arm in make_report([store]).study.arms]
    rows.sort(key=lambda row: (row["optimizer"], row["wd1"], row["seed"]))
    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "dose.csv").write_text(table(experiment / "store.tar.gz"))
