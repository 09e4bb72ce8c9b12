"""Commands piped into one that stops reading."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_sweep.pipes import EXIT_PIPE
from bitnet_sweep.store import opened

STORE = Path(__file__).parent.parent / "experiments" / "001_small_stage2" / "store.tar.gz"


@pytest.mark.parametrize("command", ["status", "track.sync", pytest.param("report", marks=pytest.mark.slow)])
@pytest.mark.few(1)
def test_whoever_stops_reading_ends_the_command_without_a_word(command: str, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")] if command == "report" else []
    store = tmp_path / "store"
    with opened(STORE) as published:
        shutil.copytree(published, store)
    process = subprocess.Popen(
        [sys.executable, "-m", f"bitnet_sweep.{command}", str(store), *out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == EXIT_PIPE == 141
    assert not out or (tmp_path / "out" / "report.html").exists()


PRINTER = """
import os, sys
from bitnet_sweep.pipes import go_on_unread
go_on_unread()
sys.stdin.read()
for _ in range(3):
    print("x" * 100_000, flush=True)
    print("y" * 100_000, file=sys.stderr)
os._exit(7) if "at once" in sys.argv else sys.exit(7)
"""


@pytest.mark.parametrize("end", ["at once", "by and by"])
def test_who_goes_on_unread_ends_as_it_would(end: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTER, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    process.stdin.close()
    assert process.wait() == 7


def test_who_goes_on_unread_is_read_while_somebody_does() -> None:
    told = "from bitnet_sweep.pipes import *; go_on_unread(); print('ä', end=''); print('b', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, check=True)
    assert (done.stdout.decode(), done.stderr) == ("ä", b"b\n")


def test_the_signal_of_a_closed_pipe_stays_ignored() -> None:
    """It would end the process at a socket that a server has closed, too."""
    told = "import signal, bitnet_sweep.pipes as p; p.until_unread(lambda: print(signal.getsignal(13)) or 0)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(signal.SIG_IGN)
