"""What the tests of every launcher do to a sweep, and what they look at."""

import json
import os
import signal

import psutil

from tests.sweep.command import PATIENCE_SECONDS, science, wait_for
from tests.system.conftest import run, start


def training(store, beyond=0):
    """Process id and path of each job that has trained more than that many steps."""
    found = {}
    for path in store.glob("*/*/lease.json"):
        try:
            owner = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            continue
        if owner.get("step", 0) > beyond:
            found[owner["pid"]] = path.parent
    return found


def attempts(store):
    """Of every trunk and run."""
    return [json.loads(path.read_text())["attempts"] for path in store.glob("*/*/status.json")]


def check_killed_job(folder, command, expected):
    """SIGKILL one job: the others finish, exit status 1, and the same command goes on, bit for bit."""
    store = folder / "runs"
    process = start(folder, *command)
    victim, path = next(iter(wait_for(lambda: training(store, beyond=100)).items()))
    os.kill(victim, signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, err
    assert "ended without a word" in (path / "status.json").read_text()
    assert "2 of 4 runs are not finished" in err, out
    assert run(folder, *command)[0] == 0
    assert science(store) == expected
    assert sorted(attempts(store)) == [1, 1, 1, 1, 1, 2], "nothing else was trained twice"


def check_ctrl_c(folder, command, expected):
    """Ctrl-C once: every job checkpoints, none stays, exit status 130, and the same command goes on."""
    store = folder / "runs"
    process = start(folder, *command)
    jobs = wait_for(lambda: training(store))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in jobs))
    states = [json.loads((path / "status.json").read_text())["state"] for path in jobs.values()]
    assert states == ["interrupted"] * len(jobs)
    assert all((path / "latest.json").exists() for path in jobs.values())
    assert run(folder, *command)[0] == 0
    assert science(store) == expected
