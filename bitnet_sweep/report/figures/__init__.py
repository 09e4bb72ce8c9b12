"""The figures of a report: curves against step, the mechanism, the phase map, paired differences.

Grey is enough to read them: lines differ in dash and marker and carry their names, areas carry words.
The same records give the same bytes. What is too much for a picture is left out, and its note says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bitnet_sweep.report.figures.curves import Line, curves_of, lines_of, mechanism_of
from bitnet_sweep.report.figures.differences import differences_of
from bitnet_sweep.report.figures.drawing import INK, Figure, is_ours
from bitnet_sweep.report.figures.phase import phase_map_of
from bitnet_sweep.report.sections import Section

__all__ = ["INK", "Figure", "Line", "figures_of", "is_ours", "lines_of"]

MOST_SECTIONS, MOST_SECTIONS_OF_MANY_RUNS, MANY_RUNS = 8, 3, 1_000
"""Sections that have curves drawn: each takes seconds, and nobody looks at a hundred pictures."""


def figures_of(sections: Sequence[Section]) -> list[Figure]:
    """Every figure that the sections have records for."""
    drawn = [figure for figure in (phase_map_of(sections), differences_of(sections)) if figure is not None]
    numbered = [
        (f"_{n}" if len(sections) > 1 else "", section) for n, section in enumerate(sections, start=1)
    ]
    runs = sum(len(section.arms) for section in sections)
    most = MOST_SECTIONS if runs <= MANY_RUNS else MOST_SECTIONS_OF_MANY_RUNS
    curves = [figure for suffix, section in numbered[:most] for figure in curves_of(section, suffix)]
    mechanisms = [mechanism_of(section, suffix) for suffix, section in numbered[:most]]
    curves += [figure for figure in mechanisms if figure is not None]
    if len(sections) > most:
        told = f"Curves are drawn of {most} of {len(sections)} sections; tables/records.csv has all."
        curves = [replace(figure, note=f"{told} {figure.note}".strip()) for figure in curves]
    return [*drawn, *curves]
