"""The held-out tokens of a run, as its probes read them.

Shapes: B rows, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bitnet_sweep.api.runs import OpenRun
from bitnet_sweep.config import ConfigError
from bitnet_sweep.data import heldout_windows, prepare
from bitnet_sweep.store import Store

Rows = Sequence[tuple[Tensor, Tensor]]
"""Ids (B, T) and the ids behind each of them (B, T)."""


def held_out_rows(run: OpenRun) -> Rows:
    """Those that ``val/loss`` is taken over.

    Raises:
        ConfigError: the store does not have its token files any more.
    """
    tokens = Store(run.store).tokens
    if run.fingerprint is None:
        allowed = f"its token files are not in {tokens}; the command that trained it makes them again"
        raise ConfigError("RUN", run.run_id, allowed + " (--no-check exports without them)")
    corpus = prepare(run.config, tokens, run.fingerprint)
    windows = heldout_windows(corpus, run.config.row_targets)
    return [(torch.tensor(x_BT), torch.tensor(y_BT)) for x_BT, y_BT in windows]
