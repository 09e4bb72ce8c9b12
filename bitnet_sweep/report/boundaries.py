"""``boundaries``: what happens where one stage follows another, at every boundary of every schedule.

``loss_transition`` and ``token_transition`` tell of the first change of decay, as the notes did. A schedule
of three stages (``schedule=trilm``) has a boundary more, and stages written by hand may have many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.rows import KEYS, Measure, arm_rows, found, readable
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.settings import UNKNOWN, number
from bitnet_sweep.report.table import (
    NATS,
    Cell,
    Column,
    Part,
    Row,
    Table,
    count_text,
    loss_text,
    percent_text,
    step_text,
)
from bitnet_sweep.report.transitions import LOSS, TOKENS
from bitnet_sweep.store.outcome import after_step

_STEP, _STAGE, _CHANGE = "Boundary", "Stage", "Change"
_IMPROVED = Column("% Improvement", percent_text, "%", interval_prefix="% Improvement_")
_MEASURED = (
    *(Column("Loss before", loss_text, NATS), Column("Loss after", loss_text, NATS)),
    *(Column("Drop", loss_text, NATS), _IMPROVED),
    *(Column("Tokens before", count_text), Column("Tokens after", count_text)),
)
_PLACE = (Column(_STEP, step_text, "steps"), Column(_STAGE), Column(_CHANGE, style="change"))


def boundaries(sections: Sequence[Section]) -> Table:
    """Loss and tokens before and after each stage boundary; read in the report where there are several."""
    columns = [*KEYS, *_PLACE, *_MEASURED]
    rows: list[Row] = []
    parts: list[Part] = []
    for section in sections:
        steps = section.arms[0].boundaries
        own = [row for cell in section.cells() for n in range(len(steps)) for row in _rows(cell, n)]
        rows += own
        if len(steps) > 1:
            parts.append(readable(section, own, [*columns, _IMPROVED.bounds]))
    about = (
        "Every stage boundary: before is its own record, after the record exactly a tenth of the run later; "
        "what is not on record is missing, never the nearest. The stage is the one that begins there."
    )
    return Table("boundaries", "Every stage boundary", about, columns, rows, parts)


def changes_at(config: Mapping[str, Any]) -> list[str]:
    """What changes at each boundary between written-out stages: the decay, the learning rate, its slope."""
    stages = config.get("stages")
    if not isinstance(stages, list):
        return []
    return [_change(before, after) for before, after in pairwise(map(_as_stage, stages))]


def _as_stage(stage: object) -> tuple[float | None, list[tuple[float | None, float | None]]]:
    """Decay and corners of the learning rate's path."""
    if not isinstance(stage, dict):
        return None, []
    knots = stage.get("lr")
    corners = [knot for knot in knots if isinstance(knot, dict)] if isinstance(knots, list) else []
    path = [(number(knot.get("step")), number(knot.get("lr"))) for knot in corners]
    return number(stage.get("weight_decay")), path


def _change(
    before: tuple[float | None, list[tuple[float | None, float | None]]],
    after: tuple[float | None, list[tuple[float | None, float | None]]],
) -> str:
    (decay, path), (next_decay, next_path) = before, after
    told = [f"WD {decay!r}→{next_decay!r}"] if decay != next_decay else []
    if path and next_path and None not in (path[-1][1], next_path[0][1]):
        end, start = path[-1][1], next_path[0][1]
        if end != start:
            told.append(f"LR {end:.4g}→{start:.4g}")
        elif _slope(path[-2:]) != _slope(next_path[:2]):
            told.append(f"LR bends at {end:.4g}")
    return ", ".join(told) or "-"


def _slope(path: Sequence[tuple[float | None, float | None]]) -> str | None:
    """Per step, to six digits: both sides of a straight line are computed apart."""
    if len(path) < 2:
        return None
    (x0, y0), (x1, y1) = path
    if x0 is None or x1 is None or y0 is None or y1 is None or x0 == x1:
        return None
    return f"{(y1 - y0) / (x1 - x0):.6g}"


def _rows(cell: Sequence[Arm], place: int) -> list[Row]:
    """A cell at its boundary of this place."""
    of = (
        *(partial(_value, place, LOSS, False), partial(_value, place, LOSS, True)),
        *(partial(_drop, place, False), partial(_drop, place, True)),
        *(partial(_value, place, TOKENS, False), partial(_value, place, TOKENS, True)),
    )
    step = cell[0].boundaries[place]
    texts = changes_at(cell[0].run.config)
    change = (
        texts[place] if place < len(texts) else ", ".join(c.text for c in cell[0].changes if c.step == step)
    )
    told = Cell(change) if change else Cell(why=UNKNOWN)
    where = {_STEP: Cell(step), _STAGE: Cell(place + 2), _CHANGE: told}
    rows = arm_rows(cell, [Measure(*measure) for measure in zip(_MEASURED, of, strict=True)])
    return [replace(row, cells={**row.cells, **where}) for row in rows]


def _value(place: int, field: str, is_after: bool, arm: Arm) -> Cell:
    step = arm.boundaries[place] if place < len(arm.boundaries) else None
    return found(arm.value(after_step(arm.steps, step) if is_after else step, field))


def _drop(place: int, in_percent: bool, arm: Arm) -> Cell:
    before, after = (_value(place, LOSS, is_after, arm) for is_after in (False, True))
    if not isinstance(before.value, float):
        return before
    if not isinstance(after.value, float):
        return after
    if not in_percent:
        return Cell(after.value - before.value)
    return Cell(100 * (after.value - before.value) / before.value) if before.value else Cell(why=UNKNOWN)
