"""Fail unless the demo's report shows what the demo is for.

    python experiments/check_demo.py demo/report

Under coupled decay every size must be recovered with wd2=0.0 and stuck with wd2=0.05.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

EXPECTED = {0.0: "recovered", 0.05: "stuck"}


def main() -> None:
    """Exit 1 with a line for each cell that is not as expected."""
    runs = pd.read_csv(Path(sys.argv[1]) / "tables" / "results.csv")
    cells = list(zip(runs["Hidden Size"], runs["wd2"].astype(float), runs["outcome"], strict=True))
    wrong = [
        f"hidden {hidden}, wd2 {wd2}: {outcome}, expected {EXPECTED.get(wd2)}"
        for hidden, wd2, outcome in cells
        if outcome != EXPECTED.get(wd2)
    ]
    if wrong or set(runs["wd2"]) != set(EXPECTED) or runs["Hidden Size"].nunique() < 2:
        sys.exit("\n".join(["the demo's table is not as it should be", *wrong]))
    print(f"demo: {len(runs)} runs, recovered at wd2=0.0 and stuck at wd2=0.05, as it should be")


if __name__ == "__main__":
    main()
