"""Work, counted instead of timed: what does not depend on the machine."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

FILES = (io.open, os.open, os.scandir, os.stat, os.listdir)


def work(command: Callable[[], object]) -> Counter[str]:
    """How often a command calls each function of the product, and opens, stats or lists files."""
    counts: Counter[str] = Counter()
    here = f"{os.sep}bitnet_sweep{os.sep}"

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and here in frame.f_code.co_filename:
            counts[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1
        elif event == "c_call" and argument in FILES:
            counts[argument.__name__] += 1

    sys.setprofile(note)
    try:
        command()
    finally:
        sys.setprofile(None)
    return counts


def grew_faster(few: Counter[str], many: Counter[str], times: int) -> dict[str, tuple[int, int]]:
    """What ten times as much, say, has cost more than ten times the calls; small constants aside."""
    return {name: (few[name], n) for name, n in many.items() if n > times * max(few[name], 10)}
