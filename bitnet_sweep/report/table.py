"""What a table is: rows of cells that hold values. How they look is left to those who render them.

A row is of one run, a mean over runs, or sums up all of a kind, and holds the run_ids behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from bitnet_sweep.report.intervals import Interval, share_interval
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.settings import UNKNOWN

HIDDEN, SEED, N, RUN, SECTION = "Hidden Size", "seed", "n", "run_id", "section"
ROW = "row"
"""What a row is of: a run, the mean of several, all."""
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

    @property
    def is_short(self) -> bool:
        """Whether it leaves runs out, which have no value."""
        return self.known is not None and self.known[0] < self.known[1]


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
    """What the columns for its interval are called in a file, before *low*, *high*, *interval*."""
    is_exact: bool = False
    """Its file has every digit; behind the seventh those of a measurement are rounding errors of sums."""

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
        return self.show(cell.value) + (
            " ({}/{})".format(*cell.known) if cell.known and cell.is_short else ""
        )

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

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every row, to compute with, as its file has them.

        A value that is not there is null; ``x_why`` says why where more is known than that. The interval of
        ``x`` is in ``x_low`` and ``x_high``, the way it was made in ``x_interval``; ``x_n`` says of how many
        runs ``x`` is the mean, where some have no value.
        """
        if self.data is not None:
            return self.data
        columns = {name: cells for column in self.columns for name, cells in _in_file(column, self.rows)}
        return pd.DataFrame({name: typed(cells) for name, cells in columns.items()})


def _in_file(column: Column, rows: Sequence[Row]) -> Iterator[tuple[str, list[float | int | str | None]]]:
    key, cells = column.key, [row[column.key] for row in rows]
    yield key, [cell.value for cell in cells]
    if column.interval_prefix is not None:
        intervals = [cell.interval for cell in cells]
        yield f"{column.interval_prefix}low", [each.low if each else None for each in intervals]
        yield f"{column.interval_prefix}high", [each.high if each else None for each in intervals]
        yield f"{column.interval_prefix}interval", [each.method if each else None for each in intervals]
    if any(cell.is_short for cell in cells):
        yield f"{key}_n", [cell.known and cell.known[0] for cell in cells]
    if any(cell.why not in ("", UNKNOWN) for cell in cells):
        yield f"{key}_why", [cell.why if cell.why != UNKNOWN else "" for cell in cells]


def typed(cells: Sequence[float | int | str | None]) -> pd.Series[Any]:
    """A column of one type; mixed ones are text, as are whole numbers past 64 bits, to keep every digit."""
    kinds = {type(cell) for cell in cells if cell is not None}
    is_large = any(isinstance(cell, int) and abs(cell) >= 2**63 for cell in cells)
    is_mixed = bool in kinds and len(kinds) > 1
    if str in kinds or is_large or is_mixed or not kinds:
        return pd.Series([None if cell is None else str(cell) for cell in cells], dtype="string")
    dtype = "Int64" if kinds == {int} else "boolean" if kinds == {bool} else "Float64"
    return pd.Series(list(cells), dtype=dtype)


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
"""Rows of one table in the report; a page of more is slow to open and nobody reads it."""


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
