"""``contrasts`` and ``leaderboard``: any factor compared, and the cells by where they ended.

A cell is runs equal but for the seed. Two levels of a factor are compared within each cell of the rest,
seed by seed, where the two arms are a pair (``pairs``); the statistics are those of ``stage2_contrast``.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.contrast import Contrast
from bitnet_sweep.report.evaluated import ABOUT, labels_of, scored
from bitnet_sweep.report.factors import Factor, Level, Placed, cell_text, factors_of, ordered, placed_arms
from bitnet_sweep.report.intervals import mean_interval
from bitnet_sweep.report.pairs import Pair, pair_of
from bitnet_sweep.report.sections import Section, text_of
from bitnet_sweep.report.settings import UNKNOWN
from bitnet_sweep.report.table import (
    EMPTY,
    NATS,
    Cell,
    Column,
    N,
    Part,
    Row,
    Table,
    counts_text,
    loss_text,
    with_intervals,
)
from bitnet_sweep.report.transitions import LOSS, end_value, outcomes_text

MOST_LEVELS = 32
"""Levels of a cell that are all compared with one another; of more, neighbours only."""

NO_SEED = "no seed in common"

_LEVELS = (Column("a"), Column("b"), Column("cell"))
_DIFFERENCE = Column("difference", loss_text, NATS, interval_prefix="")
_SIDES = (Column("loss a", loss_text, NATS), Column("loss b", loss_text, NATS))
_KINDS = (Column("outcome a"), Column("outcome b"), Column("pair"))
_CONTRASTS = (
    *(Column("factor"), *_LEVELS, Column(N), Column("pairs"), _DIFFERENCE),
    *(*_SIDES, *_KINDS, Column("runs a"), Column("runs b")),
)
_MEAN = Column("mean", loss_text, NATS, name="loss", interval_prefix="")
_CELLS = (Column("rank"), Column("cell"), Column(N))


def contrasts(sections: Sequence[Section]) -> Table:
    """Every two levels of every factor, within each cell of the rest."""
    placed = placed_arms(sections)
    factors = factors_of(placed)
    partial = [each for each in factors if not all(each.has(each.level(arm.values)) for arm in placed)]
    rows: list[Row] = []
    parts: list[Part] = []
    for factor in factors:
        rest = [other for other in factors if other != factor]
        found = list(_compared(factor, rest, partial, placed))
        rows += [row for row, _ in found]
        if found:
            parts.append(_contrast_part(factor, found))
    about = (
        "Held-out loss at the end, b minus a: mean over seeds of the differences of pairs, with its 95 % "
        "interval. A row is two levels of a factor in one cell of all other settings. Settings that one "
        "choice sets together are one factor. What is no pair is not compared; tables/contrasts.csv says why."
    )
    return Table("contrasts", "Contrasts of every factor", about, _CONTRASTS, rows, parts)


def leaderboard(sections: Sequence[Section]) -> Table:
    """The cells by their mean held-out loss at the end; on different texts losses are not compared."""
    placed = placed_arms(sections)
    factors = factors_of(placed)
    values = {each.arm.run_id: each.values for each in placed}
    labels = labels_of(section.arms for section in sections)
    boards: dict[str, list[Row]] = {}
    told = {text for each in placed if (text := text_of(each.arm)) != UNKNOWN}
    for section in sections:
        for cell in section.cells():
            texts = {text_of(arm) for arm in cell} - {UNKNOWN} or told
            text = texts.pop() if len(texts) == 1 else UNKNOWN
            name = cell_text(factors, values[cell[0].run_id])
            cells = {"cell": Cell(name, words=name or "all runs"), "text": Cell(text)} | _ended(cell)
            for column, scores in scored(cell, labels).items():
                mean = statistics.fmean(scores) if scores else None
                cells[column] = Cell(mean, known=(len(scores), len(cell)))
            run_ids = tuple(arm.run_id for arm in cell)
            boards.setdefault(text, []).append(Row(cells, "mean", run_ids))
    evaluated = [Column(name, "{:.4g}".format) for name in labels.values()]
    shown = [*_CELLS, _MEAN, replace(_MEAN.bounds, name="95%"), Column("outcome"), *evaluated]
    parts, rows = [], []
    for text, board in boards.items():
        ranked = _ranked(board)
        rows += ranked
        caption = f"Held-out text with a unigram loss of {text}" if len(boards) > 1 else ""
        parts.append(Part(None, caption, shown, ranked))
    about = "Cells (runs equal but for the seed) by their mean held-out loss at the end, nats per token."
    about += f" {ABOUT}" if labels else ""
    in_file = [
        *_CELLS,
        Column("runs"),
        _MEAN,
        Column("outcome"),
        Column("text"),
        Column("run_ids"),
        *evaluated,
    ]
    return Table("leaderboard", "Leaderboard", about, in_file, rows, parts)


def _ranked(board: Sequence[Row]) -> list[Row]:
    """The best first; a cell without a loss has no rank."""

    def loss(row: Row) -> float:
        mean = row["mean"].value
        return mean if isinstance(mean, float) else math.inf

    ordered_rows = sorted(board, key=loss)
    return [
        replace(row, cells={**row.cells, "rank": EMPTY if loss(row) == math.inf else Cell(place)})
        for place, row in enumerate(ordered_rows, start=1)
    ]


def _compared(
    factor: Factor, rest: Sequence[Factor], partial: Sequence[Factor], placed: Sequence[Placed]
) -> Iterator[tuple[Row, str | None]]:
    """A row for each two levels of a factor in each cell of the rest, and why they are not compared.

    What only some levels have (``partial``), as the options of one quantiser of several, is no part of the
    cell: a level is told with it.
    """
    own = [other for other in rest if other in partial and _belongs(other, factor, placed)]
    rest = [other for other in rest if other not in own]
    whole = Factor(factor.name, (*factor.keys, *(key for other in own for key in other.keys)))
    told: dict[Level, str] = {}
    cells: dict[tuple[Level, ...], dict[Level, list[Placed]]] = {}
    for each in placed:
        cell = cells.setdefault(tuple(other.level(each.values) for other in rest), {})
        level = whole.level(each.values)
        of_own = cell_text(own, each.values)
        told[level] = ", ".join(filter(None, (factor.text(factor.level(each.values)), of_own)))
        cell.setdefault(level, []).append(each)
    for cell in cells.values():
        levels = ordered(cell)
        for a, b in combinations(levels, 2) if len(levels) <= MOST_LEVELS else pairwise(levels):
            if a[: len(factor.keys)] == b[: len(factor.keys)]:  # another factor's own comparison
                continue
            left, right = ({each.arm.seed: each.arm for each in cell[level]} for level in (a, b))
            found = [
                Contrast(left[seed], right[seed], pair_of(left[seed], right[seed], whole.keys))
                for seed in left
                if seed in right
            ]
            where = {"factor": Cell(factor.name), "a": Cell(told[a]), "b": Cell(told[b])}
            where["cell"] = Cell(cell_text(rest, cell[a][0].values))
            run_ids = (*(c.old.run_id for c in found), *(c.new.run_id for c in found))
            refusals = {contrast.refusal for contrast in found} if found else {NO_SEED}
            refusal = refusals.pop() if len(refusals) == 1 else None
            yield Row(where | _statistics(found), "mean", run_ids), refusal


def _belongs(other: Factor, factor: Factor, placed: Sequence[Placed]) -> bool:
    """Whether some levels of ``factor`` have ``other`` and some have no such setting."""
    levels = ((factor.level(each.values), other.has(other.level(each.values))) for each in placed)
    has = {(level, is_there) for level, is_there in levels if factor.has(level)}
    return len({level for level, _ in has}) == len(has) and len({is_there for _, is_there in has}) == 2


def _statistics(found: Sequence[Contrast]) -> dict[str, Cell]:
    """What the pairs of two levels in one cell say."""
    compared = [contrast for contrast in found if contrast.difference is not None]
    pairs = [contrast for contrast in found if isinstance(contrast.verdict, Pair)]
    kinds = [contrast.kind.why or str(contrast.kind.value) for contrast in found]
    differences = [difference for contrast in compared if (difference := contrast.difference) is not None]
    return {
        N: Cell(len(compared), words=f"{len(compared)}/{len(found)}"),
        "pairs": Cell(len(found)),
        "difference": _mean(differences) if differences else Cell(why=UNKNOWN),
        "loss a": _mean(_ends([c.old for c in compared])),
        "loss b": _mean(_ends([c.new for c in compared])),
        "outcome a": Cell(outcomes_text([contrast.old for contrast in pairs])),
        "outcome b": Cell(outcomes_text([contrast.new for contrast in pairs])),
        "pair": Cell(counts_text(kinds) if kinds else f"refused: {NO_SEED}"),
        "runs a": Cell(" ".join(contrast.old.run_id for contrast in found)),
        "runs b": Cell(" ".join(contrast.new.run_id for contrast in found)),
    }


def _contrast_part(factor: Factor, found: Sequence[tuple[Row, str | None]]) -> Part:
    """What can be read of a factor: the compared levels, and why others are not compared."""
    rows = [row for row, refusal in found if refusal is None]
    refused = Counter(refusal for _, refusal in found if refusal is not None)
    why = "; ".join(f"{reason} ({count})" for reason, count in refused.most_common())
    caption = ". ".join(filter(None, [factor.name, f"Not compared: {why}" if why else ""]))
    bounds = replace(_DIFFERENCE.bounds, name="95%")
    shown = with_intervals([*_LEVELS, Column(N), *_SIDES, _DIFFERENCE, bounds, *_KINDS], rows)
    has_cells = any(row["cell"].value for row in rows)
    return Part(None, caption, [column for column in shown if has_cells or column.key != "cell"], rows)


def _ended(cell: Sequence[Arm]) -> dict[str, Cell]:
    losses = _ends(cell)
    return {
        N: Cell(len(losses)),
        "runs": Cell(len(cell)),
        "mean": _mean(losses),
        "outcome": Cell(outcomes_text(cell)),
        "run_ids": Cell(" ".join(arm.run_id for arm in cell)),
    }


def _ends(arms: Sequence[Arm]) -> list[float]:
    return [loss for arm in arms if not isinstance(loss := end_value(arm, LOSS), str)]


def _mean(values: Sequence[float]) -> Cell:
    return Cell(statistics.fmean(values), interval=mean_interval(values)) if values else EMPTY
