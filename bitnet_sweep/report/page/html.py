"""The page as one file: template, style, scripts, tables, drawings and the chart's data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.figures import INK, Figure
from bitnet_sweep.report.markdown import MOST_NOTES
from bitnet_sweep.report.page.charts import chart_data
from bitnet_sweep.report.page.provenance import citation, parted
from bitnet_sweep.report.page.runs import MOST_RUNS, panels
from bitnet_sweep.report.settings import UNKNOWN
from bitnet_sweep.report.summary import QUESTION, Study, Summary
from bitnet_sweep.report.table import Column, Part, Row, Table, shortened

_HERE = Path(__file__).parent

_MOST_SVG = 1_200_000
"""Characters of drawings on the page; those past it are told by their file."""
_MOST_SAMPLES = 120
"""Runs whose texts are on the page."""
_LONG = 32
"""Characters of a cell that gets room for more than a word a line."""
_MOST_TEXT = 1_200
"""Characters of one text."""

SampleText = tuple[str, str, str]
"""Prompt, continuation at the boundary, continuation at the end."""


def page(study: Study, summary: Summary, tables: Sequence[Table], figures: Sequence[Figure]) -> str:
    """The page as HTML; data tables stay CSV files, and so do rows past what a page can show."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "grid": grid,
        "tile_class": _tile_class,
    }
    frame = next((table.frame for table in tables if table.name == "provenance"), pd.DataFrame())
    shared, own = parted(frame)
    runs = own.head(MOST_RUNS)
    made = panels(study, set(map(str, own)))
    samples = samples_of(study)
    script = "".join((_HERE / name).read_text("utf-8") for name in ("table.js", "chart.js", "print.js"))
    return environment.get_template("page.html.j2").render(
        question=QUESTION,
        summary=summary,
        most_notes=MOST_NOTES,
        tables=[shortened(table) for table in tables if table.parts and not table.is_data],
        figures=_inlined(figures),
        chart=chart_data(study.sections),
        samples=samples[:_MOST_SAMPLES],
        samples_in_all=len(samples),
        sweeps=list(study.evidence.sweeps.values()),
        shared=shared,
        provenance=runs,
        panels=made,
        runs_in_all=len(study.arms),
        anchors={panel.run_id: f"run-{n}" for n, panel in enumerate(made)},
        citation=citation(summary.name, study.arms),
        style=_trusted((_HERE / "page.css").read_text("utf-8")),
        script=_trusted(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        as_json=as_json,
    )


def as_json(document: Any) -> Markup:
    """JSON that no HTML parser takes for anything else: ``<``, ``>`` and ``&`` are written as escapes."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return _trusted(text)


def samples_of(study: Study) -> list[tuple[str, int, int, list[SampleText]]]:
    """Runs that kept texts: name, boundary step, last step, and the texts by prompt."""
    found = []
    for arm in study.arms:
        before, after = arm.boundary_step, arm.steps
        if before is None or after is None:
            continue
        old, new = _texts_at(arm, before), _texts_at(arm, after)
        texts = [(prompt, old.get(prompt, UNKNOWN), new.get(prompt, UNKNOWN)) for prompt in {**old, **new}]
        if texts:
            found.append((f"{arm.label} ({arm.result})", before, after, texts))
    return found


def _texts_at(arm: Arm, step: int) -> dict[str, str]:
    rows = [row for row in arm.run.samples if row.get("step") == step]
    return {_text(row, "prompt"): _text(row, "continuation") for row in rows}


def _text(row: dict[str, Any], key: str) -> str:
    text = str(row.get(key, UNKNOWN)).replace("\n", " ↵ ")  # a collapsed model may write little else
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} […]"


def _inlined(figures: Sequence[Figure]) -> list[tuple[Figure, Markup | None]]:
    """The drawings, in their order, as long as there is room for them."""
    placed: list[tuple[Figure, Markup | None]] = []
    room = _MOST_SVG
    for figure in figures:
        drawing = _inline(figure)
        room -= len(drawing)
        placed.append((figure, drawing if room >= 0 else None))
    return placed


def _inline(figure: Figure) -> Markup:
    """The drawing alone, in the page's own ink, to a hundredth of a point, with ids of its own."""
    svg = figure.svg
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = _PLACES.sub(lambda found: _DECIMALS.sub(r"\1", found[0]), svg)
    svg = re.sub(r'((?:id|href)="#?|url\(#)', rf"\1{figure.name}-", svg)
    return _trusted(svg.replace(INK, "currentColor"))


_PLACES = re.compile(r'\s(?:d|x|y|points|transform)="[^"]*"')
_DECIMALS = re.compile(r"(\.\d\d)\d+")


def _trusted(text: str) -> Markup:
    """Text of this program's own making (or escaped by it) that goes into the page as it stands."""
    return Markup(text)  # noqa: S704


@dataclass(frozen=True)
class Grid:
    """The rows of a part with what the page makes of them."""

    heads: list[tuple[Markup, str]]
    """Attributes and heading."""
    rows: list[tuple[str, list[tuple[Markup, str]], tuple[str, ...]]]
    """Class, cells (attributes and text), run_ids."""
    has_runs: bool


def grid(part: Part) -> Grid:
    """Numbers stand under one another; gaps, changes and the rows of means stand out."""
    columns = [(column, column.is_numeric(part.rows)) for column in part.columns]
    heads = [
        (_attributes({"class": "num" if is_number else "", "title": column.unit}), column.heading)
        for column, is_number in columns
    ]
    is_mixed = len({row.of for row in part.rows}) > 1
    rows = [
        (
            "mean" if is_mixed and row.of != "run" else "",
            [_cell(column, row, is_number) for column, is_number in columns],
            row.run_ids,
        )
        for row in part.rows
    ]
    return Grid(heads, rows, any(row.run_ids for row in part.rows))


def _cell(column: Column, row: Row, is_number: bool) -> tuple[Markup, str]:
    """A number whose text is more than that, such as 1k, says what it is, for the page to sort by."""
    cell, text = row[column.key], column.text(row)
    is_gap = bool(cell.why) and not cell.words and not column.is_interval
    classes = ["num" if is_number else "text" if len(text) > _LONG else "", "gap" if is_gap else column.style]
    value = ""
    if is_number and isinstance(cell.value, int | float) and not _PLAIN.fullmatch(text):
        value = f"{cell.value:.7g}" if isinstance(cell.value, float) else str(cell.value)
    return _attributes({"class": " ".join(filter(None, classes)), "data-value": value}), text


_PLAIN = re.compile(r"-?\d+(\.\d+)?")
"""A number as a script reads it."""


def _attributes(attributes: dict[str, str]) -> Markup:
    return Markup("").join(Markup(' {}="{}"').format(*each) for each in attributes.items() if each[1])


def _tile_class(kind: str) -> str:
    known = ("recovered", "healthy", "stuck", "diverged", "failed", "late collapse", "mixed")
    return f"k-{kind.split(' ')[0]}" if kind in known else "k-gone"
