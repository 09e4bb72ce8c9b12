"""The plan: a grid of runs as the cheapest set of trainings, longest chain first.

Runs whose stages begin alike share those stages. Where their ways part is a fork; the stretch up to a
fork is trained once, as a trunk. A job trains a trunk, or a run from its last fork.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from bitnet_sweep.config import RunConfig
from bitnet_sweep.exact import counted
from bitnet_sweep.store import Store
from bitnet_sweep.sweep.node import Node, node_of
from bitnet_sweep.sweep.reuse import OtherCode, other_code
from bitnet_sweep.track.naming import run_name
from bitnet_sweep.workload import Work
from bitnet_sweep.workload.find import workload_of


@dataclass(frozen=True)
class PlannedRun:
    """A point of the grid."""

    overrides: tuple[str, ...]
    """Its command-line overrides."""
    config: RunConfig
    """Resolved."""
    stage_ids: tuple[str, ...]

    @property
    def run_id(self) -> str:
        return self.stage_ids[-1]

    @cached_property
    def work(self) -> Work:
        """What its task says of it; plan and forecast ask for it several times."""
        return workload_of(self.config).work(self.config)


@dataclass(frozen=True)
class PlannedJob:
    """What one job trains: from its fork, through any number of nodes, to the end of the last of them."""

    run: PlannedRun
    """The run, or one of those that fork from the trunk."""
    node: Node
    """Where it ends."""
    parent: str | None
    """The id of the job that trains the trunk it forks from."""
    steps: int
    """From its fork to its end."""
    left: int
    """Steps still to be trained, by the checkpoints there are."""
    rank: float
    """Work from its start to the end of the longest chain behind it; the largest goes first."""

    @property
    def id(self) -> str:
        return self.node.id

    @property
    def is_run(self) -> bool:
        return self.node.is_run

    @property
    def num_stages(self) -> int:
        """It ends behind so many stages of the run."""
        return len(self.node.stage_ids)

    def steps_left(self) -> int:
        """``left``, as the store has it now."""
        return min(self.steps, self.node.end - max(node.reached() for node in self.node.chain()))


@dataclass(frozen=True)
class Plan:
    """The jobs of a grid that have something to do, parents before children, by falling rank."""

    runs: list[PlannedRun]
    """Each run once, in the order of the grid."""
    jobs: list[PlannedJob]
    """All of them, done or not."""
    todo: list[PlannedJob]
    num_alike: int
    """Points of the grid that are runs of other points."""
    other_code: list[OtherCode] = field(default_factory=list)
    """What is reused, or gone on with, and was trained by other code than this."""

    def levels(self) -> list[list[PlannedJob]]:
        """The jobs to do, by the number of trunks before them: a level needs the ones before it."""
        depth: dict[str, int] = {}
        levels: list[list[PlannedJob]] = []
        for job in self.todo:
            depth[job.id] = depth.get(job.parent or "", -1) + 1
            if depth[job.id] == len(levels):
                levels.append([])
            levels[depth[job.id]].append(job)
        return levels

    def summary(self) -> str:
        """One line: runs, what sharing saves, what is done, what is left to train."""
        alone = sum(run.config.steps for run in self.runs)
        steps = sum(job.steps for job in self.jobs)
        left = sum(job.left for job in self.todo)
        trunks = sum(not job.is_run for job in self.jobs)
        alike = f" ({counted(self.num_alike, 'more point')} the same as others)" if self.num_alike else ""
        return (
            f"{counted(len(self.runs), 'run')}{alike} sharing {counted(trunks, 'trunk')}: "
            f"{steps:,} steps instead of {alone:,}; "
            f"{steps - left:,} done, {left:,} to train in {counted(len(self.todo), 'job')}"
        )

    def tree(self) -> str:
        """Every job under the trunk it forks from: its steps, and whether they are still to be trained."""
        children: dict[str | None, list[PlannedJob]] = {}
        for job in self.jobs:
            children.setdefault(job.parent, []).append(job)
        todo = {job.id: job.left for job in self.todo}

        def lines(parent: str | None, depth: int) -> Iterator[str]:
            for job in children.get(parent, []):
                kind = "run  " if job.is_run else "trunk"
                if job.id not in todo:
                    state = "done"
                else:
                    left = todo[job.id]
                    state = "to train" if left == job.steps else f"{left:,} left"
                what = run_name(job.run.config) if job.is_run else counted(job.num_stages, "stage")
                yield f"{'  ' * depth}{kind} {job.node.folder.id}  {job.steps:>7,} steps  {state:8}  {what}"
                yield from lines(job.id, depth + 1)

        return "\n".join(lines(None, 0))


def make_plan(grid: Sequence[PlannedRun], store: Store) -> Plan:
    """Merge common stages into trunks and leave out what the store already has."""
    runs = list({run.run_id: run for run in grid}.values())
    jobs = sorted(_jobs(runs, store), key=lambda job: -job.rank)
    statuses = {job.id: job.node.folder.status() for job in jobs}
    done = {job.id for job in jobs if job.node.is_done_by(statuses[job.id])}
    needed: set[str] = set()
    for job in reversed(jobs):  # children come after their parents
        if job.id not in done and (job.is_run or job.id in needed):
            needed.add(job.id)
            if job.parent is not None:
                needed.add(job.parent)
    todo = [replace(job, left=job.steps_left()) for job in jobs if job.id in needed and job.id not in done]
    begun = done | {job.id for job in todo if job.left < job.steps}
    reused = (other_code(statuses[job.id], job.run.config, job.is_run) for job in jobs if job.id in begun)
    return Plan(runs, jobs, todo, len(grid) - len(runs), [found for found in reused if found is not None])


def _jobs(runs: Sequence[PlannedRun], store: Store) -> list[PlannedJob]:
    """Every trunk and run; a trunk ends where at least two runs take different next stages."""
    next_stages: dict[str, set[str]] = {}
    for run in runs:
        if run.config.sweep.share_stages:
            for stage, following in zip(run.stage_ids, run.stage_ids[1:], strict=False):
                next_stages.setdefault(stage, set()).add(following)
    jobs: dict[str, PlannedJob] = {}
    for run in runs:
        ends = enumerate(run.stage_ids[:-1], start=1)
        forks = [number for number, stage in ends if len(next_stages.get(stage, ())) > 1]
        chain: list[PlannedJob] = []
        for num_stages in [*forks, None]:
            node = node_of(run.config, store, run.stage_ids, num_stages)
            steps = node.end - (chain[-1].node.end if chain else 0)
            parent = chain[-1].id if chain else None
            chain.append(PlannedJob(run, node, parent, steps, left=steps, rank=0.0))
        rank, cost = 0.0, run.work.cost or 1.0
        for job in reversed(chain):
            rank += job.steps * cost
            known = jobs.get(job.id)
            rank = max(rank, known.rank if known else 0.0)
            jobs[job.id] = replace(known or job, rank=rank)
    return list(jobs.values())
