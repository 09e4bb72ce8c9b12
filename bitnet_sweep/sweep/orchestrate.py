"""A sweep from its grid to its closing table, through whatever launches the jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bitnet_sweep.config import ConfigError, Device, RunConfig, TrackName
from bitnet_sweep.exact import counted
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.store import FAILED, INTERRUPTED, RUNNING, Folder, Store
from bitnet_sweep.store.lease import HeldError, lease
from bitnet_sweep.store.liveness import WITHOUT_A_WORD
from bitnet_sweep.sweep.display import progress_bar
from bitnet_sweep.sweep.exits import FailedRunError, InterruptedRunError
from bitnet_sweep.sweep.forecast import forecast_lines
from bitnet_sweep.sweep.plan import Plan, PlannedJob, PlannedRun, make_plan
from bitnet_sweep.sweep.register import register, set_aside, sweep_name
from bitnet_sweep.sweep.results import next_lines, state_table, tidy, unfinished
from bitnet_sweep.sweep.reuse import reuse_lines
from bitnet_sweep.sweep.schedule import check_shorthands, schedule_lines
from bitnet_sweep.sweep.signals import stop_request
from bitnet_sweep.wandb_environment import leave_out
from bitnet_sweep.workload.find import check_all, remarks_on, workload_of

log = logging.getLogger(__name__)

Launch = Callable[[Plan, str], None]
"""Start the jobs of a plan for the sweep of that name, and return when the last one has ended."""


def plan_runs(
    grid: Sequence[tuple[tuple[str, ...], RunConfig]], trains_here: bool = True
) -> tuple[Store, list[PlannedRun]]:
    """Check the whole grid before anything starts, and give each point its identity.

    Args:
        grid: overrides and resolved config of each point.
        trains_here: on this machine, whose devices then count.

    Raises:
        ConfigError: one of the points cannot be trained.
    """
    if modes := {config.track.mode.name for _, config in grid if config.track.name is TrackName.wandb}:
        leave_out(modes)  # here, so that it is told once and no job sees them
    roots = list(dict.fromkeys(config.store for _, config in grid))
    if len(roots) > 1:
        raise ConfigError("store", ",".join(roots), "a sweep has one store")
    store = Store(Path(roots[0]))
    store.open_for_writing()
    check_all([config for _, config in grid])
    fingerprints: dict[Hashable, str] = {}
    runs = []
    for overrides, config in grid:
        if config.device is Device.cuda and trains_here:
            from bitnet_sweep.runtime import choose_device  # late: it imports torch

            choose_device(config.device)
        workload = workload_of(config)
        key = workload.data_key(config)
        if key not in fingerprints:
            fingerprints[key] = workload.fingerprint(config)
            workload.prepare(config, store.tokens, fingerprints[key])
        runs.append(PlannedRun(overrides, config, tuple(stage_ids(config, fingerprints[key]))))
    check_shorthands(runs)
    return store, runs


def drive(
    store: Store,
    runs: Sequence[PlannedRun],
    overrides: Sequence[str],
    launch: Launch,
    excluded: Sequence[str] = (),
    jobs_at_once: int | None = None,
) -> None:
    """Train what is missing, and say how every run stands.

    Args:
        store: of all runs.
        runs: of ``plan_runs``.
        overrides: the command line's, for the register.
        launch: starts the jobs.
        excluded: the points left out, for the register.
        jobs_at_once: how many the launcher runs, for the forecast; None where it does not say.

    Raises:
        InterruptedRunError: a signal asked to stop.
        FailedRunError: some runs are not finished; the others are.
    """
    plan = make_plan(runs, store)
    name = sweep_name(plan.runs, runs[0].config.sweep.name)
    print(plan.summary() + (f"; {counted(len(excluded), 'point')} excluded" if excluded else ""))
    told = [*reuse_lines(plan.other_code), *remarks_on([run.config for run in plan.runs])]
    print("\n".join([*told, *forecast_lines(plan, store, jobs_at_once)]), flush=True)
    if runs[0].config.sweep.dry_run:
        print("\n".join([plan.tree(), *schedule_lines(plan.runs)]))
        return
    set_aside(store, plan.runs, name)
    register(store, plan.runs, name, overrides, excluded)
    carry_out(store, plan, name, launch)
    close(store, plan.runs, name)


def carry_out(store: Store, plan: Plan, name: str, launch: Launch) -> None:
    """Train what the plan says is missing, failed runs as often as ``sweep.max_retries`` says."""
    stop, runs = stop_request(), plan.runs
    with ExitStack() as stack:
        if plan.todo:
            stack.enter_context(progress_bar(plan.todo))
        for _ in range(1 + runs[0].config.sweep.max_retries):
            if plan.todo and not stop:
                launch(plan, name)
                bury(plan.todo, INTERRUPTED if stop else FAILED)
                plan = make_plan(runs, store)


def close(store: Store, runs: Sequence[PlannedRun], name: str, findings: str = "") -> None:
    """Tidy, and say how every run stands and what was found.

    Raises:
        InterruptedRunError: some runs are not finished, and a signal asked to stop.
        FailedRunError: some runs are not finished.
    """
    tidy(store, runs)
    print(state_table(store, runs))
    if findings:
        print(f"\n{findings}\n")
    print("\n".join(next_lines(store, runs, name)), flush=True)
    left = unfinished(store, runs)
    if left and stop_request():
        raise InterruptedRunError
    if left:
        raise FailedRunError(f"{len(left)} of {len(runs)} runs are not finished; the same command goes on")


def bury(jobs: Sequence[PlannedJob], state: str) -> None:
    """Note the jobs that died without a word: running by their status, but nobody holds their lease."""
    for job in jobs:
        folder = job.node.folder
        if not _is_running(folder):
            continue
        try:
            with lease(folder.path):
                status = folder.status()
                if status is None or status.state != RUNNING:  # another sweep had it, and is through
                    continue
                status.state = state
                status.error = WITHOUT_A_WORD
                folder.write_status(status)
        except HeldError:
            continue  # another sweep is training it
        except OSError as error:
            log.error("%s could not be written: %s", folder.path, error)


def _is_running(folder: Folder) -> bool:
    status = folder.status()
    return status is not None and status.state == RUNNING
