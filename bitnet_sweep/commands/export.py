"""``bitnet-sweep export RUN --to hf DIR`` and ``--to gguf FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from bitnet_sweep.config import ConfigError
from bitnet_sweep.export.check import CheckError
from bitnet_sweep.export.export import export_to_gguf, export_to_hf
from bitnet_sweep.export.gguf import PACKINGS

EXIT_DIFFERS = 1


def exported(run: str, where: Path, *, to: str, store: Path, check: bool, packing: str | None) -> int:
    """Export and tell; the exit status.

    Raises:
        ConfigError: it was refused; nothing was written.
    """
    if to != "gguf" and packing is not None:
        raise ConfigError("--packing", packing, "allowed with --to=gguf")
    try:
        if to == "hf":
            print(export_to_hf(store, run, where, checked=check))
        else:
            chosen = packing or PACKINGS[0]
            print(export_to_gguf(store, run, where, checked=check, packing=chosen))
    except CheckError as error:
        print(f"bitnet_sweep: {error}; nothing was written", file=sys.stderr)
        return EXIT_DIFFERS
    return 0
