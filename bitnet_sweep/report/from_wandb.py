"""A W&B project → evidence: the runs that ``track=wandb`` mirrored there, read through W&B's public API.

``bitnet_sweep.report.read`` imports this module when it is asked for ``wandb:ENTITY/PROJECT``, and only
then. The config is the run's own, the records are the rows of its history, the state is W&B's, told apart
by what the run's summary adds. Sample text stays where it is: W&B keeps it as files. A group is a sweep, of
which W&B knows the runs that began and nothing of those that did not.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bitnet_sweep.config import ConfigError, added_knobs, flatten, knobs_in
from bitnet_sweep.records import LOG, to_json_line
from bitnet_sweep.report.read import Evidence, Run
from bitnet_sweep.roles import Role
from bitnet_sweep.store.asked_runs import Sweep
from bitnet_sweep.store.codec import SCHEMA, records_of
from bitnet_sweep.store.states import FINISHED, RUNNING
from bitnet_sweep.wandb_client import (
    NoAnswerError,
    WandbError,
    bounded,
    open_api,
    server_url,
    stop_client,
)
from bitnet_sweep.wandb_names import ORIGIN, REPORT_GROUP, SWEEP_TAG, sweep_tag

if TYPE_CHECKING:
    import wandb
    from wandb.apis import public

RUN_SECONDS = 60.0
"""The longest wait for one run, and for a page of the list of runs."""

_NAMED = 3
"""So many of the runs left out for one reason are named."""

_FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR")


def read_project(source: str, sweep: str | None = None) -> Evidence:
    """Read the runs of a project; what is not a run of ours is left out and named in the notes.

    Args:
        source: ``wandb:ENTITY/PROJECT``, on the server that WANDB_BASE_URL names, else on api.wandb.ai.
        sweep: read only the runs of this group.

    Raises:
        ConfigError: no such project, no API key, or no answer in time.
    """
    match = re.fullmatch(r"wandb:([^/\s]+)/([^/\s]+)", source)
    if match is None:
        raise ConfigError("STORE", source, "a W&B project is written wandb:ENTITY/PROJECT")
    server = server_url()
    with _scratch():
        try:
            api = open_api(server, match[1])
            asked = None if sweep is None else {"$or": [{"group": sweep}, {"tags": sweep_tag(sweep)}]}
            listed = list(_listed(api, f"{match[1]}/{match[2]}", asked))
            ours = [run for run in listed if run.group != REPORT_GROUP]
            return _evidence(
                source, [run for run in ours if sweep is None or sweep in _sweeps(run, sweep)], sweep
            )
        except WandbError as error:
            if isinstance(error, NoAnswerError):
                stop_client(RUN_SECONDS)
            raise ConfigError("STORE", source, f"{error} ({server})") from error


def _listed(api: wandb.Api, project: str, asked: dict[str, Any] | None) -> Iterator[public.Run]:
    """The runs of a project, each page of the list waited for by itself."""
    with bounded(RUN_SECONDS):
        runs = iter(api.runs(project, filters=asked))
    while True:
        with bounded(RUN_SECONDS):
            run = next(runs, None)
        if run is None:
            return
        yield run


def _sweeps(run: public.Run, asked: str | None) -> list[str]:
    """The sweeps that a run is of: its group, which trained it, and those whose tag it has."""
    tags = [tag for tag in run.tags or () if tag.startswith(SWEEP_TAG)]
    names = [
        asked if asked is not None and tag == sweep_tag(asked) else tag.removeprefix(SWEEP_TAG)
        for tag in tags
    ]
    return list(dict.fromkeys([*([run.group] if run.group else []), *names]))


def _evidence(source: str, listed: Sequence[public.Run], asked: str | None = None) -> Evidence:
    runs: dict[str, Run] = {}
    groups: dict[str, list[str]] = defaultdict(list)
    left_out: dict[str, list[str]] = defaultdict(list)
    for listed_run in listed:
        try:
            with bounded(RUN_SECONDS):
                config = flatten(listed_run.config)
                summary: dict[str, Any] = listed_run.summary_metrics
        except NoAnswerError:
            raise
        except WandbError as error:
            left_out[f"cannot be read ({error})"].append(listed_run.id)
            continue
        if missing := [key for key in basic_keys(config) if key not in config]:
            left_out[f"not of bitnet_sweep: the config has no {', '.join(missing)}"].append(listed_run.id)
            continue
        runs[listed_run.id] = _run(listed_run, added_knobs(config) | config, summary, source)
        for name in _sweeps(listed_run, asked):
            if asked in (None, name):
                groups[name].append(listed_run.id)
    notes = [f"{source}: {_names(run_ids)} left out, {why}" for why, run_ids in left_out.items()]
    return Evidence(runs, {name: Sweep(name, run_ids) for name, run_ids in groups.items()}, notes)


def basic_keys(config: Mapping[str, Any]) -> list[str]:
    """What the config of a run says in any case."""
    return [knob.key for knob in knobs_in(config, Role.basic)]


def _run(listed: public.Run, config: dict[str, Any], summary: dict[str, Any], source: str) -> Run:
    """One run with its history."""
    problems: list[str] = []
    state = _state(listed.state, summary.get("state"))
    try:
        with bounded(RUN_SECONDS):
            # by W&B's own step: where the server has exported a part of the history, it gives that part twice
            rows = {row.get("_step"): row for row in listed.scan_history(use_cache=False)}
    except NoAnswerError:
        raise
    except WandbError as error:
        rows, state = {}, "unreadable"
        problems.append(f"cannot be read: history ({error})")
    plain = [_plain(row) for row in rows.values()]
    records = records_of([row for whole in plain if (row := _record(whole)) is not None], problems)
    log = b"".join(to_json_line(_log_row(row)).encode() + b"\n" for row in plain if _log_row(row))
    status = {"schema": SCHEMA, "state": state, "outcome": summary.get("outcome")}
    if (version := config.pop("science_version", None)) is not None:
        status["science_version"] = version
    if origin := {key: config.pop(key) for key in list(config) if key.startswith(f"{ORIGIN}.")}:
        status[ORIGIN] = {key.removeprefix(f"{ORIGIN}."): value for key, value in origin.items()}
    if isinstance(stage_ids := summary.get("stage_ids"), str):
        status["stage_ids"] = stage_ids.split()
    name = str(listed.name or "")
    return Run(listed.id, state, config, status, records, [], problems, log, source, name)


def _state(on_server: str, noted: object) -> str:
    """The store's word for a run's state.

    W&B says *failed* of every end that is not a success; the summary tells an interruption from it. A run
    whose process is gone without a word is *crashed*: interrupted, as far as anyone knows.
    """
    if on_server in (FINISHED, RUNNING):
        return on_server
    if on_server == "failed":
        return "interrupted" if noted == "interrupted" else "failed"
    return "interrupted" if on_server in ("crashed", "killed", "preempting", "preempted") else "unknown"


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The record in a row of history: without W&B's own fields, and without tables."""
    return {key: v for key, v in row.items() if not key.startswith("_") and not isinstance(v, dict)}


