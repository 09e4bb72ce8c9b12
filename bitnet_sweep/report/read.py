"""Stores → evidence: the runs and sweeps on disk (or in a W&B project), read without trusting them.

Nothing is repaired and nothing raises for one bad run: what cannot be read becomes a problem of its
run, which the report shows. Only a store that is not there, or a sweep nobody recorded, stops it.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pydantic_core
import yaml

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError
from bitnet_sweep.records import Record

SCHEMA = 1
"""Of ``status.json``; a run of another schema is left out and named."""

WANDB = "wandb:"
"""A store whose name begins so is a W&B project, ``wandb:ENTITY/PROJECT``."""

STATES = ("finished", "running", "interrupted", "failed", "unreadable", "unknown", "missing")
"""Best copy of a run first. The first four are those of ``status.json``."""

# The C parser is the same safe loader, about ten times as fast, which 10,000 configs need.
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
    store: str = ""


@dataclass(frozen=True)
class Sweep:
    """A recorded grid: ``sweeps/<name>.json``."""

    name: str
    run_ids: list[str]
    command: str = ""
    overrides: list[str] = field(default_factory=list)
    excluded: int = 0
    created: str = ""


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
        paths: the store folders, and W&B projects as ``wandb:ENTITY/PROJECT``.
        sweep: keep only this sweep and its runs.

    Raises:
        ConfigError: a store is not there or does not answer, or no store records ``sweep``.
    """
    runs: dict[str, Run] = {}
    sweeps: dict[str, Sweep] = {}
    notes: list[str] = []
    projects = [_project(str(path), sweep) for path in paths if _is_wandb(path)]
    paths = [path for path in paths if not _is_wandb(path)]
    for path in paths:
        if not path.is_dir():
            raise ConfigError("STORE", path, "there is no such folder")
        for found in _sweeps(path, notes):
            sweeps[found.name] = _merged(sweeps.get(found.name), found)
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
    with _no_collection():
        for path in paths:
            for folder in sorted((path / "runs").glob("*")):
                if folder.is_dir() and (wanted is None or folder.name in wanted):
                    run = read_run(folder, str(path))
                    runs[run.run_id] = _better(runs.get(run.run_id), run)
    for project in projects:
        for run in project.runs.values():
            runs[run.run_id] = _better(runs.get(run.run_id), run)
    for recorded in sweeps.values():
        for run_id in recorded.run_ids:
            runs.setdefault(run_id, Run(run_id, "missing", problems=["no store holds it"]))
    return Evidence(runs, sweeps, notes)


def _is_wandb(path: Path) -> bool:
    return str(path).startswith(WANDB)


def _project(source: str, sweep: str | None) -> Evidence:
    from bitnet_sweep.report.from_wandb import read_project  # late: W&B takes a second, and stores need none

    return read_project(source, sweep)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Nothing read is garbage, and looking for some among 300,000 records takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_run(folder: Path, store: str = "") -> Run:
    """One run folder; never raises for what the files hold."""
    problems: list[str] = []
    config = flatten(_document(folder / "config.yaml", problems, required=True))
    status = _document(folder / "status.json", problems, required=True)
    records = records_of(_lines(folder / "records.jsonl", problems), problems)
    samples = _lines(folder / "samples.jsonl", problems)
    state = str(status.get("state", "unknown"))
    schema = status.get("schema", SCHEMA)
    if schema != SCHEMA:
        problems.append(f"written with schema {schema!r}; this report reads schema {SCHEMA}")
        return Run(folder.name, "unreadable", status=status, problems=problems, store=store)
    if any(problem.startswith("cannot be read") for problem in problems):
        state = "unreadable"
    elif state not in STATES[:4]:
        problems.append(f"status.json does not say finished, running, interrupted or failed ({state})")
        state = "unknown"
    if state == "failed" and status.get("error"):
        problems.append(str(status["error"]).strip().splitlines()[-1])
    return Run(folder.name, state, config, status, records, samples, problems, store)


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys; a file that has dotted keys already is left as it is."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _document(path: Path, problems: list[str], *, required: bool) -> dict[str, Any]:
    try:
        text = path.read_bytes()
        document = json.loads(text) if path.suffix == ".json" else _yaml(text)
    except FileNotFoundError:
        if required:
            problems.append(f"no {path.name}")
        return {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        problems.append(f"cannot be read: {path.name} ({first_line})")
        return {}
    if not isinstance(document, dict):
        problems.append(f"cannot be read: {path.name} (not a mapping)")
        return {}
    return document


def _yaml(text: bytes) -> Any:
    """The document of a config, block by block where that is safe.

    10,000 configs of a sweep differ in a few settings, so nearly every top-level block (``model:`` and
    what is indented under it) has been parsed before. A block that leans on another one (an anchor, a
    quoted text over several lines) is not valid by itself; then the document is parsed as a whole.
    """
    blocks = _BLOCK.split(text)
    if blocks[0] or not blocks[1:] or _NOT_PLAIN.search(text):
        return _whole_yaml(text)
    document: dict[str, Any] = {}
    try:
        for block in blocks[1:]:
            document |= _yaml_block(block)
    except (yaml.YAMLError, ValueError, TypeError):
        return _whole_yaml(text)
    return document


_BLOCK = re.compile(rb"^(?=[A-Za-z_])", re.MULTILINE)
_NOT_PLAIN = re.compile(rb"^(?![A-Za-z_][\w.]*:( |$)|- |  |\n|\Z)", re.MULTILINE)
"""A line that is no ``key:``, no list item, not indented and not empty."""


@lru_cache(maxsize=4096)
def _yaml_block(block: bytes) -> dict[str, Any]:
    """One top-level key and its value; readers share it and change nothing in it.

    Raises:
        YAMLError: not YAML by itself.
        TypeError: no mapping.
    """
    document = _whole_yaml(block)
    if not isinstance(document, dict):
        raise TypeError
    return document


def _whole_yaml(text: bytes) -> Any:
    loader = _SafeLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"cannot be read: {path.name} ({error.strerror})")
        return []
    if data and not data.endswith(b"\n"):
        problems.append(f"{path.name} ends in a half-written line")
    try:
        return _rows(data, path)
    except (ValueError, RecursionError) as error:
        problems.append(f"cannot be read: {path.name} ({str(error).removeprefix(f'{path}:')})")
        return []


