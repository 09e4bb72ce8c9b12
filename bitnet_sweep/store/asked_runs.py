"""The register of sweeps, ``sweeps/<name>.json``: what each asked for, whether or not a run has begun."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bitnet_sweep.config import ConfigError
from bitnet_sweep.store.codec import read_document
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
        """What :func:`read_sweeps` reads back."""
        return {
            "run_id": self.run_id,
            "name": self.name,
            "stage_ids": list(self.stage_ids),
            "stage_ends": list(self.stage_ends),
        }


@dataclass(frozen=True)
class Sweep:
    """A recorded grid."""

    name: str
    run_ids: list[str]
    command: str = ""
    overrides: list[str] = field(default_factory=list)
    excluded: int = 0
    created: str = ""
    runs: list[AskedRun] = field(default_factory=list)
    """What it notes of each of ``run_ids``."""


def read_sweeps(store: Store, problems: dict[str, str] | None = None) -> list[Sweep]:
    """Every sweep of a store, by name.

    Args:
        store: a sweep file that cannot be read asks for nothing.
        problems: what is wrong with such a file is added here, by the sweep's name.
    """
    names = sorted(path.stem for path in (store.root / "sweeps").glob("*.json"))
    found = (read_sweep(store, name, problems) for name in names)
    return [sweep for sweep in found if sweep is not None]


def read_sweep(store: Store, name: str, problems: dict[str, str] | None = None) -> Sweep | None:
    """The sweep of a name, as :func:`read_sweeps` reads it; None where there is none that can be read."""
    wrong: list[str] = []
    document = read_document(store.sweep_file(name), wrong, required=False)
    run_ids = document.get("run_ids")
    if wrong or not isinstance(run_ids, list):
        if problems is not None:
            problems[name] = "; ".join(wrong) or "no run_ids"
        return None
    return _sweep(name, list(dict.fromkeys(map(str, run_ids))), document)


def asked_runs(store: Store, sweep: str | None = None) -> dict[str, AskedRun]:
    """Every run that the store's sweeps asked for, by run_id: older sweeps first, each in its own order.

    Args:
        store: as of :func:`read_sweeps`.
        sweep: only this one.

    Raises:
        ConfigError: no such sweep is recorded.
    """
    sweeps = read_sweeps(store)
    if sweep is not None:
        known = ", ".join(each.name for each in sweeps) or "none"
        sweeps = [each for each in sweeps if each.name == sweep]
        if not sweeps:
            raise ConfigError("--sweep", sweep, f"not recorded here; recorded: {known}")
    found: dict[str, AskedRun] = {}
    for each in sorted(sweeps, key=lambda each: each.created):
        for run in each.runs:
            if run.run_id not in found or run.stage_ids:
                found[run.run_id] = run
    return found


def sweeps_of_runs(store: Store) -> dict[str, list[str]]:
    """The names of every sweep that asked for a run, by run_id."""
    found: dict[str, list[str]] = {}
    for sweep in read_sweeps(store):
        for run_id in sweep.run_ids:
            found.setdefault(run_id, []).append(sweep.name)
    return found


def _sweep(name: str, run_ids: list[str], document: dict[str, Any]) -> Sweep:
    command, excluded = document.get("command", ""), document.get("excluded") or []
    overrides = document.get("overrides")
    try:
        noted = {run["run_id"]: _asked_run(run) for run in document.get("runs", [])}
    except (TypeError, KeyError):  # older ones note nothing, and names are no reason to lose a run
        noted = {}
    return Sweep(
        name,
        run_ids,
        command=" ".join(map(str, command)) if isinstance(command, list) else str(command),
        overrides=[str(item) for item in overrides] if isinstance(overrides, list) else [],
        excluded=len(excluded) if isinstance(excluded, list | dict) else 0,
        created=str(document.get("created", "")),
        runs=[noted.get(run_id) or AskedRun(run_id) for run_id in run_ids],
    )


def _asked_run(run: dict[str, Any]) -> AskedRun:
    return AskedRun(run["run_id"], run["name"], tuple(run["stage_ids"]), tuple(run["stage_ends"]))
