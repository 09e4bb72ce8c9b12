"""The held-out loss of the running mean of the weights beside that of the weights themselves, at every probe.

    python experiments/019_public_claims/ema.py experiments/019_public_claims

Reads the store and writes ``tables/ema.csv``: a row for each run and for the boundary and the end, then the
means over seeds. ``worse`` is the loss of the mean minus that of the weights, in nats.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from bitnet_sweep.report import make_report

AT = ("boundary", "end")
LOSSES = {"loss": "val/loss", "loss_ema": "val/loss_ema"}


def table(store: Path) -> str:
    """As CSV."""
    rows = []
    for arm in make_report([store]).study.arms:
        config = arm.run.config
        for at, step in zip(AT, (arm.boundary_step, config["steps"]), strict=True):
            losses = {name: arm.value(step, field) for name, field in LOSSES.items()}
            said = {"weights": config["model.weights"], "wd": config["wd1"], "at": at, "seed": arm.seed}
            rows.append(said | losses | {"outcome": arm.result})
    frame = pd.DataFrame(rows).sort_values(["weights", "wd", "at", "seed"])
    frame["worse"] = frame["loss_ema"] - frame["loss"]
    means = frame.groupby(["weights", "wd", "at"], as_index=False)[[*LOSSES, "worse"]].mean()
    told = pd.concat([frame, means.assign(seed="mean")])
    return told.to_csv(index=False, float_format="%.3f", lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "ema.csv").write_text(table(experiment / "store.tar.gz"))
