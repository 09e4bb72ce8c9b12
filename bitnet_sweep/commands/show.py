"""``bitnet-sweep show RUN``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bitnet_sweep.api.runs import OpenRun, open_run
from bitnet_sweep.config import ConfigError, plain
from bitnet_sweep.store import Store
from bitnet_sweep.store.commands import rerun_command, verb_command
from bitnet_sweep.store.outcome import finite
from bitnet_sweep.store.recorded import asked_runs
from bitnet_sweep.store.standing import error_of, standing

_WIDTH = 10


def shown(store: Path, text: str) -> str:
    """Everything about one run, with the commands that go on from here.

    Raises:
        ConfigError: there is not exactly one such run.
    """
    run = open_run(store, text)
    lines = [*_standing(run), *_config(run), *_next(run)]
    return "\n".join(lines)


def _standing(run: OpenRun) -> Iterator[str]:
    folder = Store(run.store).run(run.run_id)
    status, _, state = standing(folder)
    last = folder.last_record() or {}
    error = error_of(status, state)
    marks = "unknown" if run.marks is None else ", ".join(run.marks) or "none"
    told = {
        "run": run.run_id,
        "name": run.name,
        "state": state,
        "error": error,
        "outcome": run.outcome,
        "marks": marks if run.outcome else None,
        "step": last.get("step"),
        "val/loss": finite(last, "val/loss"),
        "sweeps": ", ".join(_sweeps(run)),
        "folder": run.folder,
    }
    yield from (f"{name:{_WIDTH}}{value}" for name, value in told.items() if value not in (None, ""))


def _sweeps(run: OpenRun) -> list[str]:
    """The recorded sweeps that ask for it."""
    names = [path.stem for path in sorted((run.store / "sweeps").glob("*.json"))]
    return [name for name in names if run.run_id in asked_runs(Store(run.store), name)]


def _config(run: OpenRun) -> Iterator[str]:
    yield from ("", "config")
    try:
        yield from (f"  {key}={value}" for key, value in _flat(plain(run.config)))
    except ConfigError as error:
        yield f"  {error}"


def _flat(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield (
                prefix + key,
                {None: "null", True: "true", False: "false"}.get(value)
                if (value is None or isinstance(value, bool))
                else value,
            )


def _next(run: OpenRun) -> Iterator[str]:
    yield from ("", "what next")
    yield f"  in Python     bitnet_sweep.open_run({str(run.store)!r}, {run.run_id!r})"
    if (run.folder / "final.safetensors").is_file():
        yield f"  write text    {verb_command('generate', run.store, run.run_id, '--prompt', 'The ')}"
    yield f"  remove it     {verb_command('rm', run.store, run.run_id)}"
    command = rerun_command(run.status.provenance.get("command") if run.status else None)
    if command is not None:
        yield f"  run it again  {command}    (after rm; nothing is trained while it is there)"