def _record(row: dict[str, Any]) -> dict[str, Any] | None:
    """The record's own part of a row; None where the training log alone has written it."""
    own = {key: value for key, value in row.items() if not key.startswith(LOG)}
    return None if len(own) < len(row) and own.keys() <= {"step"} else own


def _log_row(row: dict[str, Any]) -> dict[str, Any]:
    """The training log's own part, with its step; empty where it has none."""
    own = {key: v for key, v in row.items() if key.startswith(LOG) and isinstance(v, int | float | None)}
    return own and {"step": row.get("step"), **own}


def _names(run_ids: Sequence[str]) -> str:
    """ "run a", "runs a, b, c and 4 more"."""
    more = f" and {len(run_ids) - _NAMED} more" if len(run_ids) > _NAMED else ""
    return f"run{'s' * (len(run_ids) > 1)} {', '.join(run_ids[:_NAMED])}{more}"


@contextmanager
def _scratch() -> Iterator[None]:
    """W&B makes a folder for every run it lists, and keeps every history it reads: here they are removed."""
    before = {name: os.environ.get(name) for name in _FOLDERS}
    with tempfile.TemporaryDirectory(prefix="bitnet_sweep-", ignore_cleanup_errors=True) as folder:
        os.environ.update(dict.fromkeys(_FOLDERS, folder))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
