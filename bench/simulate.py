"""A sweep far past this machine: the real planner and the real order of starts, on made-up workers.

    python bench/simulate.py --runs 100000 --workers 1000 --out experiments/bench/simulate

Real are ``make_plan`` (over a store with nothing in it), the plan's ranks and ``ReadyJobs``, which decides
what a free worker gets. Made up are the step times, which the planner does not know, and the deaths: a dying
worker never comes back, and its job goes on elsewhere from its newest checkpoint, as SLURM and Ray requeue.

Lower bound of the makespan: the longest chain of a trunk and its arm, or the time in which the workers that
are alive could do all the work without a gap, whichever is longer. Work lost by deaths is not in it.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitnet_sweep import files
from bitnet_sweep.config import ModelConfig, RunConfig
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.paths import expanded
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Store
from bitnet_sweep.sweep.job_queue import ReadyJobs
from bitnet_sweep.sweep.plan import Plan, PlannedRun, make_plan
from bitnet_sweep.sweep.provenance import machine

START_SECONDS = 5.0
"""From a free worker to its first step (assumed: imports and a slow file system)."""
STEP_SECONDS = 0.02
"""Of a step at hidden 256 (made up); it grows with hidden ** 1.7, which is not what the planner assumes."""
SPREAD = 0.1
"""Standard deviation of the logarithm of a job's speed (made up)."""
WD2 = [0.005 * i for i in range(10)]


@dataclass(frozen=True)
class Job:
    """What the simulation knows of a job of the plan."""

    seconds: float
    """Of training, without the start."""
    checkpoint_seconds: float
    """Between checkpoints: what a death loses at most."""


@dataclass
class Result:
    """What became of a simulated sweep; seconds."""

    makespan: float
    lower_bound: float
    critical_path: float
    lost: float
    """Training that deaths undid, and starts that came to nothing."""
    deaths: int


def grid(sizes: Sequence[int]) -> Iterator[RunConfig]:
    """Without end: every size, ten second-stage decays from each trunk, then learning rates and seeds."""
    for seed in itertools.count():
        for i, hidden, wd2 in itertools.product(range(25), sizes, WD2):
            yield resolve(
                RunConfig(model=ModelConfig(hidden=hidden), seed=seed, lr=1e-3 * 1.02**i, wd2=wd2, steps=2000)
            )


def made_up(plan: Plan, rng: random.Random) -> list[Job]:
    """How long each job to do takes."""
    jobs = []
    for planned in plan.todo:
        config = planned.run.config
        step = STEP_SECONDS * (config.model.hidden / 256) ** 1.7 * math.exp(rng.gauss(0.0, SPREAD))
        jobs.append(Job(planned.steps * step, (config.checkpoint_every_steps or config.steps) * step))
    return jobs


def simulate(
    jobs: Sequence[Job], after: Sequence[int | None], workers: int, deaths: Sequence[float]
) -> Result:
    """Let ``workers`` do all jobs, one worker dying at each time of ``deaths``."""
    ready, returned = ReadyJobs(after), list[int]()
    left = [job.seconds for job in jobs]
    free, running = workers, dict[int, float]()  # job: when it started
    ends: list[tuple[float, int, float]] = []  # when, job, start it belongs to
    dying = sorted(deaths, reverse=True)
    now, lost, died, remaining = 0.0, 0.0, 0, len(jobs)
    rng = random.Random(len(jobs))  # noqa: S311  (a simulation, no secret)
    while remaining:
        while free and (returned or ready):
            job = heapq.heappop(returned) if returned else ready.pop()
            running[job] = now
            heapq.heappush(ends, (now + START_SECONDS + left[job], job, now))
            free -= 1
        if not ends or (dying and dying[-1] < ends[0][0]):
            if not dying:
                raise RuntimeError("every worker has died")
            now = dying.pop()
            died += 1
            if free:
                free -= 1
                continue
            job = rng.choice(list(running))
            spent = now - running.pop(job)
            trained = max(0.0, spent - START_SECONDS)
            kept = trained // jobs[job].checkpoint_seconds * jobs[job].checkpoint_seconds
            left[job] -= kept
            lost += spent - kept
            heapq.heappush(returned, job)
            continue
        now, job, started = heapq.heappop(ends)
        if running.get(job) != started:
            continue  # its worker had died
        del running[job]
        free += 1
        remaining -= 1
        ready.ended_well(job)
    path = _critical_path(jobs, after)
    return Result(now, max(path, _gapless(jobs, workers, deaths)), path, lost, died)


