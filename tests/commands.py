"""Commands under test: forked from a Python that has imported everything, or started afresh.

Importing torch takes longer than most of what is tested, so :func:`start` forks. ``fresh=True`` is for what
only a new interpreter can show: what is imported, and what is read from the environment at its start.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

from tests.python_server import send

SERVER = Path(__file__).with_name("python_server.py")
READ_AT_START = ("ATEN_", "HF_", "LD_", "MALLOC_", "MKL_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTHON", "TORCH_")
"""Beginnings of the names of variables that a forked child would come too late to read."""
AT_ANY_TIME = {"PYTHONPATH"}
"""Variables among them that the server sees to."""
ENVIRONMENT = dict(os.environ)
"""Of the server: what a test changes is a command's own."""
PATIENCE_SECONDS = 300
"""Ten times what any command under test takes; only one that hangs is ended by it."""


def start(folder, *arguments, module="bitnet_sweep", fresh=False, **options):
    """``python -m MODULE ARGUMENTS`` in a session of its own, with pipes for stdout and stderr.

    Without ``fresh`` the module may be ``bitnet-sweep``, the console script.

    Args:
        folder: where it runs.
        fresh: start a new interpreter, which takes seconds; and any option of ``subprocess.Popen`` may stand.
        options: without ``fresh``: ``env`` (all of it) and ``stderr=subprocess.STDOUT``.
    """
    if not fresh:
        return Forked(folder, module, arguments, **options)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True} | options
    return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=folder, text=True, **options)


def run(folder, *arguments, **options) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of what :func:`start` starts."""
    process = start(folder, *arguments, **options)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err


class Forked:
    """What ``subprocess.Popen`` would be, of a process that another one forks.

    Raises:
        ValueError: the environment says what only a new interpreter reads.
    """

    def __init__(
        self,
        folder: Path,
        module: str,
        arguments: tuple[str, ...],
        env: Mapping[str, str] | None = None,
        stderr: int = subprocess.PIPE,
    ) -> None:
        environment = dict(os.environ if env is None else env)
        late = {name for name in {*environment, *ENVIRONMENT} - AT_ANY_TIME if name.startswith(READ_AT_START)}
        if differ := [name for name in late if environment.get(name) != ENVIRONMENT.get(name)]:
            raise ValueError(f"{differ}: only a new interpreter reads them: fresh=True")
        self.returncode: int | None = None
        self.stdout, out = _pipe()
        self.stderr: IO[str] | None
        self.stderr, err = (None, out) if stderr == subprocess.STDOUT else _pipe()
        request = {"folder": str(folder), "module": module, "arguments": list(map(str, arguments))}
        self._connection = _server().ask(request | {"environment": environment}, [out, err])
        for descriptor in {out, err}:
            os.close(descriptor)
        self._said = self._connection.makefile()
        try:
            self.pid = int(self._said.readline())
        except (ConnectionResetError, ValueError):
            raise RuntimeError(_server().last_words()) from None

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once there is one."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All of stdout and stderr, once it has ended."""
        end = time.monotonic() + (timeout or 1e6)
        read: dict[IO[str] | None, str] = {}
        streams = [stream for stream in (self.stdout, self.stderr) if stream and not stream.closed]
        readers = [
            threading.Thread(target=lambda s=s: read.update({s: s.read()}), daemon=True) for s in streams
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        for stream in streams:
            stream.close()
        self.wait(max(0, end - time.monotonic()))
        return read.get(self.stdout, ""), read.get(self.stderr, "")

    def send_signal(self, number: int) -> None:
        """As ``kill`` does; nothing once it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = int(self._said.readline())
            self._said.close()
            self._connection.close()
        return self.returncode


def _pipe() -> tuple[IO[str], int]:
    reader, writer = os.pipe()
    return os.fdopen(reader, encoding="utf-8"), writer


class _Server:
    """``python_server.py``, which ends with this process."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115 # closed with the process
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, SERVER, str(theirs.fileno())],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stderr=self._words,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self._end)

    def ask(self, request: dict[str, Any], descriptors: list[int]) -> socket.socket:
        """The connection to a new child."""
        connection, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            except BrokenPipeError:
                raise RuntimeError(self.last_words()) from None
        send(connection, request, descriptors)
        return connection

    def last_words(self) -> str:
        """Why it no longer forks: its exit status and what it wrote."""
        status = self._process.wait(PATIENCE_SECONDS)
        self._words.seek(0)
        return f"{SERVER.name} ended with {status}: {self._words.read()}"

    def _end(self) -> None:
        self._control.close()
        self._process.wait()


@cache
def _server() -> _Server:
    return _Server()
