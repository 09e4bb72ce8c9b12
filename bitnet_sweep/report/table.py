"""What a table is, and the one way replicates become rows: each by itself, then their mean.

A row of one seed shows that run and nothing more. Several seeds give a row each and one row *mean*
with n beside it, so no value is ever hidden behind an average.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from bitnet_sweep.report.arms import Arm, Section
from bitnet_sweep.report.intervals import mean_interval, share_interval
from bitnet_sweep.report.settings import shown

Cell = float | str
"""A number, or the word that stands where there is none."""
Row = dict[str, str]

HIDDEN, SEED, N, RUN, SECTION = "Hidden Size", "seed", "n", "run_id", "section"
KEYS = [SECTION, RUN, HIDDEN, "wd2", SEED, N]
"""What tells the rows of a table apart."""


@dataclass(frozen=True)
class Part:
    """The rows of one section, as they are read in the report."""

    section: Section | None
    caption: str
    frame: pd.DataFrame
    runs: Sequence[str] = ()
    """The run_ids behind each row, apart by spaces; empty where the rows are of no run."""


@dataclass(frozen=True)
class Table:
    """One table of the report; every cell is text as shown, but for ``records``."""

    name: str
    """File name without ``.csv``."""
    title: str
    about: str
    """How to read it, in a sentence or two."""
    csv: pd.DataFrame
    parts: list[Part] = field(default_factory=list)
    is_data: bool = False
    """A file to compute with, no part of what is read."""


@dataclass(frozen=True)
class Column:
    """A column whose cells are numbers where there are any."""

    name: str
    of: Callable[[Arm], Cell]
    show: Callable[[float], str]


def frame_of(rows: Sequence[Mapping[str, str]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of text as a frame; a cell that a row does not have is empty.

    Args:
        columns: those that are there in any case and come first.
    """
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    return pd.DataFrame([[row.get(name, "") for name in names] for row in rows], columns=names, dtype=str)


def runs_of(frame: pd.DataFrame) -> list[str]:
    """The run_ids behind each row: its own, and of a mean those of the rows above that it sums up."""
    own = [name for name in (RUN, "old run", "new run") if name in frame]
    told: list[str] = []
    cell: list[str] = []
    pairs: list[str] = []
    group: list[str] = []
    if not own:
        return []
    needed = [name for name in (SEED, N, *_DECAYS, *own) if name in frame]
    for row in frame[needed].to_dict("records"):
        decays = [row[name] for name in _DECAYS if name in row]
        if decays != group:
            pairs, group = [], decays
        ids = [row[name] for name in own if row[name]]
        if ids:
            cell = [] if row[N] == "n=1" else [*cell, *ids]
            pairs += ids
            told.append(" ".join(ids))
        else:
            told.append(" ".join(pairs if row[SEED] == "all" else cell))
            cell = []
    return told


def shortened(table: Table) -> Table:
    """The table as a report can show it: of very many rows the means come first, then as many as fit."""
    total = sum(len(part.frame) for part in table.parts)
    if total <= MOST_ROWS:
        return table
    parts: list[Part] = []
    room = MOST_ROWS
    for part in table.parts:
        if room == 0:
            break
        counts = part.frame[N] if N in part.frame else ["n"] * len(part.frame)
        kept = [place for place, n in enumerate(counts) if n != ""][:room]
        room -= len(kept)
        if kept:
            runs = [part.runs[i] for i in kept] if part.runs else []
            parts.append(replace(part, frame=part.frame.iloc[kept], runs=runs))
    told = f"Shown: {MOST_ROWS - room} of {total} rows, means in place of their seeds; "
    return replace(table, about=f"{table.about} {told}tables/{table.name}.csv has all.", parts=parts)


MOST_ROWS = 600
"""Of one table in the report; a page of more is slow to open and nobody reads it."""


def together(frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """The frames of all sections under one another; a column that a section does not have is empty."""
    rows = [
        {str(name): str(cell) for name, cell in zip(frame.columns, row, strict=True)}
        for frame in frames
        for row in frame.itertuples(index=False, name=None)
    ]
    return frame_of(rows, columns)


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


def cell_rows(arms: Sequence[Arm], columns: Sequence[Column]) -> list[Row]:
    """The replicates of one cell as rows, followed by their mean where there are several."""
    rows = []
    for arm in arms:
        n = "n=1" if len(arms) == 1 else ""
        row = {SECTION: arm.section, RUN: arm.run_id, HIDDEN: shown(arm.hidden), "wd2": _wd2(arm)}
        row |= {SEED: shown(arm.seed), N: n}
        rows.append(row | {c.name: _text(c.of(arm), c.show) for c in columns})
    if len(arms) > 1:
        first = arms[0]
        row = {SECTION: first.section, RUN: "", HIDDEN: shown(first.hidden), "wd2": _wd2(first)}
        row |= {SEED: "mean", N: f"n={len(arms)}"}
        rows.append(row | {c.name: mean_text([c.of(arm) for arm in arms], c.show) for c in columns})
    return rows


def mean_text(cells: Sequence[Cell], show: Callable[[float], str]) -> str:
    """The mean of the numbers, with how many there are of how many where some are not; else the words."""
    numbers = [cell for cell in cells if not isinstance(cell, str)]
    if numbers:
        short = f" ({len(numbers)}/{len(cells)})" if len(numbers) < len(cells) else ""
        return f"{show(statistics.fmean(numbers))}{short}"
    return counts_text([str(cell) for cell in cells])


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


def interval_text(values: Sequence[float], show: Callable[[float], str]) -> str:
    """The 95 % interval of a mean and its method; empty for one value."""
    interval = mean_interval(values)
    return "" if interval is None else f"[{show(interval.low)}, {show(interval.high)}] ({interval.method})"


def readable(frame: pd.DataFrame, *, without: Sequence[str] = ()) -> pd.DataFrame:
    """What a reader needs of the rows of one section; the CSV file keeps the rest.

    Left out: ``without``, section and run_id, seed and n where every cell is the same single seed, and
    decays that are the same throughout. A caption says what those were (``constants``).
    """
    dropped = {SECTION, RUN, *without, *_constant(frame)}
    return frame.drop(columns=[name for name in frame if name in dropped])


def constants(frame: pd.DataFrame) -> str:
    """What ``readable`` leaves out because it does not vary."""
    constant = _constant(frame)
    told = [f"{name} = {frame[name].iloc[0]}" for name in _DECAYS if name in constant]
    if SEED in constant:
        told.append(f"n = 1 (seed {frame[SEED].iloc[0]})")
    return ", ".join(told)


_DECAYS = ("wd2", "wd2 (old)", "wd2 (new)")


def _constant(frame: pd.DataFrame) -> set[str]:
    if frame.empty:
        return set()
    constant = {name for name in _DECAYS if name in frame and frame[name].nunique() == 1}
    if SEED in frame and frame[SEED].nunique() == 1 and (frame[N] == "n=1").all():
        constant |= {SEED, N}
    return constant


def _text(cell: Cell, show: Callable[[float], str]) -> str:
    return cell if isinstance(cell, str) else show(cell)


def _wd2(arm: Arm) -> str:
    return "unknown" if arm.wd2 is None else repr(arm.wd2)
