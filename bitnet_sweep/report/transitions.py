"""The notes' tables of the stage transition: ``results``, ``loss_transition``, ``token_transition``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.rows import KEYS, Measure, arm_rows, found, merged, readable, tells
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.settings import UNKNOWN
from bitnet_sweep.report.table import (
    HIDDEN,
    NATS,
    SEED,
    Cell,
    Column,
    N,
    Part,
    Row,
    Table,
    count_text,
    counts_text,
    factor_text,
    loss_text,
    percent_text,
    share_text,
    step_text,
)
from bitnet_sweep.store.outcome import MARKS, after_step, finite, unigram_loss

PUBLISHED_TENTHS = (1, 2, 3, 4, 5, 6, 7, 10)
"""The steps of the notes' table, 1k to 10k of 10k, as tenths of any schedule."""

LOSS, TOKENS = "val/loss", "probe/unique_tokens"


def results(sections: Sequence[Section]) -> Table:
    """Hidden by published steps: unique tokens as in the notes, ``val/loss`` beside them, outcomes."""
    same_length = len({section.steps for section in sections}) == 1
    parts: list[Part] = []
    rows: list[Row] = []
    columns = list(KEYS)
    for section in sections:
        real = {k: _step_label(section.steps, k) for k in PUBLISHED_TENTHS}
        labels = real if same_length else {k: f"{k}/10" for k in PUBLISHED_TENTHS}
        changes = _changes(section)
        tokens = _grid(section, changes, Column("Step", count_text), labels, TOKENS)
        losses = _grid(section, changes, Column("loss", loss_text, NATS), labels, LOSS)
        judged = [*(change for _, change in changes), *_EVENTS]
        measures = {measure.column.key: measure for measure in [*tokens, *losses, *_EVENTS]}
        own = [row for cell in section.cells() for row in arm_rows(cell, list(measures.values()))]
        rows += own
        columns += [measure.column for measure in measures.values()]
        steps = {f"{what} {labels[k]}": f"Step {real[k]}" for k in real for what in ("Step", "loss")}
        counted = [(_COUNTED, tokens)] if tells(section, own, [each.column for each in tokens]) else []
        for title, read in (*counted, (_MEASURED, losses), (_JUDGED, judged)):
            named = [replace(m.column, name=steps.get(m.column.key, "")) for m in read]
            places = [key for key in KEYS if key.key in (HIDDEN, SEED, N)]
            parts.append(readable(section, own, [*places, *named], title))
    return Table(
        "results",
        "Complete results",
        "One row an arm (hidden size, second-stage decay); the notes' steps, scaled to the schedule.",
        merged(columns),
        rows,
        parts,
    )


_COUNTED = "Unique tokens predicted over 20 probe contexts, as the notes counted; no measure of quality"
_MEASURED = "Held-out loss (val/loss, nats per token)"
_JUDGED = "The outcome that the held-out losses mean"


def loss_transition(sections: Sequence[Section]) -> Table:
    """Loss before and a tenth of the run after the first decay boundary."""
    figures = {
        "loss_before": Column("Loss before", loss_text, NATS),
        "loss_after": Column("Loss after", loss_text, NATS),
        "loss_drop": Column("Drop", loss_text, NATS, interval_prefix="Drop_"),
        "loss_drop_percent": Column("% Improvement", percent_text, "%"),
    }
    return _transition("loss_transition", "Loss drop at the stage transition", LOSS, figures, sections)


def token_transition(sections: Sequence[Section]) -> Table:
    """Unique tokens before and a tenth of the run after the first decay boundary."""
    figures = {
        "tokens_before": Column("Tokens before", count_text),
        "tokens_after": Column("Tokens after", count_text),
        "tokens_factor": Column("Recovery Factor", factor_text, interval_prefix="Recovery Factor_"),
    }
    return _transition(
        "token_transition", "Token recovery at the stage transition", TOKENS, figures, sections
    )


def end_value(arm: Arm, field: str) -> float | str:
    """A field at the end of the run, else the word for why there is none."""
    return arm.value(arm.steps, field)


def published_step(steps: int | None, tenth: int) -> int | None:
    """A tenth of the schedule as a whole step."""
    return None if steps is None else round(tenth * steps / 10)


def collapse_of(arm: Arm) -> Cell:
    """The step at which a run collapsed, or why there is none."""
    outcome = arm.outcome
    if outcome.collapse_step is not None:
        return Cell(outcome.collapse_step)
    if outcome.never_learned:
        return _in_words("never learned")
    if outcome.collapse_censored and arm.records:
        last = min(max(arm.by_step), arm.boundary_step or 0)
        return _in_words(f"not by {step_text(last)}")
    return Cell(why=UNKNOWN)


def recovery_of(arm: Arm) -> Cell:
    """The step at which a run recovered, or why there is none."""
    outcome = arm.outcome
    if outcome.recovery_step is not None:
        return Cell(outcome.recovery_step)
    if outcome.recovery_censored:
        return _in_words(_not_by(arm))
    return _in_words("not needed" if outcome.kind in ("healthy", "late collapse") else UNKNOWN)


def _in_words(why: str) -> Cell:
    """No step, and yet an answer; not what is unknown."""
    return Cell(why=why, words="" if why == UNKNOWN else why)


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


