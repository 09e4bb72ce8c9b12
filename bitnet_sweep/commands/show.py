"""``bitnet-sweep show RUN``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bitnet_sweep.api.runs import OpenRun, open_run
from bitnet_sweep.config import ConfigError, ModelConfig, flatten, recorded
from bitnet_sweep.doors import parts_of_model
from bitnet_sweep.exact import word
from bitnet_sweep.parts import known
from bitnet_sweep.store import FAILED, FINISHED, Status, Store
from bitnet_sweep.store.asked_runs import sweeps_of_runs
from bitnet_sweep.store.codec import read_document
from bitnet_sweep.store.commands import rerun_command, verb_command
from bitnet_sweep.store.evaluations import summary
from bitnet_sweep.store.liveness import error_of, standing
from bitnet_sweep.store.outcome import finite

_WIDTH = 10


def shown(store: Path, text: str) -> str:
    """Everything about one run, with the commands that go on from here.

    Raises:
        ConfigError: there is not exactly one such run.
    """
    run = open_run(store, text)
    status, _, state = standing(Store(run.store).run(run.run_id))
    lines = [*_standing(run, status, state), *_traceback(status, state), *_evaluated(run), *_config(run)]
    lines += _next(run, state)
    return "\n".join(lines)


def _standing(run: OpenRun, status: Status | None, state: str) -> Iterator[str]:
    last = Store(run.store).run(run.run_id).last_record() or {}
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
        "sweeps": ", ".join(sweeps_of_runs(Store(run.store)).get(run.run_id, [])),
        "folder": run.folder,
    }
    yield from (f"{name:{_WIDTH}}{value}" for name, value in told.items() if value not in (None, ""))


def _traceback(status: Status | None, state: str) -> Iterator[str]:
    """Where it failed, unless a line says all of it."""
    lines = (status.error or "").rstrip().splitlines() if status is not None and state == FAILED else []
    if len(lines) > 1:
        yield from ("", *(f"  {line}" for line in lines))


def _evaluated(run: OpenRun) -> Iterator[str]:
    """What its evaluations found, where it has any."""
    paths = Store(run.store).evaluations(run.run_id)
    if paths:
        yield from ("", "evaluated")
    for path in paths:
        problems: list[str] = []
        document = read_document(path, problems, required=True)
        try:
            yield from map("  {}".format, problems) if problems else summary(document)
        except ValueError as error:
            yield f"  {path.name}: {error}"


def _config(run: OpenRun) -> Iterator[str]:
    yield from ("", "config")
    try:
        yield from (f"  {key}={word(value)}" for key, value in flatten(recorded(run.config)).items())
    except ConfigError as error:
        yield f"  {error}"


def _next(run: OpenRun, state: str) -> Iterator[str]:
    yield from ("", "what next")
    yield f"  in Python     bitnet_sweep.open_run({str(run.store)!r}, {run.run_id!r})"
    if (run.folder / "final.safetensors").is_file() and run.config.is_of_transformer:
        is_own = any(known(kind, name) is None for kind, name in parts_of_model(run.config))
        plugins = [f"--plugins={name}" for name in run.config.plugins if is_own]
        words = ("--prompt", "The ", *plugins)
        yield f"  write text    {verb_command('generate', run.store, run.run_id, *words)}"
        model = run.config.model
        if run.config.has_built_in_model and model.quantiser == ModelConfig.quantiser:
            yield f"  export it     {verb_command('export', run.store, run.run_id, '--to', 'hf', 'DIR')}"
            tasks = ("--tasks", "FILE.json")
            yield f"  evaluate it   {verb_command('evaluate', run.store, run.run_id, *tasks)}"
    yield f"  remove it     {verb_command('rm', run.store, run.run_id)}"
    command = rerun_command(run.status.provenance.get("command") if run.status else None)
    if command is not None:
        why = "    (after rm; nothing is trained while it is there)" if state == FINISHED else ""
        yield f"  run it again  {command}{why}"
