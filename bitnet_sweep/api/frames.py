"""The records of a store as one tidy frame, with the settings of their runs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bitnet_sweep.paths import expanded
from bitnet_sweep.records import LOG_LOSS, LOG_LR
from bitnet_sweep.report import make_report

Stores = str | Path | Sequence[str | Path]
"""A store or several, which merge by run_id."""

_NATS = "nats per token"
UNITS = {
    **dict.fromkeys(("train/loss", "train/loss_batch", "val/loss", "val/loss_ema"), _NATS),
    **dict.fromkeys(("ref/ln_vocab", "ref/unigram_loss", "ref/bigram_loss", "blocks/loss_without"), _NATS),
    **dict.fromkeys(("val/loss_tempered", "val/minus_ln_vocab", "val/minus_unigram"), _NATS),
    "probe/context_gain": _NATS,
    "probe/entropy": "nats",
    "probe/logit_std": "nats",
    **dict.fromkeys(("step", "steps", "ternary/window_steps", "ternary/oscillation_steps"), "steps"),
    "stage": "count",
    **dict.fromkeys(("tokens_seen", "probe/unique_tokens", "probe/unique_tokens_text"), "tokens"),
    **dict.fromkeys(("probe/unique_tokens_human", "probe/argmax_tokens", "probe/human_tokens"), "tokens"),
    **dict.fromkeys(
        ("val/accuracy", "ternary/minus_frac", "ternary/zero_frac", "ternary/plus_frac"), "share"
    ),
    **dict.fromkeys(("ternary/flip_rate", "ternary/flip_rate_window"), "share"),
    **dict.fromkeys(("sample/seq_rep_4", "sample/distinct_2"), "share"),
    "ternary/oscillation_freq": "reversals per weight and step",
    **dict.fromkeys(("ternary/absmean", "ternary/absmean_min"), "weight"),
    "ternary/clamped_layers": "layers",
    **dict.fromkeys(("weights/embedding_rms", "weights/head_rms"), "weight"),
    **dict.fromkeys(("optim/lr", "optim/weight_decay", LOG_LR), "dimensionless"),
    **dict.fromkeys(("optim/grad_norm", LOG_LOSS), _NATS),
    "perf/tokens_per_s": "tokens/s",
    **dict.fromkeys(("perf/step_ms", "perf/probe_ms"), "ms"),
    "perf/peak_memory_mb": "MB",
}
"""The units of a record's fields. A layer's own field has the unit of the field that it stands beside."""


def records(store: Stores, sweep: str | None = None) -> pd.DataFrame:
    """A row for each record of each run: its fields, what became of its run, and every setting of the run.

    ``frame.attrs["units"]`` has the unit of each field.

    Args:
        store: a store, or several.
        sweep: only the runs of this recorded sweep.

    Raises:
        ConfigError: a store is not there, or none records ``sweep``.
    """
    frame = make_report(stores_of(store), sweep).table("records").frame.copy()
    frame.attrs["units"] = units_of(frame)
    return frame


def stores_of(store: Stores) -> list[Path]:
    """The paths, ``~`` replaced."""
    stores = [store] if isinstance(store, str | Path) else list(store)
    return [expanded(path) for path in stores]


def units_of(frame: pd.DataFrame) -> dict[str, str]:
    """The unit of each column that has one."""
    found = {str(name): UNITS.get(str(name)) or UNITS.get(str(name).rpartition("/")[0]) for name in frame}
    return {name: unit for name, unit in found.items() if unit is not None}
