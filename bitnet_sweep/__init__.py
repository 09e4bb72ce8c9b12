"""When does the training of a ternary language model collapse, and what brings it back?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitnet_sweep.model.transformer import Transformer

__version__ = "0.2.0.dev0"


def load_run(store: str | Path, run_id: str) -> Transformer:
    """The model of a finished run with its final weights, on the CPU.

    Args:
        store: the folder that holds ``runs/<run_id>``, or that folder as a ``.tar.gz``.
        run_id: as in the report.

    Raises:
        FileNotFoundError: no such run, or its weights were not kept.
        ConfigError: an archive that cannot be read.
    """
    from bitnet_sweep.loading import load_run  # late: torch and Hydra take seconds to import
    from bitnet_sweep.paths import expanded

    return load_run(expanded(store), run_id)
