"""What a table is: rows of cells that hold values. How they look is left to those who render them.

A row is of one run, a mean over runs, or sums up all of a kind, and holds the run_ids behind it. A row of one
seed shows that run and nothing more; several seeds give a row each and one row that is their mean, so no
value is ever hidden behind an average.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from bitnet_sweep.report.arms import Arm, Section
from bitnet_sweep.report.intervals import Interval, mean_interval, share_interval
from bitnet_sweep.report.settings import UNKNOWN, shown

HIDDEN, SEED, N, RUN, SECTION = "Hidden Size", "seed", "n", "run_id", "section"
NATS = "nats per token"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value, or the reason why there is none; a cell without either is empty."""

    value: float | int | str | None = None
    why: str = ""
    """Why there is no value."""
    interval: Interval | None = None
    known: tuple[int, int] | None = None
    """The value is a mean of so many of so many runs; the others have none."""
    words: str = ""
    """How it is read, where its column's way of showing a value does not do."""


EMPTY = Cell()


@dataclass(frozen=True, slots=True)
class Row:
    """Cells by the keys of their columns; one that a row does not have is empty."""

    cells: Mapping[str, Cell]
    of: Literal["run", "mean", "all"] = "run"
    run_ids: tuple[str, ...] = ()
    is_averaged: bool = False
    """The mean of this run and others stands in a row below."""

    def __getitem__(self, key: str) -> Cell:
        return self.cells.get(key, EMPTY)


@dataclass(frozen=True)
class Column:
    """Where a cell is found in a row, and how it is shown."""

    key: str
    show: Callable[[Any], str] = str
    """A value as it is read."""
    unit: str = ""
    name: str = ""
    """Its heading, where that is not the key."""
    is_interval: bool = False
    """It shows the intervals of the cells, which another column shows the values of."""
    style: str = ""
    """For those who render it: *change* is what happens between the columns beside it."""
    interval_prefix: str | None = None
    """What the columns for the interval are called in a file of numbers, before *low*, *high*, *interval*."""
    has_counts: bool = False
    """Whether a file of numbers says of how many runs each value is the mean."""

    @property
    def heading(self) -> str:
        return self.name or self.key

    @property
    def bounds(self) -> Column:
        """The column that shows the intervals of this one."""
        return replace(self, name=f"{self.heading}, 95%", is_interval=True)

    def text(self, row: Row) -> str:
        """A cell as it is read: its value, else why it has none."""
        cell = row[self.key]
        if self.is_interval:
            found = cell.interval
            return f"[{self.show(found.low)}, {self.show(found.high)}] ({found.method})" if found else ""
        if cell.words or cell.value is None:
            return cell.words or cell.why
        short = cell.known is not None and cell.known[0] < cell.known[1]
        return self.show(cell.value) + (" ({}/{})".format(*cell.known) if cell.known and short else "")

    def is_numeric(self, rows: Iterable[Row]) -> bool:
        """Whether it holds a number."""
        return not self.is_interval and any(isinstance(row[self.key].value, int | float) for row in rows)


@dataclass(frozen=True)
class Part:
    """The rows of one section, as they are read in the report."""

    section: Section | None
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    @property
    def headings(self) -> list[str]:
        return [column.heading for column in self.columns]

    @property
    def texts(self) -> list[list[str]]:
        """Every cell as it is read."""
        return [[column.text(row) for column in self.columns] for row in self.rows]


@dataclass(frozen=True)
class Table:
    """One table of the report."""

    name: str
    """File name without ``.csv``."""
    title: str
    about: str
    """How to read it, in a sentence or two."""
    columns: Sequence[Column] = ()
    """Those of its file, which has every row."""
    rows: Sequence[Row] = ()
    parts: list[Part] = field(default_factory=list)
    """What is read of it."""
    data: pd.DataFrame | None = None
    """Its file, in place of columns and rows, where those would be too many."""
    is_data: bool = False
    """A file to compute with, no part of what is read."""
    in_numbers: bool = False
    """Its file has numbers, with intervals in columns of their own, and no text as it is read."""

    @property
    def csv(self) -> pd.DataFrame:
        """What its file holds."""
        if self.data is not None:
            return self.data
        if not self.in_numbers:
            cells = [[column.text(row) for column in self.columns] for row in self.rows]
            return pd.DataFrame(cells, columns=[column.heading for column in self.columns], dtype=str)
        columns = {name: cells for column in self.columns for name, cells in _numbers(column, self.rows)}
        return pd.DataFrame(columns, dtype=str)


def _numbers(column: Column, rows: Sequence[Row]) -> Iterable[tuple[str, list[str]]]:
    cells = [row[column.key] for row in rows]
    yield column.key, [_exact(cell.value) for cell in cells]
    if column.interval_prefix is not None:
        found = [cell.interval for cell in cells]
        yield f"{column.interval_prefix}low", [_exact(each.low) if each else "" for each in found]
        yield f"{column.interval_prefix}high", [_exact(each.high) if each else "" for each in found]
        yield f"{column.interval_prefix}interval", [each.method if each else "" for each in found]
    if column.has_counts:
        yield f"{column.key} n", [str(cell.known[0]) if cell.known else "" for cell in cells]


