"""Figures: a metric against step, a panel for each hidden size, arms of a trunk forking where they do.

Grey is enough to read them: arms differ in line style and marker, and each line is named at its end.
The same records give the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any

from bitnet_sweep.report.arms import Arm, Section
from bitnet_sweep.report.settings import shown
from bitnet_sweep.report.table import step_text
from bitnet_sweep.report.transitions import LOSS, TOKENS
from bitnet_sweep.store.outcome import finite, unigram_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

INK = "#1c2430"
"""Text, axes and trunks. The page replaces it by the colour of its own text."""

Style = tuple[str, Any, str]
_STYLES: tuple[Style, ...] = (
    ("#2b86cc", "-", "o"),
    ("#d1603d", "--", "s"),
    ("#2a9d6f", "-.", "^"),
    ("#9a5fb4", ":", "D"),
    ("#b8860b", (0, (5, 1, 1, 1, 1, 1)), "v"),
)
"""Colour, line and marker of the decays of a section, the smallest one first."""

_PANEL_INCHES = (3.1, 2.9)
_PANELS_A_ROW = 4
_SETTINGS: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bitnet_sweep",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure."""

    name: str
    """File name without ``.svg``."""
    title: str
    svg: str


@dataclass(frozen=True)
class Line:
    """A stretch of one metric; a gap in the records is a gap in the line."""

    steps: list[int]
    values: list[float]
    """NaN where the record has none."""
    wd2: float | None
    """None: a trunk, which belongs to several."""


def figures_of(sections: Sequence[Section]) -> list[Figure]:
    """Loss and token trajectories of each section that has any records."""
    drawn = []
    for number, section in enumerate(sections, start=1):
        suffix = f"_{number}" if len(sections) > 1 else ""
        where = f": {section.label}" if section.label else ""
        for name, field, title, axis in (
            ("loss", LOSS, "Held-out loss against step", "held-out loss (nats per token)"),
            ("tokens", TOKENS, "Unique tokens against step", "unique tokens (of 20)"),
        ):
            svg = _draw(section, field, axis)
            if svg is not None:
                drawn.append(Figure(f"{name}{suffix}", f"{title}{where}", svg))
    return drawn


def lines_of(arms: Sequence[Arm], field: str) -> list[Line]:
    """The lines of one panel: each trunk once, up to where its arms part, and each arm from there on."""
    trunks: dict[object, list[Arm]] = {}
    for arm in arms:
        trunks.setdefault(_trunk_of(arm) or arm.run_id, []).append(arm)
    lines: list[Line] = []
    for forked in trunks.values():
        fork = forked[0].boundary_step if len(forked) > 1 else None
        if fork is not None:
            longest = max(forked, key=lambda arm: len(arm.records))
            lines.append(_line(longest, field, None, 0, fork))
        lines += [_line(arm, field, arm.wd2, fork or 0) for arm in forked]
    return [line for line in lines if any(value == value for value in line.values)]


def _trunk_of(arm: Arm) -> tuple[object, ...] | None:
    """What arms of one section share until decay changes; None where no stage id tells."""
    parent = arm.stage_ids[0] if len(arm.stage_ids) > 1 else arm.run.status.get("parent_stage_id")
    return None if parent is None else (arm.seed, arm.boundary_step, parent)


def _line(arm: Arm, field: str, wd2: float | None, first: int, last: float = math.inf) -> Line:
    points = [(step, finite(row, field)) for step, row in arm.by_step.items() if first <= step <= last]
    return Line([step for step, _ in points], [math.nan if v is None else v for _, v in points], wd2)


def _draw(section: Section, field: str, axis: str) -> str | None:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    sizes = list(dict.fromkeys(arm.hidden for arm in section.arms))
    panels = [(size, lines_of([arm for arm in section.arms if arm.hidden == size], field)) for size in sizes]
    panels = [(size, lines) for size, lines in panels if lines]
    if not panels:
        return None
    decays = sorted({arm.wd2 for arm in section.arms if arm.wd2 is not None})
    styles = dict(zip(decays, cycle(_STYLES), strict=False))

    columns = min(len(panels), _PANELS_A_ROW)
    rows = -(-len(panels) // columns)
    with mpl.rc_context(_SETTINGS):
        width, height = _PANEL_INCHES
        canvas = Canvas(figsize=(width * columns + 1.0, height * rows), layout="constrained")
        grid = canvas.subplots(rows, columns, sharey=True, squeeze=False)
        for place, (size, lines) in zip(grid.flat, panels, strict=False):
            _panel(place, lines, styles, section, field)
            place.set_title(f"hidden {shown(size)}", fontsize=10, loc="left", weight="bold")
        for place in list(grid.flat)[len(panels) :]:
            place.set_visible(False)
        for row in grid:
            row[0].set_ylabel(axis)
        canvas.supxlabel("step (completed updates)", fontsize=9)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue().decode()


def _panel(
    axes: Axes,
    lines: Sequence[Line],
    styles: dict[float, Style],
    section: Section,
    field: str,
) -> None:
    last = section.steps or max(line.steps[-1] for line in lines)
    ends: dict[float, list[float]] = {}
    for line in lines:
        colour, dash, marker = (INK, "-", ".") if line.wd2 is None else styles.get(line.wd2, (INK, ":", "x"))
        axes.plot(
            line.steps, line.values, color=colour, linestyle=dash, marker=marker, markersize=3, linewidth=1.4
        )
        numbers = [value for value in line.values if value == value]
        if line.wd2 is not None and numbers:
            ends.setdefault(line.wd2, []).append(numbers[-1])
    for change in section.arms[0].changes:
        axes.axvline(change.step, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    if field == LOSS:
        _reference(axes, section, last)
    else:
        axes.set_ylim(0, 21)
        axes.set_yticks([0, 5, 10, 15, 20])
    axes.set_xlim(0, last * 1.26)
    ticks = sorted({0, *(change.step for change in section.arms[0].changes), last})
    axes.set_xticks(ticks, [step_text(tick) for tick in ticks])
    _name_ends(axes, {wd2: sum(v) / len(v) for wd2, v in ends.items()}, styles, last)


def _reference(axes: Axes, section: Section, last: int) -> None:
    """The loss that separates the outcomes, named on its line."""
    unigram = next((u for arm in section.arms if (u := unigram_loss(arm.records)) is not None), None)
    if unigram is not None:
        axes.axhline(unigram, color=INK, linewidth=0.7, alpha=0.6)
        axes.text(last * 0.02, unigram, "unigram", fontsize=7, va="bottom", alpha=0.8)


def _name_ends(axes: Axes, ends: dict[float, float], styles: dict[float, Style], last: int) -> None:
    """Name each line at its end, moved apart where names would cover one another."""
    low, high = axes.get_ylim()
    gap = 0.07 * (high - low)
    heights: list[float] = []
    ordered = sorted(ends.items(), key=lambda item: item[1])
    for _, value in ordered:
        heights.append(max(value, heights[-1] + gap) if heights else value)
    assert all(b - a >= gap * 0.999 for a, b in pairwise(heights)), "names cover one another"
    for (wd2, _), height in zip(ordered, heights, strict=True):
        colour = styles.get(wd2, (INK, "", ""))[0]
        axes.text(last * 1.02, height, f"wd2={wd2!r}", color=colour, fontsize=8, va="center")
