"""Runs → rows of a table, and what of them is read.

A row of one seed shows that run and nothing more. Several seeds give a row each and one row that is their
mean, so no value is ever hidden behind an average.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bitnet_sweep.config import RunConfig
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.intervals import mean_interval
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.settings import UNKNOWN, shown
from bitnet_sweep.report.table import (
    EMPTY,
    HIDDEN,
    ROW,
    RUN,
    SECTION,
    SEED,
    Cell,
    Column,
    N,
    Part,
    Row,
    counts_text,
    with_intervals,
)


@dataclass(frozen=True)
class Measure:
    """A column of a table of arms: what each arm has in it, and what the mean of several has."""

    column: Column
    of: Callable[[Arm], Cell]
    over: Callable[[Sequence[Arm]], Cell] | None = None
    """For the row of the mean; the mean of the cells where it is not given."""

    def mean(self, arms: Sequence[Arm], rows: Sequence[Row]) -> Cell:
        if self.over is not None:
            return self.over(arms)
        return mean_of([row[self.column.key] for row in rows], self.column.interval_prefix is not None)


def arm_rows(arms: Sequence[Arm], measures: Sequence[Measure]) -> list[Row]:
    """The replicates of one cell as rows, followed by their mean where there are several."""
    several = len(arms) > 1
    rows = []
    for arm in arms:
        own = {SEED: setting(arm.seed), N: EMPTY if several else Cell(1)}
        cells = {measure.column.key: measure.of(arm) for measure in measures}
        rows.append(Row(_place([arm], "run") | own | cells, "run", (arm.run_id,), is_averaged=several))
    if several:
        own = {SEED: Cell(words="mean"), N: Cell(len(arms))}
        cells = {measure.column.key: measure.mean(arms, rows) for measure in measures}
        run_ids = tuple(arm.run_id for arm in arms)
        rows.append(Row(_place(arms, "mean") | own | cells, "mean", run_ids))
    return rows


def _place(arms: Sequence[Arm], of: str) -> dict[str, Cell]:
    arm, run_ids = arms[0], " ".join(arm.run_id for arm in arms)
    place = {SECTION: Cell(arm.section), ROW: Cell(of), RUN: Cell(run_ids)}
    return place | {HIDDEN: size_of(arm), "wd2": setting(arm.wd2)}


KEYS = (
    *(Column(SECTION), Column(ROW), Column(RUN), Column(HIDDEN, shown), Column("wd2", repr, is_exact=True)),
    *(Column(SEED, shown), Column(N, "n={}".format)),
)
"""What tells the rows of a table of arms apart."""


def size_of(arm: Arm) -> Cell:
    """The hidden size; of a task or a model of a user's own, which has none that is known, its name."""
    return setting(arm.hidden) if arm.own is None else Cell(words=arm.own)


def setting(value: float | int | None) -> Cell:
    return Cell(why=UNKNOWN) if value is None else Cell(value)


def found(value: float | str) -> Cell:
    """What an arm tells of a number: itself, or the word for why there is none."""
    return Cell(why=value) if isinstance(value, str) else Cell(value)


def mean_of(cells: Sequence[Cell], has_interval: bool = False) -> Cell:
    """The mean of the numbers, and of how many it is; where there are none, the words with their counts."""
    numbers = [cell.value for cell in cells if isinstance(cell.value, int | float)]
    if numbers:
        interval = mean_interval(numbers) if has_interval else None
        return Cell(statistics.fmean(numbers), interval=interval, known=(len(numbers), len(cells)))
    if len(set(cells)) == 1:
        return cells[0]
    told = counts_text([cell.why or cell.words or str(cell.value or "") for cell in cells])
    return Cell(why=told) if all(cell.why for cell in cells) else Cell(words=told)


def merged(columns: Iterable[Column]) -> list[Column]:
    """Each column once, where it comes first."""
    return list({column.key: column for column in columns}.values())


def tells(section: Section, rows: Sequence[Row], columns: Sequence[Column]) -> bool:
    """Whether there is a number to read; tables of the transformer stand in any case."""
    if section.arms[0].task == RunConfig.task:
        return True
    cells = [row[column.key] for row in rows for column in columns]
    return any(isinstance(cell.value, int | float) for cell in cells)


def readable(section: Section, rows: Sequence[Row], columns: Sequence[Column], title: str = "") -> Part:
    """What a reader needs of the rows of one section; the CSV file keeps the rest.

    Left out: section and run_id, seed and n where every row is of the same single seed, decays that are the
    same throughout, intervals where there are none, and of another task than the transformer what none of
    its runs tells. The caption says what does not vary.
    """
    constant = [
        column for column in columns if column.key in _DECAYS and len({row[column.key] for row in rows}) == 1
    ]
    told = [title, *(f"{column.heading} = {column.text(rows[0])}" for column in constant)]
    left_out = {SECTION, ROW, RUN, *(column.key for column in constant)}
    seeds = {row[SEED] for row in rows}
    if len(seeds) == 1 and all(row.of == "run" and not row.is_averaged for row in rows):
        told.append(f"n = 1 (seed {next(c for c in KEYS if c.key == SEED).text(rows[0])})")
        left_out |= {SEED, N}
    if section.arms[0].task != RunConfig.task:
        left_out |= {column.key for column in columns if all(row[column.key].why == UNKNOWN for row in rows)}
    kept = [column for column in with_intervals(columns, rows) if column.key not in left_out]
    return Part(section, ", ".join(filter(None, told)), kept, rows)


_DECAYS = ("wd2", "wd2 (old)", "wd2 (new)")
