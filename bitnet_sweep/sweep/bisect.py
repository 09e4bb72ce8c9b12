"""Bisection on forks: at which value of a key does an outcome begin or end?

``sweep.bisect=wd2:0.0..0.05 sweep.until=recovered``: for each cell (each point of the rest of the grid)
the two ends are run, then the middle of the interval that has the outcome at one end only, until it is
``sweep.tolerance`` wide. Every probe is an ordinary run: where its first stages are those of another
probe it forks from their trunk, and what the store has is not trained again. So nothing is remembered
here, and the same command goes on wherever it was stopped.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bitnet_sweep.config import KNOBS, ConfigError, SweepConfig
from bitnet_sweep.exact import number_text
from bitnet_sweep.identity import digest
from bitnet_sweep.store import FINISHED, Status, Store
from bitnet_sweep.store.outcome import KINDS
from bitnet_sweep.sweep.exits import FailedRunError, InterruptedRunError
from bitnet_sweep.sweep.forecast import forecast_lines
from bitnet_sweep.sweep.grid import Axes, Compose, Point, Setting, make_grid, overrides_of
from bitnet_sweep.sweep.orchestrate import Launch, carry_out, close, plan_runs
from bitnet_sweep.sweep.plan import PlannedRun, make_plan
from bitnet_sweep.sweep.register import register, set_aside
from bitnet_sweep.sweep.reuse import reuse_lines
from bitnet_sweep.sweep.signals import stop_request

_SHORTEST = 16
"""Where no tolerance is given, the last interval is this part of the first."""


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    key: str
    low: float
    high: float
    until: str
    tolerance: float

    @staticmethod
    def of(settings: SweepConfig) -> Search:
        """The search that ``sweep.bisect``, ``sweep.until`` and ``sweep.tolerance`` describe.

        Raises:
            ConfigError: one of them cannot be used.
        """
        text = str(settings.bisect)
        parts = re.fullmatch(r"([\w.]+):(.+?)\.\.(.+)", text)
        low, high = (_number(parts[2]), _number(parts[3])) if parts else (math.nan, math.nan)
        if parts is None or not -math.inf < low < high < math.inf:
            raise ConfigError("sweep.bisect", text, "must be key:low..high, such as wd2:0.0..0.05")
        if parts[1] not in KNOBS or KNOBS[parts[1]].kind not in (float, float | None):
            allowed = "must name a key of the run that takes any number, such as wd2"
            raise ConfigError("sweep.bisect", text, allowed)
        if settings.until not in KINDS[:-1]:
            raise ConfigError("sweep.until", settings.until, f"must be one of {', '.join(KINDS[:-1])}")
        tolerance = settings.tolerance or float((_exact(high) - _exact(low)) / _SHORTEST)
        return Search(parts[1], low, high, settings.until, tolerance)

    def narrow(self, has: Mapping[float, bool]) -> tuple[float, float, list[float]]:
        """How far the known outcomes lead.

        Args:
            has: by probed value, whether its run has the outcome.

        Returns:
            The interval, and the values to probe next; none if it is narrow enough, or if both of its
            ends have the outcome or neither has.
        """
        low, high = self.low, self.high
        missing = [end for end in (low, high) if end not in has]
        if missing or has[low] == has[high]:
            return low, high, missing
        while _exact(high) - _exact(low) > _exact(self.tolerance):
            middle = float((_exact(low) + _exact(high)) / 2)
            if not low < middle < high:  # no number lies between them
                break
            if middle not in has:
                return low, high, [middle]
            if has[middle] == has[low]:
                low = middle
            else:
                high = middle
        return low, high, []

    def setting(self, value: float) -> Setting:
        """``key=value`` of a probe."""
        return Setting(self.key, value, f"{self.key}={value!r}")


def _exact(number: float) -> Decimal:
    """As it is written: half way from 0.4 to 0.8 lies 0.6, not 0.6000000000000001."""
    return Decimal(repr(number))


def _number(text: str) -> float:
    try:
        return float(text) + 0.0  # -0.0 equals 0.0
    except ValueError:
        return math.nan


@dataclass
class Cell:
    """One bisection: a point of the rest of the grid, with its probes so far."""

    rest: Point
    """Its settings but the searched one."""
    probes: dict[float, PlannedRun] = field(default_factory=dict)

    def statuses(self) -> dict[float, Status | None]:
        """The status of each probe, by rising value."""
        probes = sorted(self.probes.items())
        return {value: Store(Path(run.config.store)).run(run.run_id).status() for value, run in probes}

    def has(self, search: Search) -> dict[float, bool]:
        """Whether each finished probe has the outcome that is looked for."""
        return {
            value: status.outcome == search.until
            for value, status in self.statuses().items()
            if status is not None and status.state == FINISHED
        }


def bisect(
    axes: Axes,
    settings: SweepConfig,
    compose: Compose,
    overrides: Sequence[str],
    launch: Launch,
    jobs_at_once: int | None = None,
    trains_here: bool = True,
) -> None:
    """Search every cell, all of them a step at a time; tell and record what was found.

    Each step tells what it will cost; how many follow is not known before.

    Raises:
        ConfigError: the search or a point of the grid cannot be run; nothing has started.
        InterruptedRunError: a signal asked to stop.
        FailedRunError: some probes are not finished, so their cells were not searched to the end; or the
            next ones cannot be run.
    """
    search = Search.of(settings)
    if search.key in axes:
        raise ConfigError("sweep.bisect", settings.bisect, f"leave {search.key} out of the rest of the grid")
    grid = make_grid(axes | {search.key: [search.setting(search.low)]}, settings, compose)
    cells = [Cell(point[:-1]) for point, _ in grid.points]
    store = Store(Path(grid.points[0][1].store))
    due = _walk(search, cells, compose, trains_here)
    hashed = _name(search, cells)
    name = settings.name or hashed
    while due:
        if stop_request():
            raise InterruptedRunError
        probes = list({run.run_id: run for cell in cells for run in cell.probes.values()}.values())
        finished = {cell.probes[value].run_id for cell in cells for value in cell.has(search)}
        wanted = finished | {run.run_id for run in due}  # those that failed are not tried again
        plan = make_plan([run for run in probes if run.run_id in wanted], store)
        lines = [plan.summary(), *reuse_lines(plan.other_code), *forecast_lines(plan, store, jobs_at_once)]
        print("\n".join(lines), flush=True)
        if settings.dry_run:
            print(plan.tree() + ("\nThe probes that follow depend on these." if plan.todo else ""))
            return
        set_aside(store, probes, name)
        register(store, probes, name, overrides, grid.excluded)
        carry_out(store, plan, name, launch)
        try:
            due = _walk(search, cells, compose, trains_here)
        except ConfigError as error:  # a corpus that is gone, or a value between two that may be had
            raise FailedRunError(f"the search cannot go on: {error}") from error
    store.write_bisection(name, document(search, cells))
    swept = {key for key, values in axes.items() if len(values) > 1}
    close(store, probes, name, findings=table(search, cells, swept))


def _walk(search: Search, cells: Sequence[Cell], compose: Compose, trains_here: bool) -> list[PlannedRun]:
    """Give every cell the probes that follow from what the store knows; those not asked for before.

    It goes as far as the store leads, before anything is registered: so the register of a search that
    was stopped never loses a probe when the same search goes on.
    """
    due: list[PlannedRun] = []
    while wanted := [(cell, value) for cell in cells for value in _next_values(search, cell)]:
        points = [(*cell.rest, search.setting(value)) for cell, value in wanted]
        _, runs = plan_runs([(overrides_of(point), compose(point)) for point in points], trains_here)
        for (cell, value), run in zip(wanted, runs, strict=True):
            cell.probes[value] = run
        due += runs
    return due


def _next_values(search: Search, cell: Cell) -> list[float]:
    """A probe that did not finish is not tried again: its cell ends there."""
    _, _, values = search.narrow(cell.has(search))
    return [value for value in values if value not in cell.probes]


def _name(search: Search, cells: Sequence[Cell]) -> str:
    """A hash of the search, the same from the first round to the last.

    Raises:
        ConfigError: the searched key makes no difference.
    """
    ends = [(cell.probes[search.low].run_id, cell.probes[search.high].run_id) for cell in cells]
    if any(low == high for low, high in ends):
        raise ConfigError("sweep.bisect", search.key, "makes no difference to what is trained")
    return digest({"search": dataclasses.astuple(search), "ends": sorted(ends)})


def verdict(search: Search, has: Mapping[float, bool]) -> str:
    """What is known of a cell: ``found``, ``at both ends``, ``at neither end`` or ``not finished``."""
    _, _, missing = search.narrow(has)
    if missing:
        return "not finished"
    if has[search.low] == has[search.high]:
        return "at both ends" if has[search.low] else "at neither end"
    return "found"


def document(search: Search, cells: Sequence[Cell]) -> dict[str, Any]:
    """``bisections/<name>.json``: the search, and for each cell its last interval and all probes."""
    described = []
    for cell in cells:
        has = cell.has(search)
        low, high, _ = search.narrow(has)
        found = verdict(search, has)
        probes = [
            {
                search.key: value,
                "run_id": cell.probes[value].run_id,
                "state": status.state if status else None,
                "outcome": status.outcome if status else None,
            }
            for value, status in cell.statuses().items()
        ]
        described.append(
            {
                "overrides": list(overrides_of(cell.rest)),
                "verdict": found,
                "interval": [low, high] if found == "found" else None,
                "probes": probes,
            }
        )
    return dataclasses.asdict(search) | {"cells": described}


def table(search: Search, cells: Sequence[Cell], swept: Collection[str]) -> str:
    """A line for each cell: the nearest values with and without the outcome, or why there are none."""
    rows = []
    for cell in cells:
        has, statuses = cell.has(search), cell.statuses()
        found = verdict(search, has)
        row = {
            "cell": " ".join(setting.text for setting in cell.rest if setting.key in swept) or "the only one",
            f"{search.until} at {search.key}": "",
            "not at": "",
            "threshold": f"none inside: {found}" if found.startswith("at ") else found,
            "probes": str(len(cell.probes)),
        }
        if found == "found":
            low, high, _ = search.narrow(has)
            inside, outside = (low, high) if has[low] else (high, low)
            other = statuses[outside]
            row[f"{search.until} at {search.key}"] = number_text(inside)
            row["not at"] = f"{number_text(outside)} ({other.outcome if other else None})"
        rows.append(row)
    return tabulate(rows, headers="keys", disable_numparse=True)
