"""The trainings of a proof: each a chain of processes with one store, side by side where there are cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bitnet_sweep.api.process import environment
from bitnet_sweep.config import RunConfig, plain
from bitnet_sweep.files import write_json
from bitnet_sweep.prove.shorten import deaths
from bitnet_sweep.store import Folder, Store
from bitnet_sweep.store.compare import Comparison, compare
from bitnet_sweep.sweep.orchestrate import plan_runs

_CHILD = "bitnet_sweep.prove.child"
_AT_ONCE = 2
"""Trainings side by side (chosen): they share the memory of the machine, or of its GPU."""


class ProofError(Exception):
    """A training of the proof failed; ``str()`` is one line."""


@dataclass(frozen=True)
class Life:
    """One process of a training."""

    config: RunConfig
    death: tuple[int, int] | None = None
    """Where it is killed, as :func:`deaths` has it."""
    num_stages: int | None = None
    """It trains a trunk of so many stages; None the run."""

    def document(self, store: Path) -> dict[str, Any]:
        """What the process reads; see :mod:`bitnet_sweep.prove.child`."""
        config = plain(replace(self.config, store=str(store)))
        return {"config": config, "death": self.death, "num_stages": self.num_stages}


@dataclass(frozen=True)
class Way:
    """A way to train the run."""

    name: str
    lives: Sequence[Life]
    """One after the other, in one store."""
    causes: tuple[str, ...] = ()
    """What is usually at fault where the result differs from the straight one."""


@dataclass(frozen=True)
class Trained:
    """A way of training, once it is through."""

    way: Way
    seconds: float
    comparison: Comparison | None
    """The straight training beside it; None for that itself."""


NOT_SAVED = (
    "numbers drawn from a global generator (torch, numpy, random), not from one made of seed and step",
    "an order of the data that a counter or an iterator decides, and no checkpoint has",
    "a buffer, a running mean or another tensor beside the parameters that is not exported",
    "a scheduler, scaler or optimizer whose state is not restored",
)
NOT_SEEDED = (
    "numbers drawn from a generator without a seed",
    "something that the time, the order of a set or the number of threads decides",
)
LEARNING_RATE = "the learning rate itself differs: a scheduler's state is not restored"


def ways_of(config: RunConfig) -> list[Way]:
    """The straight training first, then those that must be equal to it.

    Args:
        config: of ``shortened``.
    """
    alone = replace(config, sweep=replace(config.sweep, share_stages=False))
    shared = replace(config, sweep=replace(config.sweep, share_stages=True))
    trunks = [Life(shared, num_stages=count) for count in range(1, len(config.stages))]
    killed = [Life(alone, death) for death in deaths(config)]
    ends = [start for start, _ in deaths(config)[1:]]
    at = " and ".join(str(step) for _, step in deaths(config))
    forked = [Way(f"forked behind {' and '.join(map(str, ends))}", [*trunks, Life(shared)], NOT_SAVED)]
    return [
        Way("straight", [Life(alone)]),
        Way("straight again", [Life(alone)], NOT_SEEDED),
        *(forked if trunks else []),
        Way(f"killed at {at}, and resumed", [*killed, Life(alone)], NOT_SAVED),
    ]


def trained(config: RunConfig, ways: Sequence[Way]) -> Iterator[Trained]:
    """Train each way in a store of its own, and compare it with the first one, in their order.

    The text is read once; a store that ``config`` names lends its token files, and is not written to.

    Raises:
        ConfigError: the corpus cannot be used.
        ProofError: a training failed.
    """
    with TemporaryDirectory(prefix="bitnet_sweep-prove-") as name, _Processes(Path(name)) as processes:
        root = Path(name)
        (root / "tokens").mkdir()
        lend(Store(Path(config.store)).tokens, root / "tokens")
        stores = [root / str(number) for number in range(len(ways))]
        for store in stores:
            store.mkdir()
            (store / "tokens").symlink_to(root / "tokens")
        _, [planned] = plan_runs([((), replace(config, store=str(stores[0])))])
        runs = [Store(store).run(planned.run_id) for store in stores]
        at_once = max(1, min(_AT_ONCE, (os.cpu_count() or 1) // config.threads))
        with ThreadPoolExecutor(at_once) as pool:
            futures = [
                pool.submit(processes.train, way, store) for way, store in zip(ways, stores, strict=True)
            ]
            try:
                for way, run, future in zip(ways, runs, futures, strict=True):
                    seconds = future.result()
                    yield Trained(way, seconds, None if run is runs[0] else _compared(way, runs[0], run))
            finally:
                processes.stop()


def _compared(way: Way, straight: Folder, other: Folder) -> Comparison:
    for folder in (straight, other):
        if not folder.final_path.exists():
            raise ProofError(f"{way.name}: the run left no final weights in {folder.final_path.parent.name}")
    return compare(straight, other)


def lend(tokens: Path, to: Path) -> None:
    """Link the token files of a store, where it has any, so that they need not be made again."""
    if tokens.is_dir():
        for path in tokens.iterdir():
            if path.is_file() and path.suffix != ".lock":
                (to / path.name).symlink_to(path.absolute())


class _Processes:
    """The processes of a proof; none outlives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill what still runs, and start nothing more."""
        self._is_stopped = True
        for process in list(self._running):
            _kill(process)

    def train(self, way: Way, store: Path) -> float:
        """Live through the lives of a way; the seconds it took.

        Raises:
            ProofError: one of them ended otherwise than it was to.
        """
        started = time.monotonic()
        for number, life in enumerate(way.lives):
            path = self._folder / f"{store.name}-{number}.json"
            write_json(path, life.document(store))
            status, last_words = self._run(path)
            if life.death is not None and status == 0:
                step = life.death[1]
                raise ProofError(f"{way.name}: training ended before step {step}, where it was to be killed")
            if status != (0 if life.death is None else -signal.SIGKILL):
                raise ProofError(f"{way.name}: training failed: {last_words or f'exit status {status}'}")
        return time.monotonic() - started

    def _run(self, path: Path) -> tuple[int, str]:
        if self._is_stopped:
            return 1, "stopped"
        process = subprocess.Popen(
            [sys.executable, "-m", _CHILD, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment(),
        )
        self._running.add(process)
        try:
            assert process.stderr is not None, "a pipe was asked for"
            said = process.stderr.read().decode(errors="replace").strip().splitlines()
            return process.wait(), said[-1] if said else ""
        finally:
            self._running.discard(process)
            for stream in (process.stdin, process.stderr):
                if stream is not None:
                    stream.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
