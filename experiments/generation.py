"""Do recovered models write as well as never-collapsed ones at equal steps?

    python experiments/generation.py experiments/005_root_cause

Reads the store and writes ``tables/generation.csv``. Of each model and seed it takes the recovered run
(coupled decay, ``wd2=0.0``) and the healthy one (decoupled decay, ``wd2=0.0``), which start from equal
weights and read equal batches, and compares their last records. Fixed before the runs of 005, two seeds of
001 at hidden 512 being known: over at least three seeds recovered models write *as well* by a measure if the
95 % interval of the mean difference stays within the margin on the worse side, *worse* if all of it lies on
the worse side; else it is undecided.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import permutations
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from bitnet_sweep.report import make_report
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import ENOUGH_SEEDS
from bitnet_sweep.report.intervals import mean_interval
from bitnet_sweep.report.pairs import Pair, pair_of
from bitnet_sweep.report.settings import shown

BETTER = {"val/loss": -1, "sample/seq_rep_4": -1, "sample/distinct_2": 1}
"""Each measure, and the sign of what is better."""

MARGIN = 0.1
"""Nats, or share of the n-grams (chosen: the ledger's own margin for losses)."""


MODEL = ("model.weights", "model.activations", "optimizer.decay")
"""What tells one row's model from another's, besides the hidden size."""

OUTCOMES = {"adam_l2": "recovered", "adamw": "healthy"}
"""What each side of a pair must have become for the pair to count."""

Couples = dict[int | None, tuple[Arm, Arm]]
"""The run trained with coupled decay and the one with decoupled, by seed."""


def compare(store: Path) -> list[dict[str, Any]]:
    """A row for each model and measure; pairs of which one run has another outcome are not compared.

    Raises:
        ValueError: the runs differ in more than model, optimizer and seed.
    """
    models: dict[tuple[str, ...], Couples] = defaultdict(dict)
    ends = [arm for arm in make_report([store]).study.arms if arm.wd2 == 0.0]
    for a, b in permutations(ends, 2):
        if (a.settings["optimizer.name"], b.settings["optimizer.name"]) == tuple(OUTCOMES):
            pair = pair_of(a, b)
            if isinstance(pair, Pair) and pair.factor == "optimizer.name":
                model = (shown(a.hidden), *(a.settings[key] for key in MODEL))
                if a.seed in models[model]:
                    raise ValueError(f"two pairs of seed {a.seed} at {model}: the store varies in more")
                models[model][a.seed] = (a, b)
    return [_row(model, measure, couples) for model, couples in sorted(models.items()) for measure in BETTER]


def _row(model: tuple[str, ...], measure: str, couples: Couples) -> dict[str, Any]:
    ends = [
        (a.value(a.steps, measure), b.value(b.steps, measure))
        for _, (a, b) in sorted(couples.items(), key=str)
        if [a.outcome.kind, b.outcome.kind] == list(OUTCOMES.values())
    ]
    known = [(a, b) for a, b in ends if isinstance(a, float) and isinstance(b, float)]
    differences = [a - b for a, b in known]
    interval = mean_interval(differences)
    row = dict(zip(("hidden", "weights", "activations", "decay"), model, strict=True)) | {
        "measure": measure,
        "n": f"{len(known)} of {len(couples)}",
        "recovered": f"{mean(a for a, _ in known):.3f}" if known else "",
        "healthy": f"{mean(b for _, b in known):.3f}" if known else "",
        "mean_difference": f"{mean(differences):+.3f}" if known else "",
        "interval": f"{interval.low:+.3f} to {interval.high:+.3f}" if interval else "",
        "verdict": "too few pairs",
    }
    if interval and len(known) >= ENOUGH_SEEDS:
        sign = -BETTER[measure]  # from here on more is worse
        least, most = sorted((sign * interval.low, sign * interval.high))
        row["verdict"] = "as well" if most <= MARGIN else "worse" if least > 0 else "undecided"
    return row


def table(store: Path) -> str:
    """As CSV."""
    return pd.DataFrame(compare(store), dtype=object).to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "generation.csv").write_text(table(experiment / "store.tar.gz"))
