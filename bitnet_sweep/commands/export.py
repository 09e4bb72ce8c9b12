"""``bitnet-sweep export RUN --to hf DIR`` and ``--to gguf FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from bitnet_sweep.export.check import CheckError
from bitnet_sweep.export.export import export_to_gguf, export_to_hf

EXIT_DIFFERS = 1


def exported(run: str, where: Path, *, to: str, store: Path, check: bool) -> int:
    """Export and tell; the exit status.

    Raises:
        ConfigError: it was refused; nothing was written.
    """
    try:
        print((export_to_hf if to == "hf" else export_to_gguf)(store, run, where, checked=check))
    except CheckError as error:
        print(f"bitnet_sweep: {error}; nothing was written", file=sys.stderr)
        return EXIT_DIFFERS
    return 0
