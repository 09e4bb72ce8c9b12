"""Stores written by hand, and another process that holds a lease."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep.records import Record
from bitnet_sweep.store import Folder, Status, Store
from bitnet_sweep.store.asked_runs import AskedRun

HOLDER = """
import sys, time
from pathlib import Path
from bitnet_sweep.store.lease import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@dataclass
class StoreWriter:
    """Writes folders, owners and sweeps as jobs leave them."""

    store: Store

    def folder(self, folder: Folder, state: str, stage_ids: list[str], *records: Record) -> Folder:
        is_run = folder.path.parent.name == "runs"
        folder.write_config({"steps": 100})
        folder.write_status(Status(state, stage_ids, run_id=folder.id if is_run else None))
        folder.rewrite(records, [])
        return folder

    def run(self, run_id: str, state: str, *records: Record, trunk: str = "t") -> Folder:
        return self.folder(self.store.run(run_id), state, [trunk, run_id], *records)

    def trunk(self, stage_id: str, state: str, *records: Record) -> Folder:
        folder = self.folder(self.store.stage(stage_id), state, [stage_id], *records)
        (folder.path / "boundary.json").write_text("{}")
        (folder.path / "boundary-50.safetensors").write_bytes(bytes(1000))
        return folder

    def owner(self, folder: Folder, **changes: Any) -> None:
        """A heartbeat of this very process, which lives."""
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time()}
        (folder.path / "lease.json").write_text(json.dumps(owner | changes))

    def sweep(self, name: str, *runs: AskedRun, created: str = "2026-01-01T00:00:00Z") -> None:
        document = {"run_ids": [run.run_id for run in runs], "created": created}
        self.store.write_sweep(name, document | {"runs": [run.document() for run in runs]})


def asked(run_id: str, trunk: str = "t", name: str = "") -> AskedRun:
    """Two stages of 50 steps."""
    return AskedRun(run_id, name, (trunk, run_id), (50, 100))


@pytest.fixture
def writer(tmp_path: Path) -> StoreWriter:
    """An empty store to write into."""
    return StoreWriter(Store(tmp_path))


@pytest.fixture
def dead_pid() -> int:
    """Of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def held() -> Callable[[Path], Any]:
    """A context in which another process holds the lease of a folder."""
    return _held
