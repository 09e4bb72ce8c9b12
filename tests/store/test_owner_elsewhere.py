"""Owners that this process cannot see: on hosts with other clocks, in other containers, of other users."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from bitnet_sweep import files
from bitnet_sweep.status import Ledger
from bitnet_sweep.store import RUNNING, Status, Store
from bitnet_sweep.store import lease as lease_module
from bitnet_sweep.store.lease import HeldError, Watch, lease, read_lease
from bitnet_sweep.store.liveness import standing
from bitnet_sweep.store.states import DIED
from tests.repetition import repeated

pytestmark = pytest.mark.slow

HOLDER = """
import sys, time, socket
from pathlib import Path
from bitnet_sweep.store import lease
name, ahead, true_time = sys.argv[2], float(sys.argv[3]), time.time
socket.gethostname = lambda true=socket.gethostname(): name or true
time.time = lambda: true_time() + ahead
lease.HEARTBEAT_EVERY = 0.1
with lease.lease(Path(sys.argv[1])):
    Path(sys.argv[1], "lease.lock").unlink()  # a file system that carries no locks from host to host
    print("held", flush=True)
    time.sleep(300)
"""
AHEAD = [86_400.0, 300.0, -300.0, -86_400.0]


@pytest.fixture
def folder(tmp_path):
    folder = Store(tmp_path).run("r")
    folder.write_status(Status(RUNNING, ["r"], run_id="r"))
    return folder


@pytest.fixture
def far(folder, request, monkeypatch):
    """A living owner on another host, whose clock differs from ours by ``request.param`` seconds."""
    monkeypatch.setattr(lease_module, "TWO_LOOKS", 1.0)
    monkeypatch.setattr("bitnet_sweep.status.ledger.TWO_LOOKS", 1.0)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.path), "elsewhere", str(request.param)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def _wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def _can_take(path, watch=None):
    try:
        with lease(path, watch):
            return True
    except HeldError:
        return False


@pytest.mark.parametrize("far", repeated(AHEAD, AHEAD[::3]), indirect=True)
def test_a_living_owner_keeps_its_lease_whatever_its_clock(folder, far, monkeypatch):
    assert not _can_take(folder.path), "at two looks"
    monkeypatch.setattr(lease_module, "HEARTBEAT_LIMIT", 3.0)
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 3.0)
    watch, end = Watch(), time.monotonic() + 5
    while time.monotonic() < end:
        assert not _can_take(folder.path, watch), "however long one waits"
        time.sleep(0.1)
    (entry,) = Ledger(Store(folder.path.parent.parent)).entries()
    assert entry.state == RUNNING


@pytest.mark.parametrize("far", repeated(AHEAD, AHEAD[::3]), indirect=True)
def test_a_dead_one_is_waited_for_for_a_minute_at_most(folder, far, monkeypatch):
    far.kill()
    far.wait()
    (entry,) = Ledger(Store(folder.path.parent.parent)).entries()
    assert entry.state == DIED
    monkeypatch.setattr(lease_module, "HEARTBEAT_LIMIT", 1.0)
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 1.0)
    watch = Watch()
    assert not _can_take(folder.path, watch), "one look says nothing"
    _wait_for(lambda: _can_take(folder.path, watch))


@pytest.mark.parametrize("far", [86_400.0], indirect=True)
def test_a_clock_ahead_is_told(folder, far):
    with pytest.raises(HeldError, match=r"process \d+ on elsewhere .* s ahead of ours; taken over"):
        lease(folder.path).__enter__()


def test_a_wait_says_what_it_waits_for_and_since_when(monkeypatch, caplog):
    monkeypatch.setattr(files, "TELL_AFTER", 0.0)
    wait = files.Wait("runs/r")
    for _ in range(100):
        wait.tell("process 1 on elsewhere has it")
    (line,) = caplog.messages
    assert line.startswith("waiting for runs/r since 20")
    assert line.endswith("Z: process 1 on elsewhere has it")


def _unshare(*options):
    return (
        shutil.which("unshare") is not None and not subprocess.run(["unshare", *options, "true"]).returncode
    )


def _in_namespace(folder, *options):
    """The holder in a process list of its own, on a host of the same name."""
    process = subprocess.Popen(
        ["unshare", *options, sys.executable, "-c", HOLDER, str(folder.path), "", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.skipif(not _unshare("-pf", "--mount-proc"), reason="needs a process namespace")
def test_in_another_container_of_the_same_host_name(folder):
    """Process numbers mean something else there: there is another process of that number here."""
    process = _in_namespace(folder, "-pf", "--mount-proc", "--kill-child")
    try:
        assert standing(folder)[2] == RUNNING
        assert not _can_take(folder.path)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    owner = read_lease(folder.path)
    assert owner is not None
    assert owner["host"] == os.uname().nodename
    files.write_json(folder.path / "lease.json", owner | {"heartbeat": time.time() - 70})
    assert standing(folder)[2] == DIED


# A user who may read all files (Python itself may lie where others cannot) and sees no process of root.
AS_ANOTHER = (
    "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,+dac_override,+dac_read_search "
    "--ambient-caps=-all,+dac_override,+dac_read_search --bounding-set=-all,+dac_override,+dac_read_search"
)
HIDDEN = """
import subprocess, sys, time
from pathlib import Path
from bitnet_sweep import files
from bitnet_sweep.store.lease import read_lease
folder, holder, ask, hidepid = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
subprocess.run(["mount", "-t", "proc", "-o", f"hidepid={hidepid}", "proc", "/proc"], check=True)
process = subprocess.Popen([sys.executable, "-c", holder, folder, "", "0"], stdout=subprocess.PIPE)
process.stdout.readline()
command = [*sys.argv[5].split(), sys.executable, "-c", ask, folder]
subprocess.run(command, check=True)
process.kill()
process.wait()
subprocess.run(command, check=True)
"""
ASK = """
import sys
from pathlib import Path
from bitnet_sweep.store import Folder
from bitnet_sweep.store.liveness import standing
print(standing(Folder(Path(sys.argv[1])))[2], flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0 or not _unshare("-mpf"), reason="needs root and a process namespace")
@pytest.mark.parametrize("hidepid", [1, 2, 4])
def test_of_another_user_whose_processes_are_hidden(folder, hidepid):
    """Its death still shows at once: its number is gone."""
    done = subprocess.run(
        [
            "unshare",
            "-mpf",
            sys.executable,
            "-c",
            HIDDEN,
            str(folder.path),
            HOLDER,
            ASK,
            str(hidepid),
            AS_ANOTHER,
        ],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [RUNNING, DIED], done.stderr
