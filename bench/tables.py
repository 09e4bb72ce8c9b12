"""What the programs here share: where the numbers were taken, spread, tables and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from tabulate import tabulate

from bitnet_sweep.sweep.provenance import machine

Row = dict[str, Any]


def where() -> dict[str, Any]:
    """Where and with what the numbers were taken."""
    return machine() | {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def quartiles(values: Sequence[float], digits: int = 1) -> str:
    """The first and the third."""
    low, _, high = quantiles(values, n=4)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """The median over rounds of one time, or rate, over the other."""
    return round(median(a / b for a, b in zip(numerator, denominator, strict=True)), 2)


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Markdown: the keys of ``columns`` out of each row, under its values."""
    cells = [[row[key] for key in columns] for row in rows]
    return tabulate(cells, headers=list(columns.values()), tablefmt="github")


def write(folder: Path, name: str, title: str, text: str, here: Row, rows: Sequence[Row]) -> None:
    """``<name>.md``, the text below the machine, and ``<name>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = "\n".join(f"- {key}: {value}" for key, value in here.items())
    folder.joinpath(f"{name}.md").write_text(f"# {title}\n\n{facts}\n\n{text}\n")
    folder.joinpath(f"{name}.json").write_text(json.dumps({"machine": here, "rows": list(rows)}, indent=1))
