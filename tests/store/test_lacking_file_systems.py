"""File systems that lack something: refused by name before anything starts, or done without where safe."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError
from bitnet_sweep.store import Store
from bitnet_sweep.store.lease import lease
from tests.repetition import repeated
from tests.sweep.command import TINY, run, states

FAILING = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/types.h>
int CALL(int a, int b, int c, int d) { errno = ERROR; return -1; }
"""


@pytest.fixture
def without(tmp_path):
    """The environment of a process for which a call of the C library always fails."""

    def build(error: str, *calls: str) -> dict[str, str]:
        libraries = []
        for call in calls:
            source, library = tmp_path / f"{call}.c", tmp_path / f"{call}.so"
            source.write_text(FAILING)
            flags = ["-shared", "-fPIC", "-w", f"-DCALL={call}", f"-DERROR={error}"]
            subprocess.run(["gcc", *flags, "-o", str(library), str(source)], check=True)
            libraries.append(str(library))
        return os.environ | {"LD_PRELOAD": ":".join(libraries)}

    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    return build


def _fails(number):
    def call(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
@pytest.mark.parametrize(
    ("call", "lack"),
    [
        ("fcntl.flock", "locking a file"),
        ("mmap.mmap", "mapping a file into memory"),
        ("pathlib.Path.replace", "writing a file"),
    ],
)
def test_what_runs_need_is_refused_by_name(tmp_path, monkeypatch, call, lack, number):
    monkeypatch.setattr(call, _fails(number))
    with pytest.raises(ConfigError, match=lack) as caught:
        Store(tmp_path / "store").open_for_writing()
    assert caught.value.key == "store"
    assert "\n" not in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    monkeypatch.undo()
    assert list((tmp_path / "store").iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize("store", ["/proc/store", "/sys/store", "/dev/null/store"])
def test_file_systems_of_the_kernel_are_no_place_for_a_store(store):
    with pytest.raises(ConfigError) as caught:
        Store(Path(store)).open_for_writing()
    assert caught.value.key == "store"


@pytest.mark.parametrize("number", sorted(files.LACKING))
def test_without_fsync_only_a_crash_of_the_machine_can_do_harm(tmp_path, monkeypatch, number):
    monkeypatch.setattr("os.fsync", _fails(number))
    Store(tmp_path).open_for_writing()
    files.write_text(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_or_broken_is_no_lack(tmp_path, monkeypatch, number):
    monkeypatch.setattr("os.fsync", _fails(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        files.write_text(tmp_path / "a", "text")
    assert list(tmp_path.iterdir()) == []


def _as_safetensors_does(temporary, text):
    """It renames a file of its own over the path it is given, which only its owner may read."""
    own = temporary.with_name(".tmpX")
    own.write_text(text)
    own.chmod(0o600)
    own.replace(temporary)


@pytest.mark.parametrize("write", [lambda path, text: path.write_text(text), _as_safetensors_does])
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o027])
def test_who_may_read_is_as_the_umask_says(tmp_path, umask, write):
    before = os.umask(umask)
    try:
        with files.replacing(tmp_path / "a") as temporary:
            write(temporary, "text")
        with lease(tmp_path / "folder"):
            heartbeat = tmp_path / "folder" / "lease.json"
            assert heartbeat.stat().st_mode & 0o777 == 0o666 & ~umask
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.slow
@pytest.mark.parametrize("error", repeated(["EPERM", "ENOSYS"], ["EPERM"]))
def test_a_run_needs_no_chmod_and_no_fsync(without, tmp_path, corpus_file, error):
    calls = ["chmod", "fchmod", "fchmodat"] + (["fsync", "fdatasync"] if error == "ENOSYS" else [])
    environment = without(error, *calls)
    status, _, err = run(tmp_path, *TINY, f"data.path={corpus_file}", "steps=10", env=environment, fresh=True)
    assert status == 0, err
    assert states(tmp_path / "runs") == ["finished"]


@pytest.mark.slow
@pytest.mark.parametrize("grid", [[], ["-m", "wd2=0.0,0.05"]], ids=["one", "sweep"])
@pytest.mark.parametrize(("error", "call"), [("ENOSYS", "flock"), ("ENOTSUP", "flock"), ("EROFS", "mkdir")])
@pytest.mark.few(2)
def test_a_command_on_such_a_file_system_ends_before_it_begins(
    without, tmp_path, corpus_file, grid, error, call
):
    environment = without(error, call)
    status, _, err = run(
        tmp_path, *grid, *TINY, f"data.path={corpus_file}", "steps=10", env=environment, fresh=True
    )
    last = err.splitlines()[-1]
    # the call fails in every folder, and a sweep needs one for its sockets first
    named = "TMPDIR=" if grid and call == "mkdir" else "store=runs: "
    assert (status, last.startswith(f"bitnet_sweep: {named}"), "Traceback" in err) == (2, True, False), err
    assert call == "mkdir" or "flock" in last
    assert not (tmp_path / "runs" / "sweeps").exists()
