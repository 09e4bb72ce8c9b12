"""A Python that has imported all that commands import, and forks a child for each command under test.

A program of its own, which ``tests/commands.py`` starts once for each process of pytest. It imports
and computes nothing, so no thread of torch runs when it forks. A child gets working folder, environment,
arguments, stdout and stderr as a new process would, leads a session of its own, and ends as an interpreter
ends. It finds what its PYTHONPATH names, beside what the server finds. What else an interpreter or a library
reads when it starts is as it was in the server; a command that needs such a variable, or a limit on its
resources, is started afresh instead.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import multiprocessing.forkserver
import multiprocessing.util
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

Request = dict[str, Any]

PACKAGES = ("bitnet_sweep", "hydra_plugins")
SCRIPT = "bitnet-sweep"
"""The console script, in the place of a module."""
LAZILY = ("cyclopts", "hydra.main", "psutil", "tokenizers", "tqdm", "wandb")
"""Imported by functions that commands call."""
POLL_SECONDS = 0.01
ABOVE = 1000
"""File descriptors are parked from this number on while they change places."""


def serve(control: socket.socket) -> Request:
    """Fork for each connection that comes through, until the socket is closed; returns in children alone.

    A child says its process id to whoever asked for it, and the server how it ended.
    """
    asked: dict[int, socket.socket] = {}
    while True:
        while asked and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with asked.pop(ended[0]) as connection, suppress(BrokenPipeError):  # whoever asked is gone
                connection.sendall(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
        if not select.select([control], [], [], POLL_SECONDS if asked else None)[0]:
            continue
        content, descriptors, *_ = socket.recv_fds(control, 1, 1)
        if not content:
            os._exit(0)  # pytest is gone
        connection = socket.socket(fileno=descriptors[0])
        request, descriptors = receive(connection)
        child = os.fork()
        if child == 0:
            for other in [control, *asked.values()]:
                other.close()
            become(request, descriptors)
            connection.sendall(f"{os.getpid()}\n".encode())
            connection.close()
            return request
        asked[child] = connection
        for descriptor in descriptors:
            os.close(descriptor)


def receive(connection: socket.socket) -> tuple[Request, list[int]]:
    """A JSON document that ends with a newline, and the file descriptors that came with it."""
    content, descriptors, *_ = socket.recv_fds(connection, 65536, 16)
    while content and not content.endswith(b"\n"):
        content += connection.recv(65536)
    return json.loads(content or "{}"), list(descriptors)


def send(connection: socket.socket, document: Request, descriptors: Iterable[int]) -> None:
    """What :func:`receive` returns on the other side."""
    content = json.dumps(document).encode() + b"\n"
    sent = socket.send_fds(connection, [content], list(descriptors))
    while sent < len(content):  # not an empty send at the end: the reader may be through, and gone
        sent += connection.send(content[sent:])


def become(request: Request, descriptors: Sequence[int]) -> None:
    """Take the place that the request names."""
    os.setsid()
    move(descriptors, [1, 2])
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    own = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:1] = [os.getcwd(), *own]  # noqa: PTH109 # as `python -m` has it
    sys.argv = ["-m", *request["arguments"]]


def move(descriptors: Sequence[int], places: Sequence[int]) -> None:
    """Give file descriptors the numbers they are to have."""
    parked = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, place in zip(parked, places, strict=True):
        os.dup2(descriptor, place)
        os.close(descriptor)


def fork_the_workers_server() -> None:
    """Have a second child ready, in which the server of the command's workers runs without importing torch.

    It is forked before the command does anything, as threads of the command would not survive a fork.
    """
    near, far = socket.socketpair()
    child = os.fork()
    if child == 0:
        near.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        order, descriptors = receive(far)
        if not order:  # the command has ended without it
            os._exit(0)
        far.close()
        move(descriptors, order["places"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        exec(order["code"], {"__name__": "__main__"})
        raise SystemExit
    far.close()
    spawn = multiprocessing.util.spawnv_passfds

    def hand_over(path: Any, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
        code = arguments[-1]
        if "multiprocessing.forkserver" not in code or near.fileno() < 0:
            return spawn(path, arguments, descriptors)
        send(near, {"code": code, "places": list(descriptors)}, descriptors)
        near.close()
        return child

    multiprocessing.util.spawnv_passfds = hand_over  # type: ignore[assignment]  # as the fork server calls it


def import_everything() -> None:
    """Every module of the product but its commands, and what these import late."""
    from bitnet_sweep.config import ConfigError

    for package in PACKAGES:
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                with suppress(ImportError, ConfigError):  # an extra that is not installed
                    importlib.import_module(found.name)
    for name in LAZILY:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def run(module: str) -> None:
    """``python -m``, but the modules are not taken apart at the end: that would copy all their memory."""
    try:
        if module == SCRIPT:
            sys.argv[0] = SCRIPT
            importlib.import_module("bitnet_sweep.commands").main()
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        status = end.code or 0
    except KeyboardInterrupt:
        traceback.print_exc()
        status = -signal.SIGINT
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:
        sys.exit(status)  # has more to say about it
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def main() -> None:
    """Import, serve, and in a child run the module that was asked for."""
    control = socket.socket(fileno=int(sys.argv[1]))
    import_everything()
    request = serve(control)
    if "-m" in request["arguments"]:
        fork_the_workers_server()
    run(request["module"])


if __name__ == "__main__":
    main()