def outcome_cell(arm: Arm) -> Cell:
    """The outcome of a run; its state where it has none."""
    is_known = arm.run.state == "finished" and arm.outcome.kind != UNKNOWN
    return Cell(arm.result) if is_known else Cell(why=arm.result)


def _steps_over(of: Callable[[Arm], Cell], arms: Sequence[Arm]) -> Cell:
    """The step that several arms agree on, else their steps with counts."""
    cells = [of(arm) for arm in arms]
    if len(set(cells)) == 1:
        return cells[0]
    words = [step_text(cell.value) if isinstance(cell.value, int) else cell.why for cell in cells]
    return Cell(words=counts_text(words))


_EVENTS = (
    Measure(Column("outcome"), outcome_cell, lambda arms: Cell(outcomes_text(arms))),
    Measure(Column("collapse at", step_text, "steps"), collapse_of, partial(_steps_over, collapse_of)),
    Measure(Column("recovery at", step_text, "steps"), recovery_of, partial(_steps_over, recovery_of)),
)


def _grid(
    section: Section,
    changes: Sequence[tuple[int | None, Measure]],
    column: Column,
    labels: dict[int, str],
    field: str,
) -> list[Measure]:
    """A column for each published step, with that of each decay boundary in its place."""
    measures: list[Measure] = []
    waiting = list(changes)
    for tenth in PUBLISHED_TENTHS:
        step = published_step(section.steps, tenth)
        while waiting and step is not None and waiting[0][0] is not None and waiting[0][0] < step:
            measures.append(waiting.pop(0)[1])
        own = replace(column, key=f"{column.key} {labels[tenth]}")
        measures.append(Measure(own, partial(_value_at, step, field)))
    return [*measures, *(change for _, change in waiting)]


def _not_by(arm: Arm) -> str:
    """How far a run is known not to have recovered; unknown where its last known loss is below U."""
    losses = [(step, loss) for step, row in arm.by_step.items() if (loss := finite(row, LOSS)) is not None]
    unigram = unigram_loss(arm.records)
    if not losses or unigram is None or losses[-1][1] < unigram:
        return UNKNOWN
    return f"not by {step_text(losses[-1][0])}"


def _value_at(step: int | None, field: str, arm: Arm) -> Cell:
    return found(arm.value(step, field))


def _changes(section: Section) -> list[tuple[int | None, Measure]]:
    """One column for each decay boundary, with its step; most schedules have one."""
    longest = max((arm.changes for arm in section.arms), key=len)
    stages: list[tuple[int | None, int]] = [(change.step, change.stage) for change in longest]
    return [
        (step, Measure(Column(f"Stage {stage}→", style="change"), partial(_change, index)))
        for index, (step, stage) in enumerate(stages or [(None, 2)])
    ]


def _change(index: int, arm: Arm) -> Cell:
    """The change of decay, and where it lies if not at a published step."""
    if index >= len(arm.changes):
        return Cell(words="-") if arm.changes else Cell(why=UNKNOWN)
    change = arm.changes[index]
    is_published = change.step in {published_step(arm.steps, tenth) for tenth in PUBLISHED_TENTHS}
    return Cell(change.text if is_published else f"{change.text} at {step_text(change.step)}")


def _step_label(steps: int | None, tenth: int) -> str:
    step = published_step(steps, tenth)
    return f"{tenth}/10" if step is None else step_text(step)


def _moments(arm: Arm) -> tuple[int | None, int | None]:
    after = after_step(arm.steps, arm.boundary_step)
    return (None if after is None else arm.boundary_step), after


def _transition(
    name: str,
    title: str,
    field: str,
    figures: dict[str, Column],
    sections: Sequence[Section],
) -> Table:
    measures = [Measure(column, partial(_figure, key, field)) for key, column in figures.items()]
    keys = [replace(key, name="Model") if key.key == HIDDEN else key for key in KEYS]
    read = [*keys, *figures.values(), *(c.bounds for c in figures.values() if c.interval_prefix is not None)]
    parts, rows = [], []
    for section in sections:
        own = [row for cell in section.cells() for row in arm_rows(cell, measures)]
        rows += own
        if not tells(section, own, list(figures.values())):
            continue
        parts.append(readable(section, own, [_with_step(c, *_moments(section.arms[0])) for c in read]))
    about = (
        "Before is the boundary record, after the record exactly a tenth of the run later; "
        "what is not on record is missing, never the nearest."
    )
    return Table(name, title, about, [*KEYS, *figures.values()], rows, parts)


def _figure(name: str, field: str, arm: Arm) -> Cell:
    """A transition figure, else the word for what is missing."""
    value = arm.figures[f"transition/{name}"]
    if value is not None:
        return Cell(value)
    before, after = _moments(arm)
    steps = {"before": [before], "after": [after]}.get(name.rpartition("_")[2], [before, after])
    words = [cell for step in steps if isinstance(cell := arm.value(step, field), str)]
    return Cell(why=words[0] if words else UNKNOWN)


def _with_step(column: Column, before: int | None, after: int | None) -> Column:
    """The column of a moment named by its step, where both steps are known."""
    if before is None or after is None:
        return column
    for moment, step in ((" before", before), (" after", after)):
        if column.key.endswith(moment):
            return replace(column, name=f"{column.key.removesuffix(moment)} at Step {step_text(step)}")
    return column
