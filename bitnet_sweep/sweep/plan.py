"""The plan: a grid of runs as the cheapest set of trainings, longest chain first.

Runs whose stages begin alike share those stages. Where their ways part is a fork; the stretch up to a
fork is trained once, as a trunk. A *unit* is what one job trains: a trunk, or a run from its last fork.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from bitnet_sweep.config import RunConfig
from bitnet_sweep.stages import stage_ends
from bitnet_sweep.store import Store
from bitnet_sweep.sweep.legs import Leg, legs_of
from bitnet_sweep.sweep.reuse import OtherCode, other_code
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
class Unit:
    """What one job trains."""

    run: PlannedRun
    """The run, or one of those that fork from the trunk."""
    num_stages: int
    """The job ends after this many stages of it."""
    parent: str | None
    """The unit id of the trunk it forks from."""
    steps: int
    """From its fork to its end."""
    left: int
    """Steps still to be trained, by the checkpoints there are."""
    rank: float
    """Work from its start to the end of the longest chain behind it; the largest goes first."""

    @property
    def id(self) -> str:
        """Its folder in the store: a stage can end one run and be a trunk of others."""
        return f"{'runs' if self.is_run else 'stages'}/{self.stage_id}"

    @property
    def stage_id(self) -> str:
        """The id of its last stage; for a run its run_id."""
        return self.run.stage_ids[self.num_stages - 1]

    @property
    def is_run(self) -> bool:
        return self.num_stages == len(self.run.stage_ids)

    @property
    def overrides(self) -> list[str]:
        """The command line of its job."""
        until = [] if self.is_run else [f"sweep.until_stage={self.num_stages}"]
        return [*self.run.overrides, *until]

    def leg(self, store: Store) -> Leg:
        """Where it ends."""
        return self.legs(store)[-1]

    def steps_left(self, store: Store) -> int:
        """``left``, as the store has it now."""
        legs = self.legs(store)
        return min(self.steps, legs[-1].end - max(leg.reached() for leg in legs))

    def legs(self, store: Store) -> list[Leg]:
        """From the start of the run to its end."""
        config = self.run.config
        if not self.is_run:
            sweep = replace(config.sweep, until_stage=self.num_stages)
            config = replace(config, sweep=sweep)
        return legs_of(config, store, list(self.run.stage_ids))


@dataclass(frozen=True)
class Plan:
    """The units of a grid that have something to do, parents before children, by falling rank."""

    runs: list[PlannedRun]
    """Each run once, in the order of the grid."""
    units: list[Unit]
    """All of them, done or not."""
    todo: list[Unit]
    num_alike: int
    """Points of the grid that are runs of other points."""
    other_code: list[OtherCode] = field(default_factory=list)
    """What is reused, or gone on with, and was trained by other code than this."""

    def levels(self) -> list[list[Unit]]:
        """The units to do, by the number of trunks before them: a level needs the ones before it."""
        depth: dict[str, int] = {}
        levels: list[list[Unit]] = []
        for unit in self.todo:
            depth[unit.id] = depth.get(unit.parent or "", -1) + 1
            if depth[unit.id] == len(levels):
                levels.append([])
            levels[depth[unit.id]].append(unit)
        return levels

    def summary(self) -> str:
        """One line: runs, what sharing saves, what is done, what is left to train."""
        alone = sum(run.config.steps for run in self.runs)
        steps = sum(unit.steps for unit in self.units)
        left = sum(unit.left for unit in self.todo)
        trunks = sum(not unit.is_run for unit in self.units)
        twice = f" ({self.num_alike} more points are the same as others)" if self.num_alike else ""
        return (
            f"{len(self.runs)} runs{twice} sharing {trunks} trunks: {steps:,} steps instead of {alone:,}; "
            f"{steps - left:,} done, {left:,} to train in {len(self.todo)} jobs"
        )

    def tree(self) -> str:
        """Every unit under the trunk it forks from: its steps, and whether they are still to be trained."""
        children: dict[str | None, list[Unit]] = {}
        for unit in self.units:
            children.setdefault(unit.parent, []).append(unit)
        todo = {unit.id: unit.left for unit in self.todo}

        def lines(parent: str | None, depth: int) -> Iterator[str]:
            for unit in children.get(parent, []):
                kind = "run  " if unit.is_run else "trunk"
                if unit.id not in todo:
                    state = "done"
                else:
                    left = todo[unit.id]
                    state = "to train" if left == unit.steps else f"{left:,} left"
                what = " ".join(unit.run.overrides) if unit.is_run else f"{unit.num_stages} stage(s)"
                yield f"{'  ' * depth}{kind} {unit.stage_id}  {unit.steps:>7,} steps  {state:8}  {what}"
                yield from lines(unit.id, depth + 1)

        return "\n".join(lines(None, 0))


def make_plan(grid: Sequence[PlannedRun], store: Store) -> Plan:
    """Merge common stages into trunks and leave out what the store already has."""
    runs = list({run.run_id: run for run in grid}.values())
    units = sorted(_units(runs), key=lambda unit: -unit.rank)
    legs = {unit.id: unit.leg(store) for unit in units}
    statuses = {unit_id: leg.folder.status() for unit_id, leg in legs.items()}
    done = {unit_id for unit_id, leg in legs.items() if leg.is_done_by(statuses[unit_id])}
    needed: set[str] = set()
    for unit in reversed(units):  # children come after their parents
        if unit.id not in done and (unit.is_run or unit.id in needed):
            needed.add(unit.id)
            if unit.parent is not None:
                needed.add(unit.parent)
    todo = [
        replace(unit, left=unit.steps_left(store))
        for unit in units
        if unit.id in needed and unit.id not in done
    ]
    begun = done | {unit.id for unit in todo if unit.left < unit.steps}
    reused = (
        other_code(statuses[unit.id], unit.run.config, unit.is_run) for unit in units if unit.id in begun
    )
    return Plan(runs, units, todo, len(grid) - len(runs), [found for found in reused if found is not None])


def _units(runs: Sequence[PlannedRun]) -> list[Unit]:
    """Every trunk and run; a trunk ends where at least two runs take different next stages."""
    next_stages: dict[str, set[str]] = {}
    for run in runs:
        if run.config.sweep.share_stages:
            for stage, following in zip(run.stage_ids, run.stage_ids[1:], strict=False):
                next_stages.setdefault(stage, set()).add(following)
    units: dict[str, Unit] = {}
    for run in runs:
        ends = stage_ends(run.config.stages)
        stops = [
            number
            for number, stage in enumerate(run.stage_ids, start=1)
            if stage == run.run_id or len(next_stages.get(stage, ())) > 1
        ]
        chain: list[Unit] = []
        for before, number in zip([0, *stops], stops, strict=False):
            steps = ends[number - 1] - (ends[before - 1] if before else 0)
            parent = chain[-1].id if chain else None
            chain.append(Unit(run, number, parent, steps, left=steps, rank=0.0))
        rank, cost = 0.0, run.work.cost or 1.0
        for unit in reversed(chain):
            rank += unit.steps * cost
            known = units.get(unit.id)
            rank = max(rank, known.rank if known else 0.0)
            units[unit.id] = replace(known or unit, rank=rank)
    return list(units.values())
