"""What this process computes with, on machines that tell less about themselves."""

import os
import shutil
import subprocess
import sys

import pytest

from bitnet_sweep.runtime import peak_memory_mb

TOLD = "from bitnet_sweep.runtime import peak_memory_mb; print(peak_memory_mb())"


def can_mount() -> bool:
    return shutil.which("unshare") is not None and not subprocess.run(["unshare", "-rm", "true"]).returncode


def test_peak_memory_is_that_of_this_process() -> None:
    assert 10 < (peak_memory_mb() or 0) < 100_000


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace")
@pytest.mark.parametrize(
    "status",
    ["Name:\tpython\nVmRSS:\t 5 kB\n", "", "VmHWM:\t many kB\n", None],
    ids=["no VmHWM", "empty", "other words", "none"],
)
@pytest.mark.few(2)
def test_a_system_that_does_not_tell_the_peak_gives_null(tmp_path, status) -> None:
    """As under WSL 1 and gVisor: what only measures may be missing."""
    file = tmp_path / "status"
    if status is None:
        covered = f'mount -t tmpfs tmpfs /proc && exec {sys.executable} -c "$0"'
    else:
        file.write_text(status)
        covered = f'mount --bind {file} /proc/$$/status && exec {sys.executable} -c "$0"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", covered, TOLD], capture_output=True, text=True, env=os.environ
    )
    assert (done.stdout, done.returncode) == ("None\n", 0), done.stderr
