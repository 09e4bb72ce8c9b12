"""Leases: one owner, found dead at once on one host, after a minute across hosts."""

import json
import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import psutil
import pytest
from packaging.version import Version

from bitnet_sweep import files
from bitnet_sweep.store import lease as lease_module
from bitnet_sweep.store.lease import (
    HEARTBEAT_LIMIT,
    HeldError,
    LostError,
    is_alive,
    lease,
    read_lease,
)

HOLDER = """
import sys, time
from pathlib import Path
from bitnet_sweep.store.lease import HEARTBEAT_LIMIT, HeldError, is_alive, lease, read_lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lease of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def _wait_for(condition):
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def _take(folder):
    with lease(folder):
        return True


def test_one_owner_and_no_waiting_for_the_dead(tmp_path, holder):
    with pytest.raises(HeldError):
        _take(tmp_path)
    holder.kill()
    holder.wait()
    assert (read_lease(tmp_path) or {})["pid"] == holder.pid, "and its heartbeat is not a minute old"
    assert _take(tmp_path), "which waits for nobody: it takes the lease or raises"


@pytest.mark.parametrize("every", [3600, 0.02])
def test_owner_shows_its_progress(tmp_path, monkeypatch, every):
    """The first progress shows at once, the next one in its time."""
    monkeypatch.setattr(lease_module, "HEARTBEAT_EVERY", every)
    with lease(tmp_path) as held:
        held.beat({"step": 7})
        _wait_for(lambda: (read_lease(tmp_path) or {}).get("step") == 7)
        held.beat({"step": 8})
        held.beat({"step": 9})
        if every == 3600:
            assert (read_lease(tmp_path) or {})["step"] == 7
        else:
            _wait_for(lambda: (read_lease(tmp_path) or {})["step"] == 9)
    assert read_lease(tmp_path) is None


def test_the_heart_beats_through_a_long_step(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "HEARTBEAT_EVERY", 0.02)
    with lease(tmp_path):
        first = (read_lease(tmp_path) or {})["heartbeat"]
        _wait_for(lambda: (read_lease(tmp_path) or {})["heartbeat"] > first)


def test_suspended_owner_notices_that_another_host_took_over(tmp_path, monkeypatch):
    """It writes nothing more, and leaves the new owner's heartbeat alone."""
    monkeypatch.setattr(lease_module, "HEARTBEAT_EVERY", 0.02)
    other = {"host": "elsewhere", "pid": 1, "heartbeat": time.time()}

    def work_on(held):
        files.write_json(tmp_path / "lease.json", other)
        _wait_for(lambda: held.beat({"step": 1}))

    with lease(tmp_path) as held, pytest.raises(LostError, match="another host"):
        work_on(held)
    assert read_lease(tmp_path) == other


@pytest.mark.parametrize("limit", [HEARTBEAT_LIMIT, 0.0], ids=["the heart looks", "a step comes first"])
def test_suspended_owner_notices_that_another_host_was_there_and_is_through(tmp_path, monkeypatch, limit):
    """The other one took its heartbeat away at its end: no file does not mean that all is as it was."""
    monkeypatch.setattr(lease_module, "HEARTBEAT_EVERY", 0.02 if limit else 3600)
    monkeypatch.setattr(lease_module, "HEARTBEAT_LIMIT", limit)

    def work_on(held):
        (tmp_path / "lease.json").unlink()
        if limit:
            _wait_for(lambda: held.beat({"step": 1}))
        held.beat({"step": 1})

    with lease(tmp_path) as held, pytest.raises(LostError, match="another host"):
        work_on(held)
    assert read_lease(tmp_path) is None


def test_an_owner_is_known_by_more_than_host_and_number(tmp_path, monkeypatch):
    """Two containers may both be process 1 of a host of the same name, without a lock between them."""
    monkeypatch.setattr(lease_module, "HEARTBEAT_EVERY", 0.02)

    def work_on(held):
        mine = read_lease(tmp_path)
        assert mine is not None
        files.write_json(tmp_path / "lease.json", mine | {"token": "of the other one"})
        _wait_for(lambda: held.beat({"step": 1}))

    with lease(tmp_path) as held, pytest.raises(LostError):
        work_on(held)


def test_half_written_files_of_a_killed_owner_are_removed(tmp_path):
    (tmp_path / ".latest-20.safetensors.x1.tmp").write_bytes(bytes(1000))
    (tmp_path / "records.jsonl").write_text("")
    assert _take(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lease.lock", "records.jsonl"]


@pytest.mark.parametrize(("age", "free"), [(HEARTBEAT_LIMIT / 2, False), (HEARTBEAT_LIMIT + 5, True)])
@pytest.mark.slow
def test_owner_on_another_host(tmp_path, age, free):
    """Its file lock may not reach us: the heartbeat decides."""
    owner = {"host": "elsewhere", "pid": 1, "heartbeat": time.time() - age}
    (tmp_path / "lease.json").write_text(json.dumps(owner))
    if free:
        assert _take(tmp_path)
    else:
        with pytest.raises(HeldError):
            _take(tmp_path)


def test_half_written_heartbeat_is_no_owner(tmp_path):
    (tmp_path / "lease.json").write_text('{"host": "else')
    assert _take(tmp_path)
    assert lease_module.HEARTBEAT_LIMIT <= 60


def _heartbeat(**changes):
    return {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time()} | changes


def test_alive_is_who_wrote_the_heartbeat(tmp_path, holder):
    written = read_lease(tmp_path)
    assert written is not None
    assert written["pid"] == holder.pid
    assert is_alive(written)
    assert not is_alive(written | {"heartbeat": written["heartbeat"] - 3600}), "its number was another's then"
    holder.kill()
    while psutil.Process(holder.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not is_alive(written), "dead, though its parent has not noticed"
    holder.wait()
    assert not is_alive(written)


@pytest.mark.parametrize(("age", "alive"), [(HEARTBEAT_LIMIT / 2, True), (HEARTBEAT_LIMIT + 5, False)])
def test_of_another_host_the_heartbeat_is_all_there_is(age, alive):
    assert is_alive(_heartbeat(host="elsewhere", heartbeat=time.time() - age)) is alive
    assert is_alive(_heartbeat()), "on this host the process itself tells"


def test_asking_whether_the_owner_lives_does_not_disturb_anybody(tmp_path, holder):
    """Unlike trying the lock: whoever comes at that moment still gets it."""
    written = read_lease(tmp_path)
    holder.kill()
    holder.wait()
    with lease(tmp_path):
        assert not is_alive(written)
        assert is_alive(read_lease(tmp_path))


SAVER = """
import sys
from pathlib import Path
import torch
from bitnet_sweep.store.lease import lease
from bitnet_sweep.store.checkpoint import save
tensors = {"x": torch.zeros(64_000_000)}
with lease(Path(sys.argv[1])):
    while True:
        save(Path(sys.argv[1]), "latest", tensors, {"step": 1})
"""


def test_what_a_killed_save_left_behind_is_removed(tmp_path):
    """The temporary file of safetensors itself too, which stands beside ours from its version 0.8."""
    own = ".tmp*" if Version(version("safetensors")) >= Version("0.8") else ".*.tmp"
    process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)])
    _wait_for(lambda: any(tmp_path.glob(own)))
    process.kill()
    process.wait()
    assert _take(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"lease.lock", "latest.safetensors", "latest.json"}
