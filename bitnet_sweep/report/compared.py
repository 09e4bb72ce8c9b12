"""``contrasts`` and ``leaderboard``: any factor compared, and the cells by where they ended.

A cell is runs equal but for the seed. Two levels of a factor are compared within each cell of the rest,
seed by seed, where the two arms are a pair (``pairs``); the statistics are those of ``stage2_contrast``.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise

from bitnet_sweep.report.arms import Arm, Section, text_of
from bitnet_sweep.report.contrast import Contrast
from bitnet_sweep.report.evaluated import ABOUT, labels_of, scored, shown_scores
from bitnet_sweep.report.factors import Factor, Level, Placed, factors_of, ordered, placed_arms
from bitnet_sweep.report.intervals import mean_interval
from bitnet_sweep.report.pairs import Pair, pair_of
from bitnet_sweep.report.settings import UNKNOWN
from bitnet_sweep.report.table import N, Part, Row, Table, counts_text, frame_of, loss_text
from bitnet_sweep.report.transitions import LOSS, end_value, outcomes_text

MOST_LEVELS = 32
"""Levels of a cell that are all compared with one another; of more, neighbours only."""

_CONTRASTS = (
    *("factor", "a", "b", "cell", N, "pairs", "difference", "low", "high", "interval", "loss a", "loss b"),
    *("outcome a", "outcome b", "pair", "runs a", "runs b"),
)
_LEADERBOARD = ("rank", "cell", N, "runs", "mean", "low", "high", "interval", "outcome", "text", "run_ids")

NO_SEED = "no seed in common"


def contrasts(sections: Sequence[Section]) -> Table:
    """Every two levels of every factor, within each cell of the rest."""
    placed = placed_arms(sections)
    factors = factors_of(placed)
    rows: list[Row] = []
    parts: list[Part] = []
    for factor in factors:
        own = list(_contrast_rows(factor, [other for other in factors if other != factor], placed))
        rows += own
        parts += _contrast_part(factor, own)
    about = (
        "Held-out loss at the end, b minus a: mean over seeds of the differences of pairs, with its 95 % "
        "interval. A row is two levels of a factor in one cell of all other settings. Settings that one "
        "choice sets together are one factor. What is no pair is not compared; tables/contrasts.csv says why."
    )
    return Table("contrasts", "Contrasts of every factor", about, frame_of(rows, _CONTRASTS), parts)


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
            row = {"cell": cell_text(factors, values[cell[0].run_id]), "text": text} | _ended(cell)
            row |= scored(cell, labels)
            boards.setdefault(text, []).append(row)
    parts, rows = [], []
    for text, board in boards.items():
        board.sort(key=lambda row: float(row["mean"] or "inf"))
        for place, row in enumerate(board, start=1):
            row["rank"] = str(place) if row["mean"] else ""
        rows += board
        shown = [
            {"rank": row["rank"], "cell": row["cell"] or "all runs", N: row[N], "loss": _short(row["mean"])}
            | {"95%": _bounds(row), "outcome": row["outcome"]}
            | shown_scores(row, labels)
            for row in board
        ]
        caption = f"Held-out text with a unigram loss of {text}" if len(boards) > 1 else ""
        parts.append(Part(None, caption, frame_of(shown), [row["run_ids"] for row in board]))
    about = "Cells (runs equal but for the seed) by their mean held-out loss at the end, nats per token."
    about += f" {ABOUT}" if labels else ""
    return Table("leaderboard", "Leaderboard", about, frame_of(rows, _LEADERBOARD), parts)


def cell_text(factors: Sequence[Factor], values: dict[str, str]) -> str:
    """A cell by its level of each factor."""
    return ", ".join(f"{factor.name}={factor.text(factor.level(values))}" for factor in factors)


def _contrast_rows(factor: Factor, rest: Sequence[Factor], placed: Sequence[Placed]) -> Iterator[Row]:
    cells: dict[tuple[Level, ...], dict[Level, list[Placed]]] = {}
    for each in placed:
        cell = cells.setdefault(tuple(other.level(each.values) for other in rest), {})
        cell.setdefault(factor.level(each.values), []).append(each)
    for cell in cells.values():
        levels = ordered(cell)
        for a, b in combinations(levels, 2) if len(levels) <= MOST_LEVELS else pairwise(levels):
            left, right = ({each.arm.seed: each.arm for each in cell[level]} for level in (a, b))
            found = [
                Contrast(left[seed], right[seed], pair_of(left[seed], right[seed], factor.keys))
                for seed in left
                if seed in right
            ]
            where = {"factor": factor.name, "a": factor.text(a), "b": factor.text(b)}
            yield where | {"cell": cell_text(rest, cell[a][0].values)} | _compared(found)


def _compared(found: Sequence[Contrast]) -> Row:
    """The pairs of two levels in one cell."""
    compared = [contrast for contrast in found if contrast.difference is not None]
    pairs = [contrast for contrast in found if isinstance(contrast.verdict, Pair)]
    row = {
        N: str(len(compared)),
        "pairs": str(len(found)),
        "outcome a": outcomes_text([contrast.old for contrast in pairs]),
        "outcome b": outcomes_text([contrast.new for contrast in pairs]),
        "pair": counts_text([contrast.kind for contrast in found]) if found else f"refused: {NO_SEED}",
        "runs a": " ".join(contrast.old.run_id for contrast in found),
        "runs b": " ".join(contrast.new.run_id for contrast in found),
    }
    if not compared:
        return row
    differences = [difference for contrast in compared if (difference := contrast.difference) is not None]
    return row | {
        "difference": _exact(statistics.fmean(differences)),
        "loss a": _exact(statistics.fmean(_numbers(end_value(c.old, LOSS) for c in compared))),
        "loss b": _exact(statistics.fmean(_numbers(end_value(c.new, LOSS) for c in compared))),
        **_interval(differences),
    }


def _contrast_part(factor: Factor, rows: Sequence[Row]) -> list[Part]:
    """What can be read of a factor: the compared levels, and why others are not compared."""
    told = [row for row in rows if not row["pair"].startswith("refused")]
    refused = Counter(row["pair"].partition(": ")[2] for row in rows if row["pair"].startswith("refused"))
    why = "; ".join(f"{reason} ({count})" for reason, count in refused.most_common())
    caption = ". ".join(filter(None, [factor.name, f"Not compared: {why}" if why else ""]))
    shown = [
        {"a": row["a"], "b": row["b"], "cell": row["cell"], N: f"{row[N]}/{row['pairs']}"}
        | {"loss a": _short(row.get("loss a")), "loss b": _short(row.get("loss b"))}
        | {"difference": _short(row.get("difference")) or UNKNOWN, "95%": _bounds(row)}
        | {"outcome a": row["outcome a"], "outcome b": row["outcome b"], "pair": row["pair"]}
        for row in told
    ]
    frame = frame_of(shown)
    frame = frame.drop(columns=[name for name in ("cell", "95%") if shown and not frame[name].any()])
    return [Part(None, caption, frame, [f"{row['runs a']} {row['runs b']}" for row in told])] if rows else []


def _ended(cell: Sequence[Arm]) -> Row:
    losses = _numbers(end_value(arm, LOSS) for arm in cell)
    row = {N: str(len(losses)), "runs": str(len(cell)), "mean": "", "outcome": outcomes_text(cell)}
    row["run_ids"] = " ".join(arm.run_id for arm in cell)
    return row | ({"mean": _exact(statistics.fmean(losses)), **_interval(losses)} if losses else {})


def _interval(values: Sequence[float]) -> Row:
    found = mean_interval(values)
    if found is None:
        return {}
    return {"low": _exact(found.low), "high": _exact(found.high), "interval": found.method}


def _numbers(cells: Iterable[float | str]) -> list[float]:
    return [cell for cell in cells if not isinstance(cell, str)]


def _exact(value: float) -> str:
    """For computing: the digits behind the seventh are rounding errors of sums."""
    return f"{value:.7g}"


def _short(cell: str | None) -> str:
    return loss_text(float(cell)) if cell else ""


def _bounds(row: Row) -> str:
    return f"[{_short(row['low'])}, {_short(row['high'])}]" if row.get("low") else ""
