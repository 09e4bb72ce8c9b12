"""A sweep on this machine whatever ``TMPDIR`` is: its processes talk through sockets with short paths."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep import sockets
from tests.sweep.command import TINY, run, states

TOLD = "import tempfile as t; from bitnet_sweep.sweep import sockets as s; s.prepare_sockets(); {}"
MAKE = "import multiprocessing.connection as c; c.Listener(family='AF_UNIX').close(); print(t.gettempdir())"


def _folder(tmp_path, length):
    """One whose path has that many characters."""
    missing = length - len(str(tmp_path)) - 1
    folder = tmp_path / "/".join("x" * 50 for _ in range(missing // 51)) / ("y" * (missing % 51 or 1))
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("length", [60, 76, 77, 78, 79, 80, 107, 108, 200, 1000])
def test_a_socket_can_be_made_whatever_the_length(tmp_path, length):
    folder = _folder(tmp_path, max(length, len(str(tmp_path)) + 2))
    done = subprocess.run(
        [sys.executable, "-c", TOLD.format(MAKE)],
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder}\n", "everything else still goes there"
    assert list(folder.iterdir()) == [], "nothing is left behind"


def test_a_file_system_without_sockets_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    assert sockets.folder_for(sockets.MULTIPROCESSING).is_dir()
    assert str(sockets.folder_for(sockets.MULTIPROCESSING)) != "/proc"


@pytest.mark.parametrize("length", [30, 38, 39, 40, 90])
def test_a_longer_name_needs_a_shorter_folder(monkeypatch, length):
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="") as short:
        folder = _folder(Path(short), length)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        monkeypatch.setenv("TMPDIR", str(folder))
        for name in ("RAY_TMPDIR", "XDG_RUNTIME_DIR"):
            monkeypatch.delenv(name, raising=False)
        sockets.prepare_sockets_of_ray()
        fits = length + 1 + len(sockets.RAY) <= 107
        assert (os.environ.get("RAY_TMPDIR") is None) == fits
        assert sockets.folder_for(sockets.MULTIPROCESSING) == (folder if length < 76 else Path("/tmp"))
        monkeypatch.setenv("RAY_TMPDIR", "/theirs")
        sockets.prepare_sockets_of_ray()
        assert os.environ["RAY_TMPDIR"] == "/theirs"


def test_where_no_socket_can_be_made_the_key_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(_folder(tmp_path, 200)))
    monkeypatch.setattr(sockets, "_SHORT", ("/proc", "/nowhere"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert hasattr(socket, "AF_UNIX")
    with pytest.raises(ConfigError, match="path too long") as caught:
        sockets.prepare_sockets()
    assert caught.value.key == "TMPDIR"


@pytest.mark.slow
@pytest.mark.parametrize("track", ["none", "wandb"])
@pytest.mark.system
def test_a_sweep_with_a_long_tmpdir(tmp_path, corpus_file, track):
    environment = os.environ | {"TMPDIR": str(_folder(tmp_path, 200)), "WANDB_MODE": "offline"}
    arguments = ["-m", "wd2=0.0,0.05", *TINY, f"track={track}", f"data.path={corpus_file}", "steps=10"]
    status, _, err = run(tmp_path, *arguments, env=environment)
    assert status == 0, err
    assert states(tmp_path / "runs") == ["finished"] * 2