def _critical_path(jobs: Sequence[Job], after: Sequence[int | None]) -> float:
    finish: list[float] = []
    for job, parent in zip(jobs, after, strict=True):  # parents come first
        begin = 0.0 if parent is None else finish[parent]
        finish.append(begin + START_SECONDS + job.seconds)
    return max(finish)


def _gapless(jobs: Sequence[Job], workers: int, deaths: Sequence[float]) -> float:
    """When the living workers have spent as many seconds as all jobs need."""
    needed = sum(START_SECONDS + job.seconds for job in jobs)
    now, alive = 0.0, workers
    for death in sorted(deaths):
        if (death - now) * alive >= needed:
            break
        needed -= (death - now) * alive
        now, alive = death, alive - 1
    return now + needed / alive


def scenario(
    name: str, sizes: Sequence[int], count: int, workers: int, dying: float, folder: Path
) -> dict[str, object]:
    """Plan and simulate one grid."""
    began = time.process_time()
    runs = [
        PlannedRun((), config, tuple(stage_ids(config, "corpus")))
        for config in itertools.islice(grid(sizes), count)
    ]
    identified = time.process_time()
    plan = make_plan(runs, Store(folder))
    planned = time.process_time()
    rng = random.Random(0)  # noqa: S311
    jobs = made_up(plan, rng)
    index = {planned.id: i for i, planned in enumerate(plan.todo)}
    after = [index.get(planned.parent or "") for planned in plan.todo]
    calm = simulate(jobs, after, workers, [])
    deaths = [rng.uniform(0.0, calm.makespan) for _ in range(round(dying * workers))]
    struck = simulate(jobs, after, workers, deaths)
    return {
        "scenario": name,
        "sizes": list(sizes),
        "runs": len(plan.runs),
        "jobs": len(plan.todo),
        "workers": workers,
        "deaths": struck.deaths,
        "configs_and_ids_cpu_seconds": round(identified - began, 2),
        "plan_cpu_seconds": round(planned - identified, 2),
        "makespan_hours": round(struck.makespan / 3600, 3),
        "critical_path_hours": round(struck.critical_path / 3600, 3),
        "lower_bound_hours": round(struck.lower_bound / 3600, 3),
        "above_bound_percent": round(100 * (struck.makespan / struck.lower_bound - 1), 2),
        "above_bound_without_deaths_percent": round(100 * (calm.makespan / calm.lower_bound - 1), 2),
        "lost_percent_of_work": round(100 * struck.lost / sum(job.seconds for job in jobs), 3),
    }


def main() -> None:
    """Run all scenarios and write ``<out>.json`` and ``<out>.md``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--dying", type=float, default=0.1, help="share of the workers that die on the way")
    parser.add_argument("--out", type=expanded, default=Path("experiments/bench/simulate"))
    options = parser.parse_args()
    scenarios = {
        "four sizes": ((256, 512, 768, 1024), options.runs),
        "one size in five rules": ((128, 256, 512, 1024, 2048), options.runs),
        "two runs a worker": ((128, 256, 512, 1024, 2048), 2 * options.workers),
    }
    rows = []
    with tempfile.TemporaryDirectory() as empty:
        for name, (sizes, count) in scenarios.items():
            row = scenario(name, sizes, count, options.workers, options.dying, Path(empty))
            rows.append(row)
            print(json.dumps(row), flush=True)
    files.write_json(options.out.with_suffix(".json"), {"machine": machine(), "scenarios": rows})
    heads = list(rows[0])
    lines = ["| | " + " | ".join(str(row["scenario"]) for row in rows) + " |", "|---" * (len(rows) + 1) + "|"]
    lines += [f"| {head} | " + " | ".join(str(row[head]) for row in rows) + " |" for head in heads[1:]]
    told = f"\n`{machine()['cpu']}`, commit `{machine()['commit']}`\n"
    files.write_text(options.out.with_suffix(".md"), "\n".join(lines) + "\n" + told)


if __name__ == "__main__":
    main()
