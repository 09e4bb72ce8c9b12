"""``report.html``: everything on one self-contained page; whatever a store holds is shown as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.figures import INK, Figure
from bitnet_sweep.report.read import STATES, flatten
from bitnet_sweep.report.settings import UNKNOWN, shown
from bitnet_sweep.report.summary import QUESTION, Study, Summary
from bitnet_sweep.report.table import SEED, Table, frame_of

_GAPS = {*STATES[1:], UNKNOWN, "diverged", "not compared"}
_NUMBER = re.compile(r"[-+]?[\d,.]+(e[-+]?\d+)?[kMx%]?")

SampleText = tuple[str, str, str]
"""Prompt, continuation at the boundary, continuation at the end."""


def page(study: Study, summary: Summary, tables: Sequence[Table], figures: Sequence[Figure]) -> str:
    """The page as HTML; ``records`` stays a CSV file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
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
    shared, provenance = provenance_of(study)
    return environment.get_template("page.html.j2").render(
        question=QUESTION,
        summary=summary,
        tables=[table for table in tables if table.name != "records"],
        figures=[(figure, _inline(figure.svg)) for figure in figures],
        samples=samples_of(study),
        sweeps=list(study.evidence.sweeps.values()),
        shared=shared,
        provenance=provenance,
    )


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


def provenance_of(study: Study) -> tuple[dict[str, str], pd.DataFrame]:
    """The settings that all runs share, and a row a run: its status and the settings of its own."""
    configs = [arm.run.config for arm in study.arms if arm.run.config]
    texts = [{key: shown(value) for key, value in config.items()} for config in configs]
    keys = dict.fromkeys(key for text in texts for key in text)
    shared = {key: texts[0][key] for key in keys if len({text.get(key, UNKNOWN) for text in texts}) == 1}
    own = [key for key in keys if key not in shared and key != "stages"]
    rows = []
    for arm in study.arms:
        status = flatten({k: v for k, v in arm.run.status.items() if k not in ("run_id", "state", "error")})
        row = {"run_id": arm.run_id, "state": arm.run.state, "store": arm.run.store}
        row |= {key: shown(arm.run.config[key]) if key in arm.run.config else UNKNOWN for key in own}
        rows.append(row | {key: _status_text(value) for key, value in status.items()})
    return shared, frame_of(rows).replace("", UNKNOWN)


def _status_text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "-" if value is None else str(value)


def _texts_at(arm: Arm, step: int) -> dict[str, str]:
    rows = [row for row in arm.run.samples if row.get("step") == step]
    return {str(row.get("prompt", UNKNOWN)): str(row.get("continuation", UNKNOWN)) for row in rows}


def _inline(svg: str) -> Markup:
    """The drawing alone, in the page's own ink."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return Markup(svg.replace(INK, "currentColor"))  # noqa: S704  # drawn by report.figures, of numbers alone


def _is_mean(frame: pd.DataFrame, row: tuple[str, ...]) -> bool:
    return SEED in frame and row[list(frame.columns).index(SEED)] in ("mean", "all")


def _numeric_columns(frame: pd.DataFrame) -> set[str]:
    """Columns with a number in them: they are aligned as numbers, words for gaps included."""
    return {str(name) for name in frame if any(_NUMBER.fullmatch(str(cell)) for cell in frame[name])}


def _cell_class(cell: str, is_numeric: bool) -> Markup:
    text = str(cell)
    classes = ["num"] if is_numeric else []
    if text.startswith("WD "):
        classes.append("change")
    elif text.split(" ")[0] in _GAPS or text in _GAPS:
        classes.append("gap")
    return Markup(' class="{}"').format(" ".join(classes)) if classes else Markup("")


def _tile_class(kind: str) -> str:
    known = ("recovered", "healthy", "stuck", "diverged", "failed", "late collapse", "mixed")
    return f"k-{kind.split(' ')[0]}" if kind in known else "k-gone"
