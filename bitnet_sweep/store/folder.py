"""One folder of the store: a run, or a trunk (a stage that runs fork from).

Both hold the same files, so both are written, resumed and read by the same code:
``config.yaml``, ``status.json``, ``records.jsonl``, ``samples.jsonl`` and ``log.jsonl`` (from step 1 on),
the newest checkpoint while training (``latest.json`` and the tensors it names), and at the end
``boundary.*`` (trunk: weights and optimizer) or ``final.safetensors`` (run: weights).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitnet_sweep import files
from bitnet_sweep.config import RunConfig
from bitnet_sweep.records import LogRow, Record, SampleRow, to_json_line
from bitnet_sweep.store import codec

LATEST, BOUNDARY = "latest", "boundary"
"""Names of checkpoints: the newest one while training, and the one a trunk leaves behind."""

Past = tuple[list[Record], list[SampleRow], list[LogRow]]
"""What a folder holds up to some step."""


@dataclass
class Status:
    """How far a folder has come; the truth about its state."""

    state: str
    """One of ``states.WRITTEN``."""
    stage_ids: list[str]
    """Every stage from the first to this folder's own."""
    run_id: str | None = None
    """None for a trunk."""
    parent_stage_id: str | None = None
    attempts: int = 0
    outcome: str | None = None
    """By ``outcome``, for a finished run; "diverged" also for a trunk."""
    marks: list[str] | None = None
    """Beside the outcome, those that hold; None where they are not known, as in an older version's status."""
    error: str | None = None
    """The traceback of the last failure."""
    diverged_step: int | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    """True counts: total, ternary, embedding (with the head)."""
    train_seconds: float = 0.0
    """Wall time of its jobs: besides training and probing, the mirror, checkpoints, and waiting for another
    process that trains the trunk. Killed attempts add nothing."""
    provenance: dict[str, Any] = field(default_factory=dict)
    science_version: int | None = None
    """``identity.SCIENCE_VERSION`` of the program that trained it; None in an older version's status."""
    code: dict[str, str] = field(default_factory=dict)
    """The fingerprint of each source file that can change a result; empty likewise."""
    updated: str = ""
    schema: int = codec.SCHEMA


@dataclass(frozen=True)
class Folder:
    """Paths and small files of one run or trunk; tensors are the business of ``store.checkpoint``."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def status_path(self) -> Path:
        return self.path / "status.json"

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def records_path(self) -> Path:
        return self.path / "records.jsonl"

    @property
    def samples_path(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def final_path(self) -> Path:
        return self.path / "final.safetensors"

    def status(self) -> Status | None:
        """The status on disk, or None where there is none yet, or none that can be read.

        What a lost status said is found again from the other files, see ``sweep.node``.

        Raises:
            ConfigError: a newer version wrote it.
        """
        try:
            document = files.read_json(self.status_path)
        except ValueError:
            return None
        if not isinstance(document, dict):
            return None
        codec.check_schema(self.path, document.get("schema"))
        known = {f.name for f in dataclasses.fields(Status)}
        return Status(**{key: value for key, value in document.items() if key in known})

    def status_modified(self) -> int | None:
        """When the status was last written, in the file system's nanoseconds; None where there is none."""
        try:
            return self.status_path.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def write_status(self, status: Status) -> None:
        status.updated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        files.write_json(self.status_path, dataclasses.asdict(status))

    def config(self) -> RunConfig:
        """The config it was trained with.

        Raises:
            OSError: there is none.
            ConfigError: it is none of this program's.
        """
        return codec.read_config(self.config_path)

    def write_config(self, config: dict[str, Any]) -> None:
        """Write a config that was made plain."""
        codec.write_config(self.config_path, config)

    def records(self, until_step: int | None = None) -> list[Record]:
        """The records on disk, those up to ``until_step`` where it is given."""
        return _until(codec.read_json_lines(self.records_path), until_step)

    def last_record(self) -> Record | None:
        """The newest record, without reading the others."""
        return codec.read_last_json_line(self.records_path)

    def samples(self, until_step: int | None = None) -> list[SampleRow]:
        """The samples on disk, likewise."""
        return _until(codec.read_json_lines(self.samples_path), until_step)

    def log(self, until_step: int | None = None) -> list[LogRow]:
        """The training log on disk, likewise; what cannot be read is left out, no result rests on it."""
        try:
            data = self.log_path.read_bytes()
        except FileNotFoundError:
            return []
        return _until(codec.log_of(data), until_step)

    def past(self, until_step: int | None = None) -> Past:
        """All three, likewise.

        Raises:
            ValueError: a line of the records or samples is no JSON.
        """
        return self.records(until_step), self.samples(until_step), self.log(until_step)

    def has_checkpoint(self, name: str) -> bool:
        """Whether there is a checkpoint of that name; it may still turn out corrupt."""
        return (self.path / f"{name}.json").exists()

    def rewrite(
        self, records: Sequence[Record], samples: Sequence[SampleRow], log: Sequence[LogRow] = ()
    ) -> None:
        """Replace all records, samples and the log, at a fork or when going on from a checkpoint."""
        files.write_lines(self.log_path, map(to_json_line, log))
        files.write_lines(self.records_path, map(to_json_line, records))
        files.write_lines(self.samples_path, (json.dumps(row) for row in samples))

    def append(self, record: Record, samples: Sequence[SampleRow] = ()) -> None:
        """Add a record, after the samples taken at the same step."""
        for row in samples:
            files.append_line(self.samples_path, json.dumps(row))
        files.append_line(self.records_path, to_json_line(record))

    def append_log(self, row: LogRow) -> None:
        """Add a row to the training log."""
        files.append_line(self.log_path, to_json_line(row))


def _until(rows: list[dict[str, Any]], step: int | None) -> list[dict[str, Any]]:
    return rows if step is None else [row for row in rows if row["step"] <= step]
