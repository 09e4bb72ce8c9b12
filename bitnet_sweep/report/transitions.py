"""The notes' tables of the stage transition: ``results``, ``loss_transition``, ``token_transition``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from bitnet_sweep.report.arms import Arm, Section
from bitnet_sweep.report.settings import UNKNOWN
from bitnet_sweep.report.table import (
    HIDDEN,
    KEYS,
    SEED,
    Cell,
    Column,
    N,
    Part,
    Row,
    Table,
    cell_rows,
    constants,
    count_text,
    counts_text,
    factor_text,
    frame_of,
    interval_text,
    loss_text,
    percent_text,
    readable,
    runs_of,
    share_text,
    step_text,
    together,
)
from bitnet_sweep.store.outcome import MARKS, after_step, finite, unigram_loss

PUBLISHED_TENTHS = (1, 2, 3, 4, 5, 6, 7, 10)
"""The steps of the notes' table, 1k to 10k of 10k, as tenths of any schedule."""

LOSS, TOKENS = "val/loss", "probe/unique_tokens"


def results(sections: Sequence[Section]) -> Table:
    """Hidden by published steps: unique tokens as in the notes, ``val/loss`` beside them, outcomes."""
    same_length = len({section.steps for section in sections}) == 1
    parts: list[Part] = []
    frames: list[pd.DataFrame] = []
    for section in sections:
        real = {k: _step_label(section.steps, k) for k in PUBLISHED_TENTHS}
        labels = real if same_length else {k: f"{k}/10" for k in PUBLISHED_TENTHS}
        tokens = _grid(section, "Step", labels, TOKENS, count_text)
        losses = _grid(section, "loss", labels, LOSS, loss_text)
        columns = list({column.name: column for column in [*tokens, *losses]}.values())
        frame = frame_of([row for cell in section.cells() for row in _result_rows(cell, columns)], KEYS)
        frames.append(frame)
        changes = [column.name for _, column in _change_columns(section)]
        runs = runs_of(frame)
        for title, shown_columns in (
            (_COUNTED, [column.name for column in tokens]),
            (_MEASURED, [column.name for column in losses]),
            (_JUDGED, [*changes, *_EVENTS]),
        ):
            names = [HIDDEN, SEED, N, *shown_columns]
            renamed = {f"{what} {labels[k]}": f"Step {real[k]}" for k in real for what in ("Step", "loss")}
            caption = ", ".join(filter(None, [title, constants(frame[names])]))
            parts.append(Part(section, caption, readable(frame[names]).rename(columns=renamed), runs))
    return Table(
        "results",
        "Complete results",
        "One row an arm (hidden size, second-stage decay); the notes' steps, scaled to the schedule.",
        together(frames, [] if frames else KEYS),
        parts,
    )


_COUNTED = "Unique tokens predicted over 20 probe contexts, as the notes counted; no measure of quality"
_MEASURED = "Held-out loss (val/loss, nats per token)"
_JUDGED = "The outcome that the held-out losses mean"
_EVENTS = ("outcome", "collapse at", "recovery at")


def loss_transition(sections: Sequence[Section]) -> Table:
    """Loss before and a tenth of the run after the first decay boundary."""
    figures = [
        ("before", "transition/loss_before", loss_text),
        ("after", "transition/loss_after", loss_text),
        ("Drop", "transition/loss_drop", loss_text),
        ("% Improvement", "transition/loss_drop_percent", percent_text),
    ]
    return _transition(
        "loss_transition", "Loss drop at the stage transition", "Loss", LOSS, figures, sections
    )


def token_transition(sections: Sequence[Section]) -> Table:
    """Unique tokens before and a tenth of the run after the first decay boundary."""
    figures = [
        ("before", "transition/tokens_before", count_text),
        ("after", "transition/tokens_after", count_text),
        ("Recovery Factor", "transition/tokens_factor", factor_text),
    ]
    return _transition(
        "token_transition", "Token recovery at the stage transition", "Tokens", TOKENS, figures, sections
    )


def figure(arm: Arm, name: str, field: str) -> Cell:
    """A transition figure, else the word for what is missing."""
    value = arm.figures[name]
    if value is not None:
        return value
    before, after = _moments(arm)
    moment = name.rpartition("_")[2]
    steps = {"before": [before], "after": [after], "end": [arm.steps]}.get(moment, [before, after])
    words = [cell for step in steps if isinstance(cell := arm.value(step, field), str)]
    return words[0] if words else UNKNOWN


def end_value(arm: Arm, field: str) -> Cell:
    """A field at the end of the run, else the word for why there is none."""
    return arm.value(arm.steps, field)


def published_step(steps: int | None, tenth: int) -> int | None:
    """A tenth of the schedule as a whole step."""
    return None if steps is None else round(tenth * steps / 10)


def event_texts(arm: Arm) -> tuple[str, str]:
    """Collapse and recovery in words: the step, or why there is none."""
    outcome = arm.outcome
    if outcome.collapse_step is not None:
        collapse = step_text(outcome.collapse_step)
    elif outcome.never_learned:
        collapse = "never learned"
    elif outcome.collapse_censored and arm.records:
        last = min(max(arm.by_step), arm.boundary_step or 0)
        collapse = f"not by {step_text(last)}"
    else:
        collapse = UNKNOWN
    if outcome.recovery_step is not None:
        recovery = step_text(outcome.recovery_step)
    elif outcome.recovery_censored:
        recovery = _not_by(arm)
    else:
        recovery = "not needed" if outcome.kind in ("healthy", "late collapse") else UNKNOWN
    return collapse, recovery


