"""Where each run comes from: command, commit, versions, machine, settings; and how a cell is cited."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bitnet_sweep.config import flatten
from bitnet_sweep.identity import digest
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.columns import name_of, setting_keys, sweeps_of
from bitnet_sweep.report.settings import UNKNOWN, as_read, by_option, shown
from bitnet_sweep.report.summary import Study
from bitnet_sweep.report.table import Table

_PREFIX = "provenance."
_MACHINE = ("cpu", "cpu_class", "cores", "threads", "platform", "host")
_TOLD = ("run_id", "state", "error")
"""What of a status has its own place on the page."""

ALWAYS = ("run_id", "name", "sweep", "state", "commit", "command")
"""What every run's row says, even where all runs agree."""


def provenance(study: Study) -> Table:
    """A row a run: how it came about, its status, and its settings in full."""
    rows = []
    told: dict[str, list[str]] = {}
    sweeps = sweeps_of(study)
    settings = [by_option(arm.run.config) for arm in study.arms]
    for key in setting_keys(study):
        column = (shown(own[key]) if key in own else UNKNOWN for own in settings)
        told[key] = as_read(list(column))
    for i, arm in enumerate(study.arms):
        asked = " ".join(sweeps.get(arm.run_id, ())) or "-"
        row = {"run_id": arm.run_id, "name": name_of(arm), "sweep": asked}
        row |= {"state": arm.run.state, **_origin(arm)}
        row |= {"store": arm.run.store}
        rows.append(row | {key: column[i] for key, column in told.items()})
    if any("earlier" in row for row in rows):  # the others' attempts were all alike
        rows = [{"earlier": "-"} | row for row in rows]
    names = dict.fromkeys([*ALWAYS, "versions", "machine", *(name for row in rows for name in row)])
    frame = pd.DataFrame(
        [[row.get(name) or UNKNOWN for name in names] for row in rows], columns=[*names], dtype=str
    )
    return Table("provenance", "Provenance", "Where each run comes from.", data=frame, is_data=True)


def parted(frame: pd.DataFrame) -> tuple[dict[str, str], pd.DataFrame]:
    """What all runs share, said once, and the columns in which they differ."""
    shared = {
        str(name): str(frame[name].iloc[0])
        for name in frame
        if len(frame) and name not in ALWAYS and frame[name].nunique() == 1
    }
    return shared, frame.drop(columns=list(shared))


def citation(name: str, arms: Sequence[Arm]) -> str:
    """How a cell of this very report is cited, as an example; empty where there is no run."""
    arm = next((arm for arm in arms if arm.run.config), None)
    if arm is None:
        return ""
    commit = _origin(arm)["commit"] or UNKNOWN
    return f"{name}, table results, {arm.label}: run {arm.run_id}, commit {commit}"


def _origin(arm: Arm) -> dict[str, str]:
    """A status in words: versions in one cell, the machine in another one."""
    own = {key: value for key, value in arm.run.status.items() if key not in _TOLD}
    if isinstance(own.get("code"), dict):  # file by file it would be fifty columns
        own["code"] = digest(own["code"])
    status = flatten(own)
    told = {key.removeprefix(_PREFIX): _text(value) for key, value in status.items()}
    libraries = {key: told.pop(key) for key in list(told) if key.startswith("versions.")}
    if "python" in told:
        libraries = {"versions.python": told.pop("python"), **libraries}
    machine = {key: told.pop(key) for key in _MACHINE if key in told}
    named = {"versions": ", ".join(f"{k.removeprefix('versions.')} {v}" for k, v in libraries.items())}
    named["machine"] = ", ".join(f"{key} {value}" for key, value in machine.items())
    return {"commit": told.pop("commit", ""), "command": told.pop("command", ""), **named, **told}


def _text(value: object) -> str:
    if isinstance(value, list):
        return ("; " if any(isinstance(item, dict) for item in value) else " ").join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)
