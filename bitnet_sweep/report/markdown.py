"""``report.md``: the summary, every table and the figures, for reading in an editor or on a forge."""

from __future__ import annotations

import html
from collections.abc import Sequence

from tabulate import tabulate

from bitnet_sweep.report.figures import Figure
from bitnet_sweep.report.summary import QUESTION, Summary
from bitnet_sweep.report.table import Part, Table, shortened


def markdown(summary: Summary, tables: Sequence[Table], figures: Sequence[Figure]) -> str:
    """The report as Markdown; ``records`` stays a CSV file."""
    return "\n".join(chapters(summary, tables, figures))


def chapters(summary: Summary, tables: Sequence[Table], figures: Sequence[Figure]) -> list[str]:
    """The same, each part with its heading by itself: the summary, what is to be said of it, every table."""
    told = [_summary(summary)]
    if summary.gaps:
        lines = [f"{escaped(name)}: {escaped(why)}" for name, why in summary.gaps[:MOST_NOTES]]
        told.append(_notes("Missing, unfinished or failed", lines, summary.gaps))
    if summary.remarks:
        lines = [escaped(text) for text in summary.remarks[:MOST_NOTES]]
        told.append(_notes("Read with care", lines, summary.remarks))
    told += [_table(shortened(table)) for table in tables if not table.is_data]
    return ["\n".join(lines) for lines in [*told, *map(_figure, figures)]]


def _summary(summary: Summary) -> list[str]:
    lines = [f"# {QUESTION}", "", f"Stage transitions of **{escaped(summary.name)}**.", ""]
    lines += [", ".join(f"{count} {word}" for word, count in summary.counts) + ".", ""]
    lines += [summary.marks, ""] if summary.marks else []
    for verdict in summary.verdicts:
        if verdict.section.label:
            lines += [f"**{escaped(verdict.section.label)}**", ""]
        lines += [*(f"- {escaped(line)}" for line in verdict.lines), ""]
    return lines


def _notes(title: str, lines: Sequence[str], notes: Sequence[object]) -> list[str]:
    return [f"## {title}", "", *(f"- {line}" for line in lines), *more_notes(notes), ""]


def _table(table: Table) -> list[str]:
    lines = [f"## {table.title}", "", escaped(table.about), ""]
    label = ""
    for part in table.parts:
        if part.section is not None and part.section.label != label:
            label = part.section.label
            lines += [f"### {escaped(label)}", ""]
        if part.caption:
            lines += [f"{escaped(part.caption)}.", ""]
        lines += [grid(part), ""]
    return lines


def _figure(figure: Figure) -> list[str]:
    title = escaped(figure.title)
    note = [escaped(figure.note), ""] if figure.note else []
    return [f"## {title}", "", *note, f"![{title}](figures/{figure.name}.svg)", ""]


MOST_NOTES = 100
"""Lines of a list of what is missing or odd; ``--check`` names every one."""


def more_notes(notes: Sequence[object]) -> list[str]:
    """A line for those that are left out."""
    return [f"- and {len(notes) - MOST_NOTES} more"] if len(notes) > MOST_NOTES else []


def grid(part: Part) -> str:
    """The rows of a part as a Markdown table; nothing where it has none."""
    if not part.rows:
        return ""
    cells = [[escaped(text) for text in row] for row in part.texts]
    headings = [escaped(heading) for heading in part.headings]
    return str(tabulate(cells, headings, tablefmt="pipe", disable_numparse=True))


def escaped(text: str) -> str:
    """Text that no Markdown reader takes for a table border, a tag, a link or a new line."""
    safe = html.escape(" ".join(text.split()), quote=False)
    for mark in ("\\", "|", "`", "*", "[", "]"):
        safe = safe.replace(mark, f"\\{mark}")
    return safe
