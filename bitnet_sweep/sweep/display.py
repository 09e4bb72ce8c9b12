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

from bitnet_sweep.store import Store
from bitnet_sweep.store.lease import Watch, read_lease
from bitnet_sweep.sweep.plan import Unit

POLL_SECONDS = 1.0


def new_bar(total: int) -> tqdm[NoReturn]:
    """A progress bar over steps; in a log file it writes a line twice a minute, not twice a second."""
    is_file = isinstance(sys.stderr, io.TextIOWrapper) and not sys.stderr.isatty()  # a notebook is neither
    quiet = 30.0 if is_file else 0.5
    return tqdm(
        total=total, unit="step", dynamic_ncols=True, smoothing=0.05, mininterval=quiet, maxinterval=quiet
    )


@contextmanager
def progress_bar(units: Sequence[Unit], store: Store) -> Iterator[None]:
    """Show steps done, the last losses and the time left while the block runs."""
    closed = threading.Event()
    with new_bar(sum(unit.left for unit in units)) as bar:
        thread = threading.Thread(target=_follow, args=(units, store, bar, closed), daemon=True)
        thread.start()
        try:
            yield
        finally:
            closed.set()
            thread.join()


def _follow(units: Sequence[Unit], store: Store, bar: tqdm[NoReturn], closed: threading.Event) -> None:
    legs = {unit.id: (unit, unit.leg(store)) for unit in units}
    finished_steps, finished, watch = 0, 0, Watch()
    while True:
        last = closed.is_set()
        started = time.monotonic()
        running: list[str] = []
        steps = 0
        for unit, leg in list(legs.values()):
            owner = read_lease(leg.folder.path)
            if not watch.is_alive(leg.folder.path, owner):  # a killed job leaves its last words
                owner = None
            if owner is not None and "step" in owner:
                steps += max(0, int(owner["step"]) - (leg.end - unit.left))
                loss = owner.get("loss")
                running.append("not finite" if loss is None else f"{loss:.2f}")
            elif owner is None and leg.is_done():
                finished_steps += unit.left
                finished += 1
                del legs[unit.id]
        bar.set_postfix_str(f"{finished}/{len(units)} jobs, losses {' '.join(running)}", refresh=False)
        bar.update(finished_steps + steps - bar.n)
        if last:
            return
        closed.wait(max(POLL_SECONDS, 20 * (time.monotonic() - started)))  # a large grid polls less often
