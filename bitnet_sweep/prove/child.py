"""One process of a proof: ``python -m bitnet_sweep.prove.child LIFE``.

LIFE is the document of a :class:`bitnet_sweep.prove.trainings.Life`. With a death of ``(after, step)`` it
kills its whole process group at that step, once a checkpoint of a step behind ``after`` is on disk: what is
proved is how the next process goes on from there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bitnet_sweep.config import from_plain
from bitnet_sweep.files import read_json
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import LATEST
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.workload import Step

_PATIENCE_SECONDS = 60.0
"""A checkpoint takes longer only where something is broken; then the job is killed without one."""


def killer(store: Path, after: int, at: int) -> Callable[[Step], None]:
    """A hook that kills the process group at step ``at``."""

    def on_step(step: Step) -> None:
        if step.step < at:
            return
        end = time.monotonic() + _PATIENCE_SECONDS
        while not _is_saved(store, after) and time.monotonic() < end:
            time.sleep(0.01)  # another thread writes it
        os.killpg(os.getpgid(0), signal.SIGKILL)

    return on_step


def _is_saved(store: Path, after: int) -> bool:
    documents = [read_json(path) for path in store.glob(f"*/*/{LATEST}.json")]
    return any(document["facts"]["step"] > after for document in documents if document)


def _end_with_parent() -> None:
    """Our stdin is closed when the process that started us ends; nothing is ever written to it."""
    while os.read(0, 1):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main(path: str) -> None:
    """Train as the file says, and die where that is asked for."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    life = read_json(Path(path))
    config = resolve(from_plain(life["config"]))
    hooks = Hooks(on_step=killer(Path(config.store), *life["death"])) if life["death"] else Hooks()
    Job(config, None, [], hooks, life["num_stages"]).complete()


if __name__ == "__main__":
    main(*sys.argv[1:])
