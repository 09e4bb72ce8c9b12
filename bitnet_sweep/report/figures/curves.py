"""Curves against step, a panel for each hidden size; arms of a trunk are one line up to where they fork."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from bitnet_sweep.records import LOG_LOSS, Record
from bitnet_sweep.report.arms import Arm, own_fields_of
from bitnet_sweep.report.figures.drawing import INK, Figure, Style, drawing, figure_of, styles_of
from bitnet_sweep.report.overlay import short
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.table import step_text
from bitnet_sweep.report.transitions import LOSS, TOKENS
from bitnet_sweep.store.outcome import finite, unigram_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Ends = dict[float, tuple[int, float]]
"""Where the lines of a panel end, by decay: last step and mean value."""

FLIPS, ABSMEAN, ZEROS = "ternary/flip_rate", "ternary/absmean", "ternary/zero_frac"
ENTROPY = "probe/entropy"
ABSMEAN_CLAMP = 1e-5
"""The quantiser clamps absmean here."""

_MECHANISM = (
    (FLIPS, "flip rate\n(share of codes, one step)"),
    (ABSMEAN, "absmean\n(mean |latent weight|)"),
    (ZEROS, "zero fraction\n(share of codes)"),
    (ENTROPY, "predictive entropy\n(nats per token)"),
)
_PANEL_INCHES = (3.1, 2.9)
PANELS_A_ROW = 4
_MARKERS = 8
"""On a line, about."""
_MOST_SIZES = 8
_MOST_SEEDS = 8
"""Replicates of one size and decay that have lines."""


@dataclass(frozen=True)
class Line:
    """A stretch of one metric; a gap in the records is a gap in the line."""

    steps: list[int]
    values: list[float]
    """NaN where the record has none."""
    wd2: float | None
    """None: a trunk, which belongs to several."""


@dataclass(frozen=True)
class Stretch:
    """A part of a run that is drawn as one line."""

    arm: Arm
    """Whose records it is drawn by."""
    arms: list[Arm]
    """Those it belongs to; several make a trunk."""
    first: int
    last: float

    def points(self, field: str = LOSS) -> list[tuple[int, Record]]:
        """The rows that have a field: of the training log for one of its own, else the records."""
        rows = self.arm.log_by_step if field == LOG_LOSS else self.arm.by_step
        return [(step, row) for step, row in rows.items() if self.first <= step <= self.last]


def curves_of(section: Section, suffix: str) -> list[Figure]:
    """Losses, unique tokens and somebody's own metrics against step, as far as there are any on record."""
    own = own_fields_of(section.arms)
    found = []
    for name, field, title, axis in (
        ("loss", LOSS, "Held-out loss against step", "held-out loss (nats per token)"),
        ("training_loss", LOG_LOSS, "Training loss against step", "training loss (nats per token)"),
        ("tokens", TOKENS, "Unique tokens against step", "unique tokens (of 20)"),
        *(
            (f"own_{place}", field, f"{field} against step", field)
            for place, field in enumerate(own, start=1)
        ),
    ):
        figure = _curves(section, field, axis, f"{name}{suffix}", _titled(title, section))
        found += [figure] if figure is not None else []
    return found


