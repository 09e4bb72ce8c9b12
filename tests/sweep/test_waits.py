"""Whoever waits for another process says for which one, and since when."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_sweep import files
from bitnet_sweep.data import fingerprint, prepare
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.store import Store
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.job import Hooks, Job

HOLD_LEASE = """
import sys
from pathlib import Path
from bitnet_sweep.store.lease import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_LOCK = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(code, path):
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_job_says_who_has_its_run(tiny, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "TELL_AFTER", 0.0)
    config = tiny()
    folder = Store(Path(config.store)).run(stage_ids(config, fingerprint(config))[-1])
    looks = itertools.count()
    with _holder(HOLD_LEASE, folder.path) as holder:
        with pytest.raises(InterruptedRunError):
            Job(config, "group", [], Hooks(should_stop=lambda: next(looks) > 3)).complete()
        holder.communicate()
    (line,) = [line for line in caplog.messages if line.startswith("waiting for")]
    assert line.startswith(f"waiting for {folder.path} since 20")
    assert f"process {holder.pid} on " in line
    assert "last heartbeat 20" in line


def test_who_waits_for_token_files_says_so(tiny, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "TELL_AFTER", 0.0)
    config = tiny()
    lock = tmp_path / f"{fingerprint(config)}.lock"
    with _holder(HOLD_LOCK, lock) as holder:
        told = files.Wait.tell

        def let_go(self, why):
            told(self, why)
            holder.stdin.close()

        monkeypatch.setattr(files.Wait, "tell", let_go)
        assert prepare(config, tmp_path).vocab_size
    (line,) = [line for line in caplog.messages if line.startswith("waiting for")]
    assert line.startswith(f"waiting for {lock} since 20")
