"""The command in a process of its own, for a program or notebook that goes on after it.

It has a process group of its own, so that an interrupt reaches it once and through us alone, however the
notebook sends it. What it does when we are gone stands in :mod:`bitnet_sweep.child`.
"""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep.display import progress_bar
from bitnet_sweep.sweep.exits import EXIT_INTERRUPTED, EXIT_WRONG, FailedRunError
from bitnet_sweep.sweep.plan import PlannedJob

_SOURCE = Path(__file__).parents[2]


def train(words: Sequence[str], todo: Sequence[PlannedJob]) -> None:
    """Run ``python -m bitnet_sweep -m`` with these words, and show what it says as it says it.

    Args:
        words: overrides of the command line.
        todo: what is to be trained, for the progress bar.

    Raises:
        ConfigError: the command refused; nothing has started.
        FailedRunError: a run failed.
        KeyboardInterrupt: this process was interrupted, or the command was.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "bitnet_sweep.child", "-m", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(),
    )
    with process:
        with progress_bar(todo) if todo else nullcontext():
            last_words = _shown_to_the_end(process)
        status = process.wait()
    if status == EXIT_WRONG:
        key, _, rest = last_words.removeprefix("bitnet_sweep: ").partition("=")
        value, _, allowed = rest.partition(": ")
        raise ConfigError(key, value, allowed)
    if status == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        raise FailedRunError(last_words.removeprefix("bitnet_sweep: ") or f"exit status {status}")


def environment() -> dict[str, str]:
    """Ours, with this very package to be found from any folder, and no second progress bar."""
    paths = [path for path in (str(_SOURCE), os.environ.get("PYTHONPATH", "")) if path]
    is_installed = _SOURCE.name in ("site-packages", "dist-packages")
    own = {} if is_installed else {"PYTHONPATH": os.pathsep.join(paths)}
    return {**os.environ, **own, "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}


def _shown_to_the_end(process: subprocess.Popen[bytes]) -> str:
    """Pass its output on; the last line of its stderr. Interrupted, it is interrupted and waited for."""
    output = _Output(process)
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            last_words = output.show()
            break
        except KeyboardInterrupt as error:
            interrupt = error
            process.send_signal(signal.SIGINT)
    if interrupt is not None:
        process.wait()
        raise interrupt
    return last_words


class _Output:
    """What a process writes to stdout and stderr, written to ours, which may be a notebook's."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._selector = selectors.DefaultSelector()
        self._told = ""
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            assert stream is not None, "both are pipes"
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            self._selector.register(stream, selectors.EVENT_READ, (name, decoder))

    def show(self) -> str:
        """Until both are closed; the last line of stderr. May be called again after an interrupt."""
        while self._selector.get_map():
            for key, _ in self._selector.select():
                name, decoder = key.data
                data = os.read(key.fd, 65_536)
                text = decoder.decode(data, final=not data)
                stream: IO[str] = getattr(sys, name)
                stream.write(text)
                stream.flush()
                if name == "stderr":
                    self._told = (self._told + text)[-10_000:]
                if not data:
                    self._selector.unregister(key.fileobj)
        lines = self._told.strip().splitlines()
        return lines[-1] if lines else ""
