"""The phase map: hidden size by peak learning rate, coloured by outcome, a panel for all else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.figures.drawing import INK, Figure, drawing, figure_of
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.settings import NO_SUCH, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FOLLOWS_LR = ("lr", "stages")
"""What differs between sections of two learning rates; the stages hold the path of the learning rate."""

_AREAS = {
    "healthy": ("#8fd0ac", ""),
    "recovered": ("#a9cdf0", "//"),
    "stuck": ("#d98b74", "xx"),
    "late collapse": ("#ecc777", "\\\\"),
    "diverged": ("#b58bc4", ".."),
}
"""Fill and hatch of an outcome; any other state is left white."""

NO_RUN = "no run"
"""A cell that no run is known to be for. One that a sweep asked for says *missing*, if it can be placed."""

_MOST_LINES = 4

_MOST_RATES, _MOST_SIZES, _MOST_PANELS = 12, 12, 12
_PANELS_A_ROW = 4
_CELL_INCHES = (1.0, 0.62)
_TITLE_INCHES = 0.17

Size = int | str | None
"""A hidden size, or the name of a task or model of a user's own."""

Panel = dict[tuple[Size, str], list[Arm]]
"""The replicates of each size and learning rate."""


def phase_map_of(sections: Sequence[Section]) -> Figure | None:
    """None where neither hidden size nor learning rate varies: one cell is no map."""
    panels = _panels(sections)
    sizes = list(dict.fromkeys(size for panel in panels.values() for size, _ in panel))
    sizes.sort(key=_by_size)
    rates = sorted({rate for panel in panels.values() for _, rate in panel}, key=_by_value)
    if len(sizes) < 2 and len(rates) < 2:
        return None
    left_out = len(panels) > _MOST_PANELS or len(sizes) > _MOST_SIZES or len(rates) > _MOST_RATES
    note = (
        f"Shown: {min(len(panels), _MOST_PANELS)} of {len(panels)} panels, {min(len(sizes), _MOST_SIZES)} of "
        f"{len(sizes)} sizes, {min(len(rates), _MOST_RATES)} of {len(rates)} learning rates; "
        "tables/results.csv has all."
    )
    sizes, rates = sizes[:_MOST_SIZES], rates[:_MOST_RATES]
    drawn = list(panels.items())[:_MOST_PANELS]
    columns = min(len(drawn), max(1, min(_PANELS_A_ROW, int(13 / (_CELL_INCHES[0] * len(rates) + 0.8)))))
    rows = -(-len(drawn) // columns)
    columns = -(-len(drawn) // rows)  # four panels as two by two, not as three and one
    with drawing() as Canvas:
        width = max(_CELL_INCHES[0] * len(rates), 1.6) + 0.5
        title_lines = max(name.count("\n") for name, _ in drawn) + 1
        height = _CELL_INCHES[1] * len(sizes) + 0.38 + _TITLE_INCHES * title_lines
        canvas = Canvas(figsize=(width * columns + 0.6, height * rows + 0.4), layout="constrained")
        grid = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for index, (place, (name, panel)) in enumerate(zip(grid.flat, drawn, strict=False)):
            _draw(place, panel, sizes, rates)
            place.set_title(name, fontsize=8.5, loc="left", weight="bold")
            place.tick_params(labelbottom=index + columns >= len(drawn))  # no panel below has the rates
        for place in list(grid.flat)[len(drawn) :]:
            place.set_visible(False)
        canvas.supxlabel("peak learning rate (per step)", fontsize=9)
        canvas.supylabel("hidden size (units)", fontsize=9)
        title = "Phase map: what became of each hidden size and learning rate"
        return figure_of(canvas, "phase_map", title, note if left_out else "")


def _by_size(size: Size) -> tuple[bool, int, str]:
    """Numbers first."""
    return (not isinstance(size, int), size if isinstance(size, int) else 0, shown(size))


def _panels(sections: Sequence[Section]) -> dict[str, Panel]:
    """A panel for each decay and for whatever else tells sections apart, by its title."""
    keys = [{k: v for k, v in section.settings.items() if k not in _FOLLOWS_LR} for section in sections]
    places = [
        (str(key), section.arms[0].settings.get("lr")) for key, section in zip(keys, sections, strict=True)
    ]
    if len(set(places)) < len(places):  # schedules that differ in more than the learning rate
        keys = [{k: v for k, v in section.settings.items() if k != "lr"} for section in sections]
    panels: dict[str, Panel] = {}
    for key, section in zip(keys, sections, strict=True):
        for arm in section.arms:
            its = [(name.removesuffix(".name"), value) for name, value in key.items() if value != NO_SUCH]
            told = [f"{name}={value}" for name, value in its]
            name = "\n".join([*told, ", ".join(change.text for change in arm.changes) or f"wd2 {arm.wd2}"])
            cell = (arm.own or arm.hidden, arm.settings.get("lr", shown(None)))
            panels.setdefault(name, {}).setdefault(cell, []).append(arm)
    return panels


def _draw(axes: Axes, panel: Panel, sizes: Sequence[Size], rates: Sequence[str]) -> None:
    """Each cell is divided among its outcomes and says them."""
    for row, size in enumerate(sizes):
        for column, rate in enumerate(rates):
            _draw_cell(axes, column, row, Counter(_word(arm) for arm in panel.get((size, rate), ())))
    axes.set_xlim(-0.5, len(rates) - 0.5)
    axes.set_ylim(-0.5, len(sizes) - 0.5)
    axes.set_xticks(range(len(rates)), list(rates))
    axes.set_yticks(range(len(sizes)), [shown(size) for size in sizes])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_cell(axes: Axes, column: int, row: int, words: Counter[str]) -> None:
    """Outcomes stand in one order in every cell; what has no outcome is white with a broken edge."""
    from matplotlib.patches import Rectangle

    order = list(_AREAS)
    told = sorted(words.items(), key=lambda word: order.index(word[0]) if word[0] in order else len(order))
    left = column - 0.46
    for word, count in told or [(NO_RUN, 1)]:
        fill, hatch = _AREAS.get(word, ("none", ""))
        width = 0.92 * count / (words.total() or 1)
        edge = "-" if word in _AREAS else ":" if word == NO_RUN else "--"
        area = Rectangle(
            (left, row - 0.44),
            width,
            0.88,
            facecolor=fill,
            hatch=hatch,
            edgecolor=f"{INK}77",
            lw=0.6,
            ls=edge,
        )
        axes.add_patch(area)
        left += width
    lines = [word if words.total() == 1 else f"{word} {count}" for word, count in told] or [NO_RUN]
    if len(lines) > _MOST_LINES:
        rest = sum(count for _, count in told[_MOST_LINES - 1 :])
        lines = [*lines[: _MOST_LINES - 1], f"{rest} others"]
    axes.text(
        column,
        row,
        "\n".join(lines),
        ha="center",
        va="center",
        fontsize=7,
        color="#000000" if told else "#000000aa",  # INK turns light on a dark page, the box stays white
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "#ffffff", "alpha": 0.82, "linewidth": 0},
    )


def _word(arm: Arm) -> str:
    return arm.outcome.kind if arm.run.state == "finished" else arm.run.state


def _by_value(rate: str) -> tuple[bool, float]:
    try:
        return (False, float(rate))
    except ValueError:
        return (True, 0.0)
