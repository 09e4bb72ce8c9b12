"""What a plan will cost: disk by what its task says, time by what steps took in this store."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tqdm import tqdm

from bitnet_sweep.config import RunConfig
from bitnet_sweep.doors import are_known
from bitnet_sweep.store import BOUNDARY, Folder, Store
from bitnet_sweep.store.housekeeping import in_bytes
from bitnet_sweep.store.outcome import finite
from bitnet_sweep.store.speed import seconds_per_step
from bitnet_sweep.sweep.plan import Plan, PlannedJob
from bitnet_sweep.workload import Work
from bitnet_sweep.workload.find import workload_of

MAX_MEASURED = 200
"""Folders whose times are looked at, newest first: reading one config takes 2 ms (measured)."""


@dataclass(frozen=True)
class Disk:
    """Bytes that a plan will write."""

    trunks: int
    """Checkpoints that shared stages leave."""
    finals: int
    """Final weights."""
    training: int
    """At most, while it trains: checkpoints to resume from, each beside the one it replaces."""


@dataclass(frozen=True)
class Time:
    """Seconds of training, start-up apart."""

    work: float
    """Seconds of all jobs together."""
    longest_chain: float
    """Seconds of the longest run with the trunks before it, which no number of jobs can shorten."""
    wall: float
    """With as many jobs at once as were asked about."""


def forecast_lines(plan: Plan, store: Store, jobs_at_once: int | None) -> list[str]:
    """Disk and time of what is left to train, in words; nothing where nothing is left.

    Args:
        plan: of ``make_plan``.
        store: where earlier runs say how long a step takes.
        jobs_at_once: how many the launcher runs; None where it does not say.
    """
    if not plan.todo:
        return []
    disk = disk_needed(plan, store, jobs_at_once or 1)
    needed = "not known beforehand of such a task"
    if disk is not None:
        needed = f"{in_bytes(disk.trunks)} of trunks, {in_bytes(disk.finals)} of final weights, "
        needed += f"up to {in_bytes(disk.training)} more while it trains"
    lines = [f"disk: {needed}; {in_bytes(shutil.disk_usage(store.root).free)} free"]
    paces = measured_paces(store)
    seconds = {job.id: job_seconds(job, paces) for job in plan.todo}
    if any(value is None for value in seconds.values()):
        return [*lines, "time: no estimate yet (nothing comparable has been trained in this store)"]
    time = time_needed(plan.todo, {key: value or 0.0 for key, value in seconds.items()}, jobs_at_once or 1)
    text = f"time: about {_interval(time.work)} of training, longest chain {_interval(time.longest_chain)}"
    if jobs_at_once is not None:
        text += f", {_interval(time.wall)} with {jobs_at_once} at once"
    return [*lines, text]


def disk_needed(plan: Plan, store: Store, jobs_at_once: int) -> Disk | None:
    """What the jobs to do will leave behind: every stage but a run's last one is a trunk.

    None where a task does not tell what its checkpoints take.
    """
    first_stage = {job.id: job.num_stages for job in plan.jobs}
    trunks: dict[str, int] = {}
    finals = 0
    resumed = []
    for job in plan.todo:
        config, begin = job.run.config, first_stage.get(job.parent or "", 0)
        sizes = job.run.work.sizes
        if sizes is None:
            return None
        resumed.append(sizes.training)
        if job.is_run and config.sweep.keep_final:
            finals += sizes.final
        if config.sweep.share_stages:
            for stage in job.run.stage_ids[begin : job.num_stages - job.is_run]:
                if not store.stage(stage).has_checkpoint(BOUNDARY):
                    trunks[stage] = sizes.trunk
    return Disk(sum(trunks.values()), finals, sum(sorted(resumed)[-jobs_at_once:]))


def time_needed(todo: Sequence[PlannedJob], seconds: dict[str, float], jobs_at_once: int) -> Time:
    """What the local launcher does, without training: the first job that may start takes the first free slot.

    Args:
        todo: as in a plan, parents before children.
        seconds: by job id.
        jobs_at_once: slots, 1 or more.
    """
    chain: dict[str, float] = {}
    children: dict[str | None, list[int]] = {}
    for i, job in enumerate(todo):
        chain[job.id] = chain.get(job.parent or "", 0.0) + seconds[job.id]
        parent = job.parent if job.parent in seconds else None
        children.setdefault(parent, []).append(i)
    ready = list(children.get(None, []))  # rising, which is a heap
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < jobs_at_once:
            i = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[todo[i].id], i))
        now, done = heapq.heappop(running)
        for child in children.get(todo[done].id, []):
            heapq.heappush(ready, child)
    return Time(sum(seconds.values()), max(chain.values(), default=0.0), now)


@dataclass(frozen=True)
class Pace:
    """How long a step and a probe took, and of what kind of run."""

    step_seconds: float
    probe_seconds: float
    config: RunConfig
    work: Work


def measured_paces(store: Store) -> list[Pace]:
    """From the newest folders of the store that have a record past their first step."""
    dated = [(folder.status_modified() or 0, folder) for folder in [*store.stages(), *store.runs()]]
    newest = sorted(dated, key=lambda pair: pair[0], reverse=True)[:MAX_MEASURED]
    return [pace for _, folder in newest if (pace := _pace_of(folder)) is not None]


def job_seconds(job: PlannedJob, paces: Sequence[Pace]) -> float | None:
    """How long a job will train: at the median pace of its own kind of run, else scaled by a step's cost.

    Scaled are the paces of runs that compute alike (precision, threads, device); None if there are none.
    """
    config, work = job.run.config, job.run.work
    alike = [pace for pace in paces if _computes(pace.config) == _computes(config)]
    same = [pace for pace in alike if pace.work.kind == work.kind]
    if config.probe_every_steps is None:
        return None
    scaled = [
        ratio * (pace.step_seconds + pace.probe_seconds / config.probe_every_steps)
        for pace in same or alike
        if (ratio := _ratio(work, pace.work)) is not None
    ]
    return job.left * median(scaled) if scaled else None


def _ratio(one: Work, other: Work) -> float | None:
    """How much longer a step of one takes; None where that is not known."""
    if one.kind == other.kind:
        return 1.0
    return None if one.cost is None or other.cost is None else one.cost / other.cost


def _computes(config: RunConfig) -> tuple[Any, ...]:
    """What decides how fast anything is computed."""
    return config.precision, config.threads, config.device


def _pace_of(folder: Folder) -> Pace | None:
    """None for a folder that has not come past step 1, or that another program or another part trained."""
    try:
        record = folder.last_record()
        if record is None or record["step"] == 1:  # its time is that of warming up
            return None
        config = folder.config()
        if not are_known(config):
            return None
        step_seconds = seconds_per_step(record, probe_every_steps=None)
        work = workload_of(config).work(config)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if step_seconds is None:
        return None
    return Pace(step_seconds, 1e-3 * (finite(record, "perf/probe_ms") or 0.0), config, work)


def _interval(seconds: float) -> str:
    return tqdm.format_interval(seconds)
