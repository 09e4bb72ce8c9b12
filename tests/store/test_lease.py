"""Leases: one owner, found dead at once on one host, after a minute across hosts."""

import json
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from bitnet_sweep.store import lease as lease_module
from bitnet_sweep.store.lease import HEARTBEAT_LIMIT, HeldError, is_alive, lease, read_lease

HOLDER = """
import sys, time
from pathlib import Path
from bitnet_sweep.store.lease import HEARTBEAT_LIMIT, HeldError, is_alive, lease, read_lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
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


def _take(folder):
    with lease(folder):
        return True


def test_one_owner_and_no_waiting_for_the_dead(tmp_path, holder):
    with pytest.raises(HeldError):
        _take(tmp_path)
    holder.kill()
    holder.wait()
    started = time.monotonic()
    assert _take(tmp_path)
    assert time.monotonic() - started < 1


def test_owner_shows_its_progress(tmp_path):
    with lease(tmp_path) as held:
        steps = []
        for step in (7, 8):
            held.beat({"step": step}, every=60)
            steps.append((read_lease(tmp_path) or {})["step"])
        assert steps == [7, 7], "the first progress shows at once, the next one in its time"
    assert read_lease(tmp_path) is None


@pytest.mark.parametrize(("age", "free"), [(HEARTBEAT_LIMIT - 5, False), (HEARTBEAT_LIMIT + 5, True)])
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


@pytest.mark.parametrize(("age", "alive"), [(HEARTBEAT_LIMIT - 5, True), (HEARTBEAT_LIMIT + 5, False)])
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
