"""Stores written file by file, as any other program may write them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bitnet_sweep.report import Report
from bitnet_sweep.report.csv_files import csv_text

PUBLISHED = Path(__file__).parent / "data" / "published.csv"
"""The numbers of the notes, as they were handed down."""

SMALL: dict[str, Any] = {
    "scale": "small",
    "lr": 0.0015,
    "wd1": 0.1,
    "wd2": 0.0,
    "seed": 0,
    "steps": 100,
    "boundary": 0.5,
    "warmup_steps": 10,
    "model": {
        "hidden": 64,
        "weights": "ternary",
        "num_layers": 2,
        "num_heads": 2,
        "ffn": None,
        "tied": False,
    },
    "optimizer": {"name": "adam_l2"},
    "data": {"name": "text"},
    "tokenizer": {"vocab_size": 300},
}


@dataclass
class StoreWriter:
    """Writes runs and sweeps into one store."""

    root: Path

    def run(
        self,
        run_id: str,
        losses: dict[int, float | None] | None = None,
        tokens: dict[int, int] | None = None,
        *,
        state: str = "finished",
        status: dict[str, Any] | None = None,
        samples: list[dict[str, Any]] | None = None,
        unigram: float | None = 6.0,
        log: dict[int, float | None] | None = None,
        **config: Any,
    ) -> Path:
        """A run of 100 steps; keywords change its config, ``a__b`` for ``a.b``."""
        folder = self.root / "runs" / run_id
        folder.mkdir(parents=True)
        settings = json.loads(json.dumps(SMALL))
        for key, value in config.items():
            section, _, name = key.rpartition("__")
            (settings[section] if section else settings)[name] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        seed, hidden = settings["seed"], settings["model"]["hidden"]
        trunk = f"trunk-h{hidden}-s{seed}-{settings['optimizer']['name']}-lr{settings['lr']}"
        document = {"schema": 1, "run_id": run_id, "state": state, "stage_ids": [trunk, run_id]}
        document |= {"parent_stage_id": trunk, "attempts": 1, "updated": "2026-01-01T00:00:00Z"}
        (folder / "status.json").write_text(json.dumps(document | (status or {})))
        rows = []
        for step, loss in (losses or {}).items():
            row = {"step": step, "stage": 1 if step <= 50 else 2, "val/loss": loss, "train/loss_batch": loss}
            row |= {"ref/unigram_loss": unigram}
            rows.append(row | ({"probe/unique_tokens": tokens[step]} if tokens and step in tokens else {}))
        _write_lines(folder / "records.jsonl", rows)
        if log is not None:
            log_rows = [{"step": step, "log/train_loss": loss, "log/lr": 0.001} for step, loss in log.items()]
            _write_lines(folder / "log.jsonl", log_rows)
        if samples is not None:
            _write_lines(folder / "samples.jsonl", samples)
        return folder

    def sweep(self, name: str, run_ids: list[str], **document: Any) -> None:
        folder = self.root / "sweeps"
        folder.mkdir(parents=True, exist_ok=True)
        content = {"command": "sweep", "overrides": [], "run_ids": run_ids, "excluded": []}
        (folder / f"{name}.json").write_text(json.dumps(content | document))


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def store(tmp_path: Path) -> StoreWriter:
    """An empty store to write into."""
    root = tmp_path / "store"
    root.mkdir()
    return StoreWriter(root)


@pytest.fixture
def other_store(tmp_path: Path) -> StoreWriter:
    """A second one."""
    root = tmp_path / "other"
    root.mkdir()
    return StoreWriter(root)


@pytest.fixture(scope="session")
def published_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notes' four runs; what they did not publish (a loss here and there, U) is not there."""
    root = tmp_path_factory.mktemp("published")
    runs: dict[int, list[dict[str, Any]]] = {}
    lines = [line for line in PUBLISHED.read_text().splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines):
        record = {"step": int(row["step"]), "stage": int(row["stage"])}
        record |= {"probe/unique_tokens": int(row["tokens"])}
        loss = {"val/loss": float(row["loss"])} if row["loss"] else {}
        runs.setdefault(int(row["hidden"]), []).append(record | loss)
    for hidden, records in runs.items():
        folder = root / "runs" / f"published-{hidden}"
        folder.mkdir(parents=True)
        config = {"scale": "seed", "lr": 0.0015, "wd1": 0.1, "wd2": 0.0, "seed": 0, "steps": 10_000}
        model = {"hidden": hidden, "weights": "ternary", "num_layers": 4, "ffn": 2 * hidden, "tied": False}
        config |= {"boundary": 0.5, "model": model, "optimizer": {"name": "adam_l2"}}
        config |= {"tokenizer": {"name": "gpt2", "vocab_size": 50257}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        status = {"schema": 1, "run_id": folder.name, "state": "finished"}
        (folder / "status.json").write_text(json.dumps(status))
        _write_lines(folder / "records.jsonl", records)
    return root


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], StoreWriter]:
    """Makes an empty store that may outlive a test."""
    return lambda: StoreWriter(tmp_path_factory.mktemp("store"))


def as_read(report: Report, name: str) -> pd.DataFrame:
    """Every row of a table by the columns of its file, in the texts that a reader sees."""
    table = report.table(name)
    columns = [*table.columns, *(c.bounds for c in table.columns if c.interval_prefix is not None)]
    names = [f"{column.key}, 95%" if column.is_interval else column.key for column in columns]
    return pd.DataFrame([[c.text(row) for c in columns] for row in table.rows], columns=names, dtype=str)


def in_file(report: Report, name: str) -> pd.DataFrame:
    """A table as any reader of its CSV file finds it, cells as text."""
    return pd.read_csv(io.StringIO(csv_text(report.table(name))), dtype=str, keep_default_na=False)


ReadTable = Callable[[Path, str], list[dict[str, str]]]


@pytest.fixture(scope="session")
def read_table() -> ReadTable:
    """A table of a written report, row by row, as any CSV reader sees it."""

    def read(out: Path, name: str) -> list[dict[str, str]]:
        with (out / "tables" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return read
