"""``bitnet-sweep evaluate RUN --tasks FILE.json``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bitnet_sweep.evaluate.tasks import read_tasks, require_harness, require_hub

EXIT_FAILED = 1


def evaluated(run: str, tasks: Sequence[Path], *, store: Path, online: bool, check: bool) -> int:
    """Evaluate and tell; the exit status.

    Raises:
        ConfigError: it was refused; nothing was written.
    """
    require_harness()
    asked = [read_tasks(path, online=online) for path in tasks]
    require_hub(asked)
    from bitnet_sweep.evaluate.evaluate import EvaluateError, evaluate  # late: they import torch
    from bitnet_sweep.export.check import CheckError

    try:
        print(evaluate(store, run, asked, online=online, checked=check))
    except CheckError as error:
        print(f"bitnet_sweep: {error}; nothing was evaluated", file=sys.stderr)
        return EXIT_FAILED
    except EvaluateError as error:
        print(f"bitnet_sweep: the harness failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0
