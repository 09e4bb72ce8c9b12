"""Put a sweep's evidence under version control: the store without tensors, and the report made from it.

    python experiments/publish.py STORE SWEEP experiments/NNN_name

Writes ``store/`` (the sweep, and what it bisected; config, status, records and samples of its runs),
``tables/`` and ``figures/``.
``tests/test_experiments.py`` makes the tables again from that store and compares them byte for byte.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from bitnet_sweep.report import make_report, write_report

KEPT = ("config.yaml", "status.json", "records.jsonl", "samples.jsonl")


def main() -> None:
    """Copy the text files of a sweep and write its report."""
    store, sweep, target = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    shutil.rmtree(target / "store", ignore_errors=True)
    for name in ("store.json", f"sweeps/{sweep}.json", f"bisections/{sweep}.json"):
        if (store / name).exists() or not name.startswith("bisections/"):
            _copy(store / name, target / "store" / name)
    for run_id in json.loads((store / "sweeps" / f"{sweep}.json").read_text())["run_ids"]:
        for name in KEPT:
            _copy(store / "runs" / run_id / name, target / "store" / "runs" / run_id / name)
    write_report(make_report([target / "store"], sweep), target / "report")
    for part in ("tables", "figures"):
        shutil.rmtree(target / part, ignore_errors=True)
        shutil.move(target / "report" / part, target / part)
    shutil.rmtree(target / "report")
    (target / "tables" / "records.csv").unlink()  # the store's records once more, and the largest file
    for picture in (target / "figures").glob("*.png"):  # the SVGs once more
        picture.unlink()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