def outcomes_text(arms: Sequence[Arm]) -> str:
    """Shares among the runs that finished; their marks and the other runs are counted beside them."""
    finished = [arm for arm in arms if arm.run.state == "finished"]
    marks = Counter(mark for arm in finished for mark in arm.outcome.marks.held)
    others = Counter(arm.run.state for arm in arms if arm.run.state != "finished")
    told = [
        share_text([arm.outcome.kind for arm in finished]),
        ", ".join(f"{marks[mark]} {mark}" for mark in MARKS if marks[mark]),
        ", ".join(f"{count} {state}" for state, count in others.items()),
    ]
    return "; ".join(filter(None, told))


def _grid(
    section: Section, what: str, labels: dict[int, str], field: str, show: Callable[[float], str]
) -> list[Column]:
    """A column for each published step, with that of each decay boundary in its place."""
    columns: list[Column] = []
    changes = _change_columns(section)
    for tenth in PUBLISHED_TENTHS:
        step = published_step(section.steps, tenth)
        while changes and step is not None and changes[0][0] is not None and changes[0][0] < step:
            columns.append(changes.pop(0)[1])
        columns.append(Column(f"{what} {labels[tenth]}", partial(_value_at, step, field), show))
    return [*columns, *(column for _, column in changes)]


def _result_rows(cell: Sequence[Arm], columns: Sequence[Column]) -> list[Row]:
    rows = cell_rows(cell, columns)
    events = [event_texts(arm) for arm in cell]
    told = [(arm.result, *event) for arm, event in zip(cell, events, strict=True)]
    if len(cell) > 1:
        _, collapses, recoveries = zip(*told, strict=True)
        told.append((outcomes_text(cell), counts_text(collapses), counts_text(recoveries)))
    return [row | dict(zip(_EVENTS, event, strict=True)) for row, event in zip(rows, told, strict=True)]


def _not_by(arm: Arm) -> str:
    """How far a run is known not to have recovered; unknown where its last known loss is below U."""
    losses = [(step, loss) for step, row in arm.by_step.items() if (loss := finite(row, LOSS)) is not None]
    unigram = unigram_loss(arm.records)
    if not losses or unigram is None or losses[-1][1] < unigram:
        return UNKNOWN
    return f"not by {step_text(losses[-1][0])}"


def _value_at(step: int | None, field: str, arm: Arm) -> Cell:
    return arm.value(step, field)


def _change_columns(section: Section) -> list[tuple[int | None, Column]]:
    """One column for each decay boundary, with its step; most schedules have one."""
    longest = max((arm.changes for arm in section.arms), key=len)
    if not longest:
        return [(None, Column("Stage 2→", partial(_change_text, 0), str))]
    return [
        (change.step, Column(f"Stage {change.stage}→", partial(_change_text, index), str))
        for index, change in enumerate(longest)
    ]


def _change_text(index: int, arm: Arm) -> Cell:
    """The change of decay, and where it lies if not at a published step."""
    if index >= len(arm.changes):
        return "-" if arm.changes else UNKNOWN
    change = arm.changes[index]
    is_published = change.step in {published_step(arm.steps, tenth) for tenth in PUBLISHED_TENTHS}
    return change.text if is_published else f"{change.text} at {step_text(change.step)}"


def _step_label(steps: int | None, tenth: int) -> str:
    step = published_step(steps, tenth)
    return f"{tenth}/10" if step is None else step_text(step)


def _moments(arm: Arm) -> tuple[int | None, int | None]:
    after = after_step(arm.steps, arm.boundary_step)
    return (None if after is None else arm.boundary_step), after


def _transition(
    name: str,
    title: str,
    what: str,
    field: str,
    figures: Sequence[tuple[str, str, Callable[[float], str]]],
    sections: Sequence[Section],
) -> Table:
    moments = {_moments(section.arms[0]) for section in sections}
    parts, frames = [], []
    for section in sections:
        rows = [row for cell in section.cells() for row in _transition_rows(cell, field, figures)]
        frame = frame_of(rows, KEYS).rename(columns={HIDDEN: "Model"})
        labels = _moment_labels(what, *_moments(section.arms[0]))
        parts.append(Part(section, constants(frame), readable(frame).rename(columns=labels), runs_of(frame)))
        frames.append(frame.rename(columns=labels if len(moments) == 1 else _moment_labels(what, None, None)))
    about = (
        "Before is the boundary record, after the record exactly a tenth of the run later; "
        "what is not on record is missing, never the nearest."
    )
    return Table(name, title, about, together(frames, [] if frames else KEYS), parts)


def _transition_rows(
    cell: Sequence[Arm], field: str, figures: Sequence[tuple[str, str, Callable[[float], str]]]
) -> list[Row]:
    columns = [Column(label, partial(figure, name=key, field=field), show) for label, key, show in figures]
    rows = cell_rows(cell, columns)
    if len(cell) > 1:
        label, key, show = figures[-2] if field == LOSS else figures[-1]
        values = [value for arm in cell if (value := arm.figures[key]) is not None]
        rows[-1][f"{label}, 95%"] = interval_text(values, show)
    return rows


def _moment_labels(what: str, before: int | None, after: int | None) -> dict[str, str]:
    if before is None or after is None:
        return {"before": f"{what} before", "after": f"{what} after"}
    return {
        "before": f"{what} at Step {step_text(before)}",
        "after": f"{what} at Step {step_text(after)}",
    }
