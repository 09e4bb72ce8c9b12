"""Paired differences: end loss under the smaller second-stage decay minus that under the larger one."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitnet_sweep.report.contrast import Contrast, contrasts_of
from bitnet_sweep.report.figures.drawing import INK, Figure, drawing, figure_of
from bitnet_sweep.report.intervals import mean_interval
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.table import loss_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ROWS = 32
_LABEL_CHARACTERS = 48
_LINE_INCHES = 0.16
MOST_DOTS = 60
"""Pairs of one row that have a dot; mean and interval are of all."""

Row = tuple[str, list[float]]
"""What the pairs have in common, and their differences by seed."""


def differences_of(sections: Sequence[Section]) -> Figure | None:
    """A dot for each pair, their mean and its 95 % interval; None where no two arms are a pair."""
    rows = _rows(sections)
    if not rows:
        return None
    drawn = rows[:_MOST_ROWS]
    with drawing() as Canvas:
        lines = max(name.count("\n") for name, _ in drawn) + 1
        row_inches = max(0.42, _LINE_INCHES * lines + 0.1)
        canvas = Canvas(figsize=(8.2, row_inches * len(drawn) + 1.0), layout="constrained")
        axes = canvas.subplots()
        for height, row in enumerate(drawn):
            _draw_row(axes, height, row)
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_yticks(range(len(drawn)), [name for name, _ in drawn])
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("difference of the end loss, smaller minus larger decay (nats per token)")
        title = "Paired differences: dots are seeds, bars means with their 95 % interval"
        return figure_of(canvas, "paired_differences", title, _note(rows))


def _note(rows: Sequence[Row]) -> str:
    """What the figure leaves out."""
    limits = [f"{_MOST_ROWS} of {len(rows)} rows"] if len(rows) > _MOST_ROWS else []
    if any(len(differences) > MOST_DOTS for _, differences in rows[:_MOST_ROWS]):
        limits.append(f"at most {MOST_DOTS} dots of a row, whose mean and interval are of all its pairs")
    return f"Shown: {', '.join(limits)}; tables/stage2_contrast.csv has all." if limits else ""


def _rows(sections: Sequence[Section]) -> list[Row]:
    rows: list[Row] = []
    for section in sections:
        places: dict[tuple[object, ...], list[Contrast]] = {}
        for contrast in contrasts_of(section):
            place = (contrast.old.size, contrast.old.wd2, contrast.new.wd2)
            places.setdefault(place, []).append(contrast)
        for (size, old, new), contrasts in places.items():
            differences = [d for contrast in contrasts if (d := contrast.difference) is not None]
            if differences:
                name = f"{size}, wd2 {old!r}→{new!r}"
                where = textwrap.wrap(section.label, _LABEL_CHARACTERS)
                rows.append(("\n".join([*where, name]), differences))
    return rows


def _draw_row(axes: Axes, height: int, row: Row) -> None:
    _, differences = row
    dots = differences[:MOST_DOTS]
    axes.plot(dots, [height] * len(dots), "o", color="#2b86cc", markersize=5, fillstyle="none")
    mean = statistics.fmean(differences)
    bounds = ""
    interval = mean_interval(differences)
    if interval is not None:
        axes.plot([interval.low, interval.high], [height, height], "-", color=INK, linewidth=1.6)
        axes.plot([mean], [height], "|", color=INK, markersize=13, markeredgewidth=2)
        bounds = f" [{loss_text(interval.low)}, {loss_text(interval.high)}]"
    told = f"{loss_text(mean)}{bounds}, n = {len(differences)}"
    axes.text(1.01, height, told, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
