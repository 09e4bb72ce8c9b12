"""Stores → evidence: the runs and sweeps on disk (or in a W&B project), read without trusting them.

Nothing is repaired and nothing raises for one bad run: what cannot be read becomes a problem of its
run, which the report shows. Only a store that is not there, or a sweep nobody recorded, stops it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bitnet_sweep.config import ConfigError, added_knobs, flatten
from bitnet_sweep.paths import in_letters
from bitnet_sweep.records import Record
from bitnet_sweep.report.evaluated import merged, scores_of
from bitnet_sweep.store import Store, opened
from bitnet_sweep.store.asked_runs import Sweep, asked_runs, read_sweeps
from bitnet_sweep.store.codec import SCHEMA, newer_schema, read_document, read_rows, records_of
from bitnet_sweep.store.evaluations import Score
from bitnet_sweep.store.liveness import error_before
from bitnet_sweep.store.states import FAILED, MISSING, REPORTED, UNKNOWN_STATE, UNREADABLE, WRITTEN

WANDB = "wandb:"
"""A store whose name begins so is a W&B project, ``wandb:ENTITY/PROJECT``."""


@dataclass(frozen=True)
class Run:
    """One run as found; a run that a sweep lists and no store holds has the state *missing*."""

    run_id: str
    state: str
    config: dict[str, Any] = field(default_factory=dict)
    """Flat, by dotted key; ``stages`` stays a list."""
    status: dict[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    """By rising step, one a step; a number that is not finite is None."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    log: bytes = b""
    """The training log as lines of JSON; ``Arm.log_by_step`` reads it, since few of many runs are drawn."""
    store: str = ""
    name: str = ""
    """As its sweep has it."""
    scores: Sequence[Score] = ()
    """What its evaluations found."""


@dataclass(frozen=True)
class Evidence:
    """All that the stores hold, merged by run_id."""

    runs: dict[str, Run]
    sweeps: dict[str, Sweep]
    notes: list[str]
    """What is wrong with a store as a whole, one line each."""


def read_stores(paths: Sequence[Path], sweep: str | None = None) -> Evidence:
    """Read and merge stores.

    Of two copies of a run that got equally far the first store's counts, and a store's before W&B's.

    Args:
        paths: the stores, as folders or as archives, and W&B projects as ``wandb:ENTITY/PROJECT``.
        sweep: keep only this sweep and its runs.

    Raises:
        ConfigError: a store is not there or does not answer, or no store records ``sweep``.
    """
    projects = [_project(str(path), sweep) for path in paths if _is_wandb(path)]
    with ExitStack() as stack:
        folders = {path: stack.enter_context(opened(path)) for path in paths if not _is_wandb(path)}
        return _read(folders, projects, sweep)


def _read(folders: Mapping[Path, Path], projects: Sequence[Evidence], sweep: str | None) -> Evidence:
    """Merge what the folders of stores, by the path that names each store, and the projects hold."""
    runs: dict[str, Run] = {}
    sweeps: dict[str, Sweep] = {}
    notes: list[str] = []
    for path, store in folders.items():
        wrong: dict[str, str] = {}
        for found in read_sweeps(Store(store), wrong):
            sweeps[found.name] = _merged(sweeps.get(found.name), found)
        notes += [f"sweep {name} of {in_letters(str(path))}: {what}" for name, what in wrong.items()]
    for project in projects:
        notes += project.notes
        for found in project.sweeps.values():
            sweeps[found.name] = _merged(sweeps.get(found.name), found)
    if sweep is not None:
        if sweep not in sweeps:
            known = ", ".join(sorted(sweeps)) or "none"
            raise ConfigError("--sweep", sweep, f"not recorded here; recorded: {known}")
        sweeps = {sweep: sweeps[sweep]}
    wanted = set(sweeps[sweep].run_ids) if sweep is not None else None
    for path, store in folders.items():
        for folder in sorted((store / "runs").glob("*")):
            if folder.is_dir() and (wanted is None or folder.name in wanted):
                run = read_run(folder, in_letters(str(path)))
                runs[run.run_id] = _better(runs.get(run.run_id), run)
    for project in projects:
        for run in project.runs.values():
            runs[run.run_id] = _better(runs.get(run.run_id), run)
    for path, store in folders.items():
        for run_id, scores in scores_of(Store(store), in_letters(str(path)), notes).items():
            if run_id in runs:
                runs[run_id] = replace(runs[run_id], scores=merged(runs[run_id].scores, scores))
    for recorded in sweeps.values():
        for run_id in recorded.run_ids:
            runs.setdefault(run_id, Run(run_id, MISSING, problems=["no store holds it"]))
    return Evidence(_as_asked(runs, list(folders.values())), sweeps, notes)


def _as_asked(runs: Mapping[str, Run], folders: Sequence[Path]) -> dict[str, Run]:
    """The runs by the names that sweeps gave them; of a missing one also what its trunks say."""
    found = dict(runs)
    for store in map(Store, folders):
        asked = asked_runs(store)
        for run_id in asked.keys() & found.keys():
            run = found[run_id]
            if run.state == MISSING and (failed := _error_before(store, asked[run_id].stage_ids)):
                run = replace(run, problems=[f"a trunk before it failed: {failed}"])
            found[run_id] = replace(run, name=asked[run_id].name or run.name)
    return found


def _error_before(store: Store, stage_ids: Sequence[str]) -> str | None:
    try:
        return error_before(store, stage_ids)
    except (OSError, ValueError, TypeError):
        return None


def _is_wandb(path: Path) -> bool:
    return str(path).startswith(WANDB)


def _project(source: str, sweep: str | None) -> Evidence:
    from bitnet_sweep.report.from_wandb import read_project  # late: W&B takes a second, and stores need none

    return read_project(source, sweep)


def read_run(folder: Path, store: str = "") -> Run:
    """One run folder; never raises for what the files hold."""
    problems: list[str] = []
    config = flatten(read_document(folder / "config.yaml", problems, required=True))
    config = config and added_knobs(config) | config
    status = read_document(folder / "status.json", problems, required=True)
    records = records_of(read_rows(folder / "records.jsonl", problems), problems)
    is_readable = not any(problem.startswith("cannot be read") for problem in problems)
    samples = read_rows(folder / "samples.jsonl", problems)  # no result rests on them, so no state either
    state = str(status.get("state", UNKNOWN_STATE))
    if newer := newer_schema(status.get("schema", SCHEMA)):
        problems.append(newer)
        return Run(folder.name, UNREADABLE, status=status, problems=problems, store=store)
    if not is_readable:
        state = UNREADABLE
    elif state not in WRITTEN:
        problems.append(f"status.json does not say finished, running, interrupted or failed ({state})")
        state = UNKNOWN_STATE
    if state == FAILED and status.get("error"):
        problems.append(str(status["error"]).strip().splitlines()[-1])
    log = b""
    with suppress(OSError):  # no result rests on it either, and older stores have none
        log = (folder / "log.jsonl").read_bytes()
    return Run(folder.name, state, config, status, records, samples, problems, log, store)


def _merged(known: Sweep | None, found: Sweep) -> Sweep:
    """The same sweep in several stores: all its runs, in the order they are met."""
    if known is None:
        return found
    return replace(known, run_ids=list(dict.fromkeys([*known.run_ids, *found.run_ids])))


def _better(known: Run | None, found: Run) -> Run:
    """The copy of a run that got further; the first where they are equal."""
    if known is None:
        return found

    def rank(run: Run) -> tuple[int, int]:
        return (-REPORTED.index(run.state), len(run.records))

    return max(known, found, key=rank)
