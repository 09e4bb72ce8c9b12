"""Loss of the training batches around steps 5,000 and 6,000, as the notes took it, beside the held-out loss.

    python experiments/013_notes_text/batches.py experiments/013_notes_text
    python experiments/013_notes_text/batches.py experiments/013_notes_text runs/tokens

Reads the store and writes ``tables/batches.csv``, a row for each run. ``batch`` is the loss of the single
batch before the update of that step, ``ten`` the mean of the 10 batches around it, ``heldout`` the loss on
held-out text. With the folder of token files it also prints the unigram loss of the same batches, which tells
how common their tokens are. The order is sequential, so every seed reads the same batches.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from bitnet_sweep.report import make_report

STEPS = (5000, 6000)
TOKENS_A_STEP = 128


def table(store: Path) -> str:
    """As CSV."""
    rows = []
    for arm in make_report([store]).study.arms:
        row: dict[str, object] = {
            "hidden": arm.run.config["model.hidden"],
            "wd2": arm.run.config["wd2"],
            "seed": arm.seed,
        }
        for name, field, steps in (
            ("batch", "train/loss_batch", (0,)),
            ("ten", "train/loss", (0, 5)),
            ("heldout", "val/loss", (0,)),
        ):
            before, after = (np.mean([arm.value(step + more, field) for more in steps]) for step in STEPS)
            row |= {f"{name} 5k": before, f"{name} 6k": after, f"{name} drop %": 100 * (1 - after / before)}
        rows.append(row)
    frame = pd.DataFrame(rows).sort_values(["hidden", "wd2", "seed"])
    return frame.to_csv(index=False, float_format="%.3f", lineterminator="\n")


def unigram_losses(tokens: Path) -> str:
    """Of the batches of each step and of the 10 around it, and the spread over all batches of one pass."""
    (train,) = tokens.glob("*.train.bin")
    (counts,) = tokens.glob("*.unigram.bin")
    ids = np.fromfile(train, np.uint16)
    shares = np.fromfile(counts, np.int64) / len(ids)
    whole = len(ids) // TOKENS_A_STEP
    losses = -np.log(shares[ids[: whole * TOKENS_A_STEP]]).reshape(whole, TOKENS_A_STEP).mean(axis=1)
    lines = [f"all {whole} batches: mean {losses.mean():.2f}, standard deviation {losses.std():.2f}"]
    for step in STEPS:
        ten = losses[(np.arange(step - 5, step + 5)) % whole]
        lines.append(f"step {step}: {losses[(step - 1) % whole]:.2f}, of 10 around it {ten.mean():.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "batches.csv").write_text(table(experiment / "store.tar.gz"))
    for folder in sys.argv[2:]:
        print(unigram_losses(Path(folder)))
