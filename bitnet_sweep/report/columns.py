"""What the files to compute with say of each run beside its id: its name, its sweeps, its settings."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd

from bitnet_sweep.config import RunConfig, added_knobs, flatten, plain
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.settings import by_option, number
from bitnet_sweep.report.summary import Study
from bitnet_sweep.report.table import typed


def name_of(arm: Arm) -> str:
    """The name that its sweep gave a run, which the commands take; of a run that no sweep names its label."""
    return arm.run.name or arm.label


def sweeps_of(study: Study) -> dict[str, list[str]]:
    """The names of the sweeps that ask for each run, by run_id."""
    found: dict[str, list[str]] = {}
    for sweep in study.evidence.sweeps.values():
        for run_id in sweep.run_ids:
            found.setdefault(run_id, []).append(sweep.name)
    return found


def setting_keys(study: Study) -> list[str]:
    """The settings of all runs, by dotted key, options of parts too, but not the stages.

    A knob that was added later is left out while every run is as before it.
    """
    configs = [arm.run.config for arm in study.arms if arm.run.config]
    unused = {
        key for key, was in added_knobs().items() if all(config.get(key, was) == was for config in configs)
    }
    left_out = {"stages", *unused}
    told = ({key: v for key, v in config.items() if key not in left_out} for config in configs)
    return list(dict.fromkeys(key for config in told for key in by_option(config)))


def run_columns(study: Study) -> pd.DataFrame:
    """A row for each run of ``study.arms``, in their order: its name, its sweeps, and its settings."""
    keys, sweeps = setting_keys(study), sweeps_of(study)
    columns: dict[str, list[Any]] = {
        "name": [name_of(arm) for arm in study.arms],
        "sweep": [" ".join(sweeps.get(arm.run_id, ())) for arm in study.arms],
    }
    settings = [by_option(arm.run.config) for arm in study.arms]
    columns |= {key: [_cell(key, own.get(key)) for own in settings] for key in keys}
    return pd.DataFrame({name: _typed(column) for name, column in columns.items()})


def _cell(key: str, value: Any) -> Any:
    """Lists, such as tags, as text, and a number that YAML reads as text (1e-8) as one."""
    if isinstance(value, str) and key in _fractions():
        return value if (found := number(value)) is None else found
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@cache
def _fractions() -> set[str]:
    """The settings that are numbers with a fraction, by dotted key."""
    return {key for key, value in flatten(plain(RunConfig())).items() if isinstance(value, float)}


def _typed(column: list[Any]) -> pd.Series[Any]:
    """As :func:`bitnet_sweep.report.table.typed`, and whole numbers are such however they are written."""
    found = typed(column)
    return found if found.dtype == "string" else pd.Series(column, dtype=object).convert_dtypes()
