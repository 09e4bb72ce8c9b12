"""A forked command is what a new one would be, as far as tests of commands can tell."""

import os
import signal
import subprocess

import psutil
import pytest

from tests.commands import PATIENCE_SECONDS, run, start

pytestmark = pytest.mark.slow

TOLD = """
import os, signal, sys, threading
print(sys.argv[1:], os.getcwd(), sys.path[0], os.environ.get("TOLD"), __name__, os.getsid(0) == os.getpid())
print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD), sys.stdin.read(), file=sys.stderr)
print(sorted(thread.name for thread in threading.enumerate()), sys.stdout.line_buffering)
"""
ENDS = {
    "by itself": ("", 0),
    "sys.exit(7)": ("import sys; sys.exit(7)", 7),
    "sys.exit(True)": ("import sys; sys.exit(True)", 1),
    "a word": ("import sys; sys.exit('a word')", 1),
    "an error": ("1 / 0", 1),
    "killed": ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    "Ctrl-C": ("raise KeyboardInterrupt", -signal.SIGINT),
    "atexit": ("import atexit; atexit.register(print, 'at the end')", 0),
    "a thread": ("import threading; threading.Timer(0.1, print, ['late']).start()", 0),
}


@pytest.mark.parametrize(("code", "status"), ENDS.values(), ids=ENDS)
def test_it_ends_as_a_new_one(tmp_path, code, status):
    (tmp_path / "program.py").write_text(code)
    forked, fresh = (run(tmp_path, module="program", fresh=fresh) for fresh in (False, True))
    assert forked[:2] == fresh[:2]
    assert forked[0] == status
    assert forked[2].splitlines()[-1:] == fresh[2].splitlines()[-1:]


def test_it_starts_as_a_new_one(tmp_path):
    (tmp_path / "program.py").write_text(TOLD)
    environment = os.environ | {"TOLD": "yes"}
    forked, fresh = (
        run(tmp_path, "a b", "-c", module="program", env=environment, fresh=fresh, **options)
        for fresh, options in ((False, {}), (True, {"stdin": subprocess.DEVNULL}))
    )
    assert forked == fresh
    assert "['a b', '-c']" in forked[1]


def test_signals_and_children(tmp_path):
    """It leads a group of its own, which has nothing of pytest's in it, and what it starts is its child."""
    (tmp_path / "program.py").write_text(
        "import subprocess, sys\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
        "import time; time.sleep(600)"
    )
    process = start(tmp_path, module="program", stderr=subprocess.STDOUT)
    child = psutil.Process(int(process.stdout.readline()))
    assert child.ppid() == process.pid
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.1)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=PATIENCE_SECONDS) == -signal.SIGTERM
    assert psutil.wait_procs([child], timeout=PATIENCE_SECONDS)[1] == []
    assert process.communicate() == ("", "")
    process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("name", ["PYTHONOPTIMIZE", "ONEDNN_MAX_CPU_ISA", "HF_HUB_OFFLINE"])
def test_what_is_read_at_the_start_needs_a_new_one(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name}.*fresh=True"):
        start(tmp_path, "--help", env=os.environ | {name: "1"})