def records_of(rows: list[dict[str, Any]], problems: list[str]) -> list[Record]:
    """Records by step; a value that is no finite number is None, the record's own word for it.

    What is wrong with a row is added to ``problems``.
    """
    by_step: dict[int, Record] = {}
    for row in rows:
        step = row.get("step")
        if isinstance(step, bool) or not isinstance(step, int | float) or step != step // 1:
            problems.append(f"a record without a step was left out (step: {step!r})")
            continue
        if int(step) in by_step:
            problems.append(f"step {int(step)} is recorded twice; the later record counts")
        by_step[int(step)] = _plain(row)
        row["step"] = int(step)
    return [by_step[step] for step in sorted(by_step)]


def _plain(row: dict[str, Any]) -> Record:
    """The row itself, with whatever is no finite number made None; few calls tell that 50 values are."""
    values = row.values()
    if set(map(type, values)) <= _PLAIN:
        numbers = list(filter(None, values))
        if min(numbers, default=0) >= -_LARGEST and max(numbers, default=0) <= _LARGEST:
            return row
    for key, value in row.items():
        if type(value) not in _PLAIN or (value is not None and not -_LARGEST <= value <= _LARGEST):
            row[key] = None
    return row


_PLAIN = {int, float, type(None)}
_LARGEST = sys.float_info.max


def _rows(data: bytes, path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; NaN and Infinity are None.

    10,000 runs hold 700 MB of records, so whole files of whole lines are parsed at once, by a parser three
    times as fast as Python's. What it objects to is read line by line, which also tells what is wrong.

    Raises:
        ValueError: a line before the last one is not a JSON object.
    """
    lines = [line for line in data.split(b"\n") if line.strip()]
    if data.endswith(b"\n") and all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
        try:
            joined = b"[" + b",".join(lines) + b"]"
            rows = pydantic_core.from_json(joined, allow_inf_nan=False, cache_strings="keys")
        except ValueError:
            pass
        else:
            if len(rows) == len(lines):
                return list(rows)
    return files.json_lines(data, path, _JSON.decode)


_JSON = json.JSONDecoder(parse_constant=lambda _: None)


def _sweeps(store: Path, notes: list[str]) -> list[Sweep]:
    found = []
    for path in sorted((store / "sweeps").glob("*.json")):
        problems: list[str] = []
        document = _document(path, problems, required=False)
        run_ids = document.get("run_ids")
        if problems or not isinstance(run_ids, list):
            notes.append(f"sweep {path.stem} of {store}: {'; '.join(problems) or 'no run_ids'}")
            continue
        command, excluded = document.get("command", ""), document.get("excluded") or []
        overrides = document.get("overrides")
        found.append(
            Sweep(
                name=path.stem,
                run_ids=list(dict.fromkeys(map(str, run_ids))),
                command=" ".join(map(str, command)) if isinstance(command, list) else str(command),
                overrides=[str(item) for item in overrides] if isinstance(overrides, list) else [],
                excluded=len(excluded) if isinstance(excluded, list | dict) else 0,
                created=str(document.get("created", "")),
            )
        )
    return found


def _merged(known: Sweep | None, found: Sweep) -> Sweep:
    """The same sweep in several stores: all its runs, in the order they are met."""
    if known is None:
        return found
    return replace(known, run_ids=list(dict.fromkeys([*known.run_ids, *found.run_ids])))


def _better(known: Run | None, found: Run) -> Run:
    """Of two copies of a run the one that got further; the first where they are equal."""
    if known is None:
        return found

    def rank(run: Run) -> tuple[int, int]:
        return (-STATES.index(run.state), len(run.records))

    return max(known, found, key=rank)
