"""The records of a store as one tidy frame, with the settings of their runs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bitnet_sweep.paths import expanded
from bitnet_sweep.report import make_report
from bitnet_sweep.report.summary import Study
from bitnet_sweep.store import Store, is_archive, opened
from bitnet_sweep.store.recorded import AskedRun, asked_runs

Stores = str | Path | Sequence[str | Path]
"""A store or several, which merge by run_id."""

_NATS = "nats per token"
UNITS = {
    **dict.fromkeys(("train/loss", "train/loss_batch", "val/loss", "val/loss_tempered"), _NATS),
    **dict.fromkeys(("ref/ln_vocab", "ref/unigram_loss", "ref/bigram_loss", "blocks/loss_without"), _NATS),
    **dict.fromkeys(("val/minus_ln_vocab", "val/minus_unigram", "probe/context_gain"), _NATS),
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
    **dict.fromkeys(("optim/lr", "optim/weight_decay"), "dimensionless"),
    "optim/grad_norm": _NATS,
    "perf/tokens_per_s": "tokens/s",
    **dict.fromkeys(("perf/step_ms", "perf/probe_ms"), "ms"),
    "perf/peak_memory_mb": "MB",
}
"""Of the fields of a record. A layer's own field has the unit of the field that it stands beside."""


def records(store: Stores, sweep: str | None = None) -> pd.DataFrame:
    """A row for each record of each run: its fields, what became of its run, and every setting of the run.

    ``frame.attrs["units"]`` has the unit of each field.

    Args:
        store: a store, or several.
        sweep: only the runs of this recorded sweep.

    Raises:
        ConfigError: a store is not there, or none records ``sweep``.
    """
    report = make_report(stores_of(store), sweep)
    frame = report.table("records").csv.copy()
    settings = _settings(report.study, stores_of(store))
    missing = [name for name in settings if name not in frame]
    joined = settings[missing].reindex(frame["run_id"]).reset_index(drop=True)
    frame = pd.concat([frame, joined], axis=1)
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


def _settings(study: Study, stores: Sequence[Path]) -> pd.DataFrame:
    """A row for each run: its sweeps, its name, and its config by dotted key."""
    asked: dict[str, AskedRun] = {}
    for path in stores:
        if path.is_dir() or is_archive(path):
            with opened(path) as folder:
                asked |= asked_runs(Store(folder))
    sweeps: dict[str, list[str]] = {}
    for sweep in study.evidence.sweeps.values():
        for run_id in sweep.run_ids:
            sweeps.setdefault(run_id, []).append(sweep.name)
    rows: list[dict[str, Any]] = []
    for arm in study.arms:
        name = asked[arm.run_id].name if arm.run_id in asked else ""
        own = {"name": name or arm.label, "sweep": " ".join(sweeps.get(arm.run_id, []))}
        rows.append({"run_id": arm.run_id, **own, **{k: _cell(v) for k, v in arm.run.config.items()}})
    return (
        pd.DataFrame(rows, columns=None if rows else ["run_id", "name", "sweep"])
        .set_index("run_id")
        .convert_dtypes()
    )


def _cell(value: Any) -> Any:
    """Lists, such as the stages, as text."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
