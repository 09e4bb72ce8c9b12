"""The published studies under ``experiments/``: their stores and programs, found in one place."""

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
STORE = "store.tar.gz"
STUDIES = sorted(path.parent for path in EXPERIMENTS.glob(f"*/{STORE}"))
"""The folders of those whose store is published; ``bitnet_sweep.store.opened`` opens it."""


def program(name: str, study: Path = EXPERIMENTS) -> dict[str, Any]:
    """What a program defines: it lies in its study's folder, or beside the studies where several use it."""
    own = study / f"{name}.py"
    return runpy.run_path(str(own if own.exists() else EXPERIMENTS / f"{name}.py"))


def extra_tables(study: Path) -> dict[str, str]:
    """A study's tables that no report has, made again by the programs of their names."""
    made: dict[str, str] = {}
    names = [path.stem for folder in (EXPERIMENTS, study) for path in folder.glob("*.py")]
    for name in names:
        if (study / "tables" / f"{name}.csv").exists():
            defined = program(name, study)
            store = study / STORE
            made |= defined["tables"](store) if "tables" in defined else {name: defined["table"](store)}
    return made