def mechanism_of(section: Section, suffix: str) -> Figure | None:
    """Flip rate, absmean, zero fraction and entropy under one another; None where none is on record."""
    by_size, note = _drawn(section, PANELS_A_ROW, _MOST_SEEDS // 2)  # four panels for one
    panels = {
        (field, size): lines
        for field, _ in _MECHANISM
        for size, arms in by_size.items()
        if (lines := lines_of(arms, field))
    }
    fields = [(field, axis) for field, axis in _MECHANISM if any(field == found for found, _ in panels)]
    sizes = [size for size in by_size if any(size == found for _, found in panels)]
    if not fields:
        return None
    styles = styles_of(_decays(section))
    with drawing() as Canvas:
        shape = (_PANEL_INCHES[0] * len(sizes) + 1.0, 1.75 * len(fields) + 0.7)
        canvas = Canvas(figsize=shape, layout="constrained")
        grid = canvas.subplots(len(fields), len(sizes), sharex=True, sharey="row", squeeze=False)
        named = []
        for row, (field, axis) in zip(grid, fields, strict=True):
            row[0].set_ylabel(axis)
            for place, size in zip(row, sizes, strict=True):
                named.append((place, _panel(place, panels.get((field, size), []), styles, section, field)))
        _name_ends(named, styles)
        for place, size in zip(grid[0], sizes, strict=True):
            place.set_title(by_size[size][0].size, fontsize=10, loc="left", weight="bold")
        canvas.align_ylabels()
        canvas.supxlabel("step (completed updates)", fontsize=9)
        title = _titled("Mechanism: codes, scale and predictions against step", section)
        return figure_of(canvas, f"mechanism{suffix}", title, note)


def lines_of(arms: Sequence[Arm], field: str) -> list[Line]:
    """The lines of one panel: each trunk once, up to where its arms part, and each arm from there on."""
    lines = [_line(stretch, field) for stretch in stretches_of(arms)]
    return [line for line in lines if any(value == value for value in line.values)]


def stretches_of(arms: Sequence[Arm]) -> list[Stretch]:
    """Each trunk once, by the arm that got furthest, up to its fork; behind it the arms that left it.

    A trunk is the stages that arms have in common; an arm that no stage id tells of stands alone.
    """
    return [stretch for forked in _forks(arms) for stretch in _parting(forked, 0, 0)]


def _forks(arms: Sequence[Arm]) -> list[list[Arm]]:
    trunks: dict[object, list[Arm]] = {}
    for arm in arms:
        parent = arm.stage_ids[0] if len(arm.stage_ids) > 1 else arm.run.status.get("parent_stage_id")
        trunk = arm.run_id if parent is None else (arm.seed, arm.hidden, arm.stage_ends[:1], parent)
        trunks.setdefault(str(trunk), []).append(arm)
    return list(trunks.values())


def _parting(arms: list[Arm], first: int, num_shared: int) -> list[Stretch]:
    """Arms that share so many stages, from ``first`` on: what they share still, then each part of them."""
    if len(arms) == 1:
        return [Stretch(arms[0], arms, first, math.inf)]
    while all(len(arm.stage_ids) > num_shared for arm in arms) and (
        len({arm.stage_ids[num_shared] for arm in arms}) == 1
    ):
        num_shared += 1
    ends = arms[0].stage_ends[:-1]
    fork = ends[num_shared - 1] if 0 < num_shared <= len(ends) else arms[0].boundary_step
    if fork is None or fork <= first:
        return [Stretch(arm, [arm], first, math.inf) for arm in arms]
    parts: dict[str, list[Arm]] = {}
    for arm in arms:
        own = arm.stage_ids[num_shared] if len(arm.stage_ids) > num_shared else arm.run_id
        parts.setdefault(own, []).append(arm)
    trunk = Stretch(max(arms, key=lambda arm: len(arm.records)), arms, first, fork)
    return [trunk, *(stretch for part in parts.values() for stretch in _parting(part, fork, num_shared))]


def _line(stretch: Stretch, field: str) -> Line:
    points = [(step, finite(row, field)) for step, row in stretch.points(field)]
    wd2 = None if len(stretch.arms) > 1 else stretch.arm.wd2
    return Line([step for step, _ in points], [math.nan if v is None else v for _, v in points], wd2)


def _drawn(section: Section, most_sizes: int, most_seeds: int) -> tuple[dict[int | None, list[Arm]], str]:
    """The arms that have lines, by hidden size, and a note of those that have none."""
    sizes: dict[int | None, list[Arm]] = {}
    seeds: Counter[tuple[int | None, float | None]] = Counter()
    left_out = 0
    recorded = [arm for arm in section.arms if arm.records]
    for arm in recorded:
        seeds[arm.hidden, arm.wd2] += 1
        arms = sizes.setdefault(arm.hidden, []) if len(sizes) < most_sizes else sizes.get(arm.hidden)
        if arms is None or seeds[arm.hidden, arm.wd2] > most_seeds:
            left_out += 1
        else:
            arms.append(arm)
    if not left_out:
        return sizes, ""
    total = len(recorded)
    limits = f"at most {most_sizes} sizes and {most_seeds} seeds of each arm"
    return sizes, f"Shown: {total - left_out} of {total} runs ({limits}); tables/records.csv has all."


def _curves(section: Section, field: str, axis: str, name: str, title: str) -> Figure | None:
    by_size, note = _drawn(section, _MOST_SIZES, _MOST_SEEDS)
    panels = [(size, lines) for size, arms in by_size.items() if (lines := lines_of(arms, field))]
    if not panels:
        return None
    styles = styles_of(_decays(section))
    columns = min(len(panels), PANELS_A_ROW)
    rows = -(-len(panels) // columns)
    with drawing() as Canvas:
        width, height = _PANEL_INCHES
        canvas = Canvas(figsize=(width * columns + 1.0, height * rows), layout="constrained")
        grid = canvas.subplots(rows, columns, sharey=True, squeeze=False)
        named = []
        for place, (size, lines) in zip(grid.flat, panels, strict=False):
            named.append((place, _panel(place, lines, styles, section, field)))
            place.set_title(by_size[size][0].size, fontsize=10, loc="left", weight="bold")
        for place in list(grid.flat)[len(panels) :]:
            place.set_visible(False)
        for row in grid:
            row[0].set_ylabel(axis)
        _name_ends(named, styles)
        canvas.supxlabel("step (completed updates)", fontsize=9)
        return figure_of(canvas, name, title, note)


def _titled(title: str, section: Section) -> str:
    return f"{title}: {section.label}" if section.label else title


def _decays(section: Section) -> list[float]:
    return sorted({arm.wd2 for arm in section.arms if arm.wd2 is not None})


def _panel(
    axes: Axes,
    lines: Sequence[Line],
    styles: Mapping[float, Style],
    section: Section,
    field: str,
) -> Ends:
    if field == ABSMEAN:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"1e{math.log10(value):.0f}")
    axes.margins(y=0.1)
    last = section.steps or max((line.steps[-1] for line in lines), default=1)
    ends: dict[float, list[float]] = {}
    for line in lines:
        colour, dash, marker = (INK, "-", ".") if line.wd2 is None else styles.get(line.wd2, (INK, ":", "x"))
        axes.plot(
            line.steps,
            line.values,
            color=colour,
            linestyle=dash,
            linewidth=1.4,
            marker=marker,
            markersize=3,
            markevery=max(1, len(line.steps) // _MARKERS),
        )
        numbers = [value for value in line.values if value == value]
        if line.wd2 is not None and numbers:
            ends.setdefault(line.wd2, []).append(numbers[-1])
    for change in section.arms[0].changes:
        axes.axvline(change.step, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    if field == TOKENS:
        axes.set_ylim(0, 21)
        axes.set_yticks([0, 5, 10, 15, 20])
    elif field in (FLIPS, ZEROS):
        axes.set_ylim(-0.03, 1.05)
    if lines:
        _references(axes, section, field, last)
    axes.set_xlim(0, last * 1.26)
    ticks = sorted({0, *(change.step for change in section.arms[0].changes), last})
    axes.set_xticks(ticks, [step_text(tick) for tick in ticks])
    return {wd2: (last, sum(values) / len(values)) for wd2, values in ends.items()}


def _references(axes: Axes, section: Section, field: str, last: int) -> None:
    """The values that a metric is read against, named on their lines."""
    named: dict[str, float | None] = {}
    if field == LOSS:
        named = {"unigram": next((u for arm in section.arms if (u := unigram_loss(arm.records))), None)}
    elif field == ENTROPY:
        found = (finite(record, "ref/ln_vocab") for arm in section.arms for record in arm.records[:1])
        named = {"uniform, ln V": next((value for value in found if value is not None), None)}
    elif field == ABSMEAN:
        named = {"clamp 1e-5": ABSMEAN_CLAMP}
    side: Literal["top", "bottom"] = "top" if field == ABSMEAN else "bottom"  # where the lines are not
    for name, value in named.items():
        if value is not None:
            axes.hlines(value, 0, last, color=INK, linewidth=0.7, alpha=0.6)
            axes.text(last * 0.02, value, name, fontsize=7, va=side, alpha=0.8)


def _name_ends(panels: Sequence[tuple[Axes, Ends]], styles: Mapping[float, Style]) -> None:
    """Name each line at its end, moved apart where names would cover one another.

    Once all panels are drawn, because those that share an axis move one another's limits.
    """
    for axes, ends in panels:
        gap = _NAME_INCHES * axes.figure.dpi / axes.bbox.height
        place = axes.get_xaxis_transform()  # steps across, shares of the panel up
        heights: list[float] = []
        ordered = sorted(ends.items(), key=lambda item: item[1][1])
        for wd2, (last, value) in ordered:
            _, height = axes.transAxes.inverted().transform(axes.transData.transform((last, value)))
            heights.append(max(height, heights[-1] + gap) if heights else height)
            colour = styles.get(wd2, (INK, "", ""))[0]
            axes.text(
                last * 1.02,
                heights[-1],
                f"wd2={short(wd2)}",
                color=colour,
                fontsize=8,
                va="center",
                transform=place,
            )
        assert all(b - a >= gap * 0.999 for a, b in pairwise(heights)), "names cover one another"


_NAME_INCHES = 0.14
"""Height of a line of small text."""
