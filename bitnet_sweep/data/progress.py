"""A sign of life from work that may take minutes inside a library."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

EVERY_SECONDS = 10.0
"""Assumed: how long somebody looks at a silent terminal before doubting it."""


@contextmanager
def telling(what: str) -> Iterator[None]:
    """While the block runs, say every few seconds that it still does; nothing if it is done before.

    From a thread, so what runs must let go of Python's lock, as the libraries do that take long.
    """
    start, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(EVERY_SECONDS):
            log.info("%s, %.0f s so far", what, time.monotonic() - start)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
