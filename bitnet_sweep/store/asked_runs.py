"""What the sweeps of a store asked for, whether or not a run has begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError
from bitnet_sweep.store.store import Store


@dataclass(frozen=True)
class AskedRun:
    """A run that a sweep asked for; what its sweep did not note is empty."""

    run_id: str
    name: str = ""
    stage_ids: tuple[str, ...] = ()
    """The id of every stage, the last one its run_id."""
    stage_ends: tuple[int, ...] = ()
    """The last step of each."""

    def document(self) -> dict[str, Any]:
        """What :func:`asked_runs` reads back."""
        return {
            "run_id": self.run_id,
            "name": self.name,
            "stage_ids": list(self.stage_ids),
            "stage_ends": list(self.stage_ends),
        }


def asked_runs(store: Store, sweep: str | None = None) -> dict[str, AskedRun]:
    """Every run that the store's sweeps asked for, by run_id: older sweeps first, each in its own order.

    Args:
        store: a sweep file that cannot be read asks for nothing.
        sweep: only this one.

    Raises:
        ConfigError: no such sweep is recorded.
    """
    sweeps = {path.stem: _read(path) for path in sorted((store.root / "sweeps").glob("*.json"))}
    if sweep is not None:
        if sweep not in sweeps:
            raise ConfigError("--sweep", sweep, f"not recorded here; recorded: {', '.join(sweeps) or 'none'}")
        sweeps = {sweep: sweeps[sweep]}
    found: dict[str, AskedRun] = {}
    for _, runs in sorted(sweeps.values(), key=lambda pair: pair[0]):
        for run in runs:
            if run.run_id not in found or run.stage_ids:
                found[run.run_id] = run
    return found


def sweeps_of_runs(store: Store) -> dict[str, list[str]]:
    """The names of every sweep that asked for a run, by run_id."""
    found: dict[str, list[str]] = {}
    for path in sorted((store.root / "sweeps").glob("*.json")):
        for run in _read(path)[1]:
            found.setdefault(run.run_id, []).append(path.stem)
    return found


def _read(path: Path) -> tuple[str, list[AskedRun]]:
    """When a sweep was created, and its runs."""
    try:
        document = files.read_json(path)
        return str(document.get("created", "")), list(_runs(document))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "", []


def _runs(document: dict[str, Any]) -> Iterator[AskedRun]:
    details: dict[str, dict[str, Any]] = {run["run_id"]: run for run in document.get("runs", [])}
    for run_id in map(str, document.get("run_ids", [])):
        run = details.get(run_id)
        if run is None:
            yield AskedRun(run_id)
        else:
            yield AskedRun(run_id, run["name"], tuple(run["stage_ids"]), tuple(run["stage_ends"]))
