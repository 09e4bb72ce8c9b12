"""``report.md``: the summary, every table and the figures, for reading in an editor or on a forge."""

from __future__ import annotations

import html
from collections.abc import Sequence

import pandas as pd

from bitnet_sweep.report.figures import Figure
from bitnet_sweep.report.summary import QUESTION, Summary
from bitnet_sweep.report.table import Table, shortened


def markdown(summary: Summary, tables: Sequence[Table], figures: Sequence[Figure]) -> str:
    """The report as Markdown; ``records`` stays a CSV file."""
    lines = [f"# {QUESTION}", "", f"Stage transitions of **{escaped(summary.name)}**.", ""]
    lines += [", ".join(f"{count} {word}" for word, count in summary.counts) + ".", ""]
    lines += [summary.marks, ""] if summary.marks else []
    for verdict in summary.verdicts:
        if verdict.section.label:
            lines += [f"**{escaped(verdict.section.label)}**", ""]
        lines += [*(f"- {escaped(line)}" for line in verdict.lines), ""]
    if summary.gaps:
        lines += ["## Missing, unfinished or failed", ""]
        lines += [*(f"- {escaped(name)}: {escaped(why)}" for name, why in summary.gaps[:MOST_NOTES])]
        lines += [*more_notes(summary.gaps), ""]
    if summary.remarks:
        lines += ["## Read with care", "", *(f"- {escaped(text)}" for text in summary.remarks[:MOST_NOTES])]
        lines += [*more_notes(summary.remarks), ""]
    for table in tables:
        if table.is_data:
            continue
        table = shortened(table)
        lines += [f"## {table.title}", "", escaped(table.about), ""]
        label = ""
        for part in table.parts:
            if part.section is not None and part.section.label != label:
                label = part.section.label
                lines += [f"### {escaped(label)}", ""]
            if part.caption:
                lines += [f"{escaped(part.caption)}.", ""]
            lines += [grid(part.frame), ""]
    for figure in figures:
        lines += [
            f"## {escaped(figure.title)}",
            "",
            *([escaped(figure.note), ""] if figure.note else []),
            f"![{escaped(figure.title)}](figures/{figure.name}.svg)",
            "",
        ]
    return "\n".join(lines)


MOST_NOTES = 100
"""Lines of a list of what is missing or odd; ``--check`` names every one."""


def more_notes(notes: Sequence[object]) -> list[str]:
    """A line for those that are left out."""
    return [f"- and {len(notes) - MOST_NOTES} more"] if len(notes) > MOST_NOTES else []


def grid(frame: pd.DataFrame) -> str:
    """A frame of text as a Markdown table, cells as they stand."""
    safe = frame.astype(str).map(escaped).rename(columns=lambda name: escaped(str(name)))
    return str(safe.to_markdown(index=False, disable_numparse=True))


def escaped(text: str) -> str:
    """Text that no Markdown reader takes for a table border, a tag, a link or a new line."""
    safe = html.escape(" ".join(text.split()), quote=False)
    for mark in ("\\", "|", "`", "*", "[", "]"):
        safe = safe.replace(mark, f"\\{mark}")
    return safe
