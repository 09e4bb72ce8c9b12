"""One progress bar over a whole sweep, drawn from the store alone, wherever its jobs run."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from tqdm import tqdm

from bitnet_sweep.store.lease import Watch, read_lease
from bitnet_sweep.sweep.plan import PlannedJob

POLL_SECONDS = 1.0


def new_bar(total: int) -> tqdm[NoReturn]:
    """A progress bar over steps; in a log file it writes a line twice a minute, not twice a second."""
    is_file = isinstance(sys.stderr, io.TextIOWrapper) and not sys.stderr.isatty()  # a notebook is neither
    quiet = 30.0 if is_file else 0.5
    return tqdm(
        total=total, unit="step", dynamic_ncols=True, smoothing=0.05, mininterval=quiet, maxinterval=quiet
    )


@contextmanager
def progress_bar(jobs: Sequence[PlannedJob]) -> Iterator[None]:
    """Show steps done, the last losses and the time left while the block runs."""
    closed = threading.Event()
    with new_bar(sum(job.left for job in jobs)) as bar:
        thread = threading.Thread(target=_follow, args=(jobs, bar, closed), daemon=True)
        thread.start()
        try:
            yield
        finally:
            closed.set()
            thread.join()


def _follow(jobs: Sequence[PlannedJob], bar: tqdm[NoReturn], closed: threading.Event) -> None:
    unfinished, finished_steps, watch = {job.id: job for job in jobs}, 0, Watch()
    while True:
        last = closed.is_set()
        started = time.monotonic()
        running: list[str] = []
        steps = 0
        for job in list(unfinished.values()):
            folder = job.node.folder.path
            owner = read_lease(folder)
            if not watch.is_alive(folder, owner):  # a killed job leaves its last words
                owner = None
            if owner is not None and "step" in owner:
                steps += max(0, int(owner["step"]) - (job.node.end - job.left))
                loss = owner.get("loss")
                running.append("not finite" if loss is None else f"{loss:.2f}")
            elif owner is None and job.node.is_done():
                finished_steps += job.left
                del unfinished[job.id]
        finished = len(jobs) - len(unfinished)
        bar.set_postfix_str(f"{finished}/{len(jobs)} jobs, losses {' '.join(running)}", refresh=False)
        bar.update(finished_steps + steps - bar.n)
        if last:
            return
        closed.wait(max(POLL_SECONDS, 20 * (time.monotonic() - started)))  # a large grid polls less often
