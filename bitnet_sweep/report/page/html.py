"""The page as one file: template, style, scripts, tables, drawings and the chart's data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
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
from bitnet_sweep.report.table import SEED, Table, shortened
from bitnet_sweep.store.states import REPORTED

_HERE = Path(__file__).parent
_GAPS = {*REPORTED[1:], UNKNOWN, "diverged", "not compared"}
_NUMBER = re.compile(r"[-+]?[\d,.]+(e[-+]?\d+)?[kMx%]?")

_MOST_SVG = 1_200_000
"""Characters of drawings on the page; those past it are told by their file."""
_MOST_SAMPLES = 120
"""Runs whose texts are on the page."""
_LONG = 32
"""Characters of a cell that gets room for more than a word a line."""
_MOST_TEXT = 1_200
"""Characters of one text."""

_ORDER = (
    *("leaderboard", "results", "contrasts", "loss_transition", "token_transition", "boundaries"),
    *("stage2_contrast", "model_sizes", "trajectory", "claims", "records", "provenance"),
)
"""The order of the tables: the page is about the user's own runs, so what others claimed comes last."""

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
        "zip": zip,
        "is_mean": _is_mean,
        "numeric_columns": _numeric_columns,
        "cell_class": _cell_class,
        "tile_class": _tile_class,
    }
    frame = next((table.csv for table in tables if table.name == "provenance"), pd.DataFrame())
    shared, own = parted(frame)
    runs = own.head(MOST_RUNS)
    made = panels(study, set(map(str, own)))
    samples = samples_of(study)
    script = "".join((_HERE / name).read_text("utf-8") for name in ("table.js", "chart.js", "print.js"))
    return environment.get_template("page.html.j2").render(
        question=QUESTION,
        summary=summary,
        most_notes=MOST_NOTES,
        tables=[
            shortened(table)
            for table in sorted(tables, key=lambda table: _ORDER.index(table.name))
            if table.parts and not table.is_data
        ],
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


def _is_mean(frame: pd.DataFrame, row: tuple[str, ...]) -> bool:
    return SEED in frame and row[list(frame.columns).index(SEED)] in ("mean", "all")


def _numeric_columns(frame: pd.DataFrame) -> set[str]:
    """Columns with a number in them: they are aligned as numbers, words for gaps included."""
    return {str(name) for name in frame if any(_NUMBER.fullmatch(str(cell)) for cell in frame[name])}


def _cell_class(cell: str, is_numeric: bool) -> Markup:
    text = str(cell)
    classes = ["num"] if is_numeric else ["text"] if len(text) > _LONG else []
    if text.startswith("WD "):
        classes.append("change")
    elif text.split(" ")[0] in _GAPS or text in _GAPS:
        classes.append("gap")
    return Markup(' class="{}"').format(" ".join(classes)) if classes else Markup("")


def _tile_class(kind: str) -> str:
    known = ("recovered", "healthy", "stuck", "diverged", "failed", "late collapse", "mixed")
    return f"k-{kind.split(' ')[0]}" if kind in known else "k-gone"
