"""Commands piped into one that stops reading."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_sweep.pipes import EXIT_PIPE

STORE = Path(__file__).parent.parent / "experiments" / "001_small_stage2" / "store"


@pytest.mark.parametrize("command", ["status", pytest.param("report", marks=pytest.mark.slow)])
def test_whoever_stops_reading_ends_the_command_without_a_word(command: str, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")] if command == "report" else []
    process = subprocess.Popen(
        [sys.executable, "-m", f"bitnet_sweep.{command}", str(STORE), *out],
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


def test_the_signal_of_a_closed_pipe_stays_ignored() -> None:
    """It would end the process at a socket that a server has closed, too."""
    told = "import signal, bitnet_sweep.pipes as p; p.until_unread(lambda: print(signal.getsignal(13)) or 0)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(signal.SIG_IGN)