def _exact(value: float | int | str | None) -> str:
    """For computing: the digits behind the seventh are rounding errors of sums."""
    return f"{value:.7g}" if isinstance(value, float) else "" if value is None else str(value)


@dataclass(frozen=True)
class Measure:
    """A column of a table of arms: what each arm has in it, and what the mean of several has."""

    column: Column
    of: Callable[[Arm], Cell]
    over: Callable[[Sequence[Arm]], Cell] | None = None
    """For the row of the mean; the mean of the cells where it is not given."""


def arm_rows(arms: Sequence[Arm], measures: Sequence[Measure]) -> list[Row]:
    """The replicates of one cell as rows, followed by their mean where there are several."""
    several = len(arms) > 1
    rows = []
    for arm in arms:
        place = _place(arm) | {
            RUN: Cell(arm.run_id),
            SEED: setting(arm.seed),
            N: EMPTY if several else Cell(1),
        }
        cells = {measure.column.key: measure.of(arm) for measure in measures}
        rows.append(Row(place | cells, run_ids=(arm.run_id,), is_averaged=several))
    if several:
        place = _place(arms[0]) | {SEED: Cell(words="mean"), N: Cell(len(arms))}
        cells = {
            measure.column.key: measure.over(arms)
            if measure.over is not None
            else mean_of(
                [row[measure.column.key] for row in rows], measure.column.interval_prefix is not None
            )
            for measure in measures
        }
        rows.append(Row(place | cells, "mean", tuple(arm.run_id for arm in arms)))
    return rows


def _place(arm: Arm) -> dict[str, Cell]:
    return {SECTION: Cell(arm.section), HIDDEN: setting(arm.hidden), "wd2": setting(arm.wd2)}


KEYS = (
    *(Column(SECTION), Column(RUN), Column(HIDDEN, shown), Column("wd2", repr)),
    *(Column(SEED, shown), Column(N, "n={}".format)),
)
"""What tells the rows of a table of arms apart."""


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
    return list({(column.key, column.is_interval): column for column in columns}.values())


def readable(section: Section, rows: Sequence[Row], columns: Sequence[Column], title: str = "") -> Part:
    """What a reader needs of the rows of one section; the CSV file keeps the rest.

    Left out: section and run_id, seed and n where every row is of the same single seed, decays that are the
    same throughout, and intervals where there are none. The caption says what does not vary.
    """
    constant = [
        column for column in columns if column.key in _DECAYS and len({row[column.key] for row in rows}) == 1
    ]
    told = [title, *(f"{column.heading} = {column.text(rows[0])}" for column in constant)]
    left_out = {SECTION, RUN, *(column.key for column in constant)}
    seeds = {row[SEED] for row in rows}
    if len(seeds) == 1 and all(row.of == "run" and not row.is_averaged for row in rows):
        told.append(f"n = 1 (seed {next(c for c in KEYS if c.key == SEED).text(rows[0])})")
        left_out |= {SEED, N}
    kept = [column for column in with_intervals(columns, rows) if column.key not in left_out]
    return Part(section, ", ".join(filter(None, told)), kept, rows)


_DECAYS = ("wd2", "wd2 (old)", "wd2 (new)")


def with_intervals(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns without those for intervals that no row has."""
    return [c for c in columns if not c.is_interval or any(row[c.key].interval for row in rows)]


def shortened(table: Table) -> Table:
    """The table as a report can show it: of very many rows the means come first, then as many as fit."""
    total = sum(len(part.rows) for part in table.parts)
    if total <= MOST_ROWS:
        return table
    parts: list[Part] = []
    room = MOST_ROWS
    for part in table.parts:
        kept = [row for row in part.rows if not row.is_averaged][:room]
        room -= len(kept)
        if kept:
            parts.append(replace(part, rows=kept))
    told = f"Shown: {MOST_ROWS - room} of {total} rows, means in place of their seeds; "
    return replace(table, about=f"{table.about} {told}tables/{table.name}.csv has all.", parts=parts)


MOST_ROWS = 600
"""Of one table in the report; a page of more is slow to open and nobody reads it."""


def loss_text(value: float) -> str:
    return f"{value:.2f}"


def count_text(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def percent_text(value: float) -> str:
    return f"{value:.1f}%"


def factor_text(value: float) -> str:
    return f"{value:.1f}x"


def step_text(step: int) -> str:
    """1000 is 1k, as in the notes; 1500 is 1.5k, 750 is 750."""
    return f"{step / 1000:g}k" if step >= 1000 and step % 100 == 0 else str(step)


def counts_text(words: Sequence[str]) -> str:
    """Equal words once, different ones with their counts."""
    counts = Counter(words)
    if len(counts) == 1:
        return words[0]
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def share_text(words: Sequence[str]) -> str:
    """Each outcome's count of n, with its 95 % interval where n is more than one."""
    parts = []
    for word, count in Counter(words).most_common():
        bounds = share_interval(count, len(words))
        interval = f" [{100 * bounds.low:.0f}-{100 * bounds.high:.0f}%]" if len(words) > 1 else ""
        parts.append(f"{word} {count}/{len(words)}{interval}")
    return ", ".join(parts)
