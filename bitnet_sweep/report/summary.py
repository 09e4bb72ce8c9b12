"""The verdict in a few lines: what became of the runs, and what is missing, unfinished or failed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitnet_sweep.exact import counted
from bitnet_sweep.report.arms import Arm, arms_of
from bitnet_sweep.report.read import Evidence
from bitnet_sweep.report.sections import Section, sections_of
from bitnet_sweep.report.settings import UNKNOWN, shown
from bitnet_sweep.report.table import counts_text, loss_text, percent_text
from bitnet_sweep.report.transitions import LOSS, end_value
from bitnet_sweep.store.outcome import KINDS, MARKS
from bitnet_sweep.store.states import REPORTED

if TYPE_CHECKING:
    from bitnet_sweep.report.claims import Asked

QUESTION = "When does the training of a ternary language model collapse, and what brings it back?"


@dataclass(frozen=True)
class Tile:
    """One cell of the verdict's grid: the replicates of one hidden size under one decay."""

    kind: str
    """The outcome or state they share, else *mixed*."""
    text: str
    detail: str
    """Loss at the boundary and at the end."""


@dataclass(frozen=True)
class Verdict:
    """One section at a glance: rows are changes of decay, columns hidden sizes."""

    section: Section
    sizes: list[str]
    rows: list[tuple[str, list[Tile | None]]]
    lines: list[str]
    """A sentence for each row."""


@dataclass(frozen=True)
class Summary:
    """What the top of the report says."""

    name: str
    counts: list[tuple[str, int]]
    """How many runs have which outcome or state, runs in all first."""
    marks: str
    """How many runs have which mark, and of how many that is not known; empty where no run has an outcome."""
    verdicts: list[Verdict]
    gaps: list[tuple[str, str]]
    """Cells that are missing, unfinished or failed: the run and why."""
    remarks: list[str]
    """Whatever else was wrong with what was read, and what was left out."""


@dataclass(frozen=True)
class Study:
    """Evidence, sorted for the tables."""

    evidence: Evidence
    arms: list[Arm]
    """Every run, those of no section included."""
    sections: list[Section]
    claims: Asked | None = None
    """Those that are judged, where any are asked for."""

    @classmethod
    def of(cls, evidence: Evidence, claims: Asked | None = None) -> Study:
        arms = arms_of(evidence)
        sections = sections_of(arms)
        placed = [arm for section in sections for arm in section.arms]
        known = {arm.run_id for arm in placed}
        rest = sorted((arm for arm in arms if arm.run_id not in known), key=lambda arm: arm.order)
        return cls(evidence, [*placed, *rest], sections, claims)

    def gaps(self) -> list[tuple[Arm, str]]:
        """What ``--check`` objects to: of the recorded sweeps, or of all runs where none is recorded."""
        sweeps = self.evidence.sweeps.values()
        recorded = {run_id for sweep in sweeps for run_id in sweep.run_ids}
        return [
            (arm, arm.gap)
            for arm in self.arms
            if arm.gap is not None and (not sweeps or arm.run_id in recorded)
        ]


def summary_of(study: Study) -> Summary:
    """Sum a study up."""
    results = Counter(_plain_result(arm) for arm in study.arms)
    counts = [("runs", len(study.arms))]
    counts += [
        (word, results[word]) for word in [*KINDS[:-1], "outcome unknown", *REPORTED[1:]] if results[word]
    ]
    return Summary(
        name=", ".join(sorted(study.evidence.sweeps)) or "all runs",
        counts=counts,
        marks=_marks(study.arms),
        verdicts=[_verdict(section) for section in study.sections[:_MOST_VERDICTS]],
        gaps=[(f"{arm.run_id} ({arm.label})", gap) for arm, gap in study.gaps()],
        remarks=list(_remarks(study)),
    )


_MOST_VERDICTS = 24
"""Sections that the top of the report sums up."""


def _plain_result(arm: Arm) -> str:
    if arm.run.state != "finished":
        return arm.run.state
    return "outcome unknown" if arm.outcome.kind == UNKNOWN else arm.outcome.kind


def _marks(arms: Sequence[Arm]) -> str:
    judged = [
        arm.outcome.marks for arm in arms if arm.run.state == "finished" and arm.outcome.kind in _MARKED
    ]
    if not judged:
        return ""
    held = Counter(mark for marks in judged for mark in marks.held)
    told = ", ".join(f"{held[mark]} {mark}" for mark in MARKS if held[mark]) or "none"
    unknown = Counter(marks.unknown for marks in judged if marks.unknown)
    for names, count in unknown.items():
        who = "it is" if count == 1 else "they are"
        told += f"; of {counted(count, 'run')} it is unknown whether {who} {' or '.join(names)}"
    return f"Marks: {told}."


_MARKED = ("healthy", "recovered", "stuck", "late collapse")


def _remarks(study: Study) -> Iterable[str]:
    yield from study.evidence.notes
    if not study.arms:
        yield "The store holds no runs."
    for sweep in study.evidence.sweeps.values():
        if sweep.excluded:
            yield f"Sweep {sweep.name} excludes {counted(sweep.excluded, 'point')} of its grid."
    if len(study.sections) > 1:
        differing = ", ".join(study.sections[0].settings)
        yield f"{len(study.sections)} sections, never averaged with one another; they differ in: {differing}."
    if len(study.sections) > _MOST_VERDICTS:
        yield f"The first {_MOST_VERDICTS} sections are summed up here; tables/results.csv has all."
    checked = {arm.run_id for arm, _ in study.gaps()}
    for arm in study.arms:
        if arm.run_id not in checked:
            notes = arm.run.problems if arm.gap is None else [arm.gap]
            yield from (f"{arm.run_id} ({arm.label}): {note}" for note in notes)
    reasons = Counter(
        arm.outcome.reason
        for arm in study.arms
        if arm.run.state == "finished" and arm.outcome.reason is not None and arm.gap is None
    )
    for reason, count in reasons.items():
        yield f"The outcome of {counted(count, 'finished run')} is unknown: {reason}."


def _verdict(section: Section) -> Verdict:
    cells = section.cells()
    sizes = list(dict.fromkeys(cell[0].size for cell in cells))
    rows: dict[str, dict[str, list[Arm]]] = {}
    for cell in cells:
        rows.setdefault(_change_text(cell[0]), {})[cell[0].size] = cell
    grid = [
        (change, [_tile(row[size]) if size in row else None for size in sizes])
        for change, row in rows.items()
    ]
    lines = [_line(change, [arm for cell in row.values() for arm in cell]) for change, row in rows.items()]
    return Verdict(section, sizes, grid, lines)


def _change_text(arm: Arm) -> str:
    return ", ".join(change.text for change in arm.changes) or f"wd2 {shown(arm.wd2)}"


def _tile(cell: Sequence[Arm]) -> Tile:
    words = [_plain_result(arm) for arm in cell]
    kind = words[0] if len(set(words)) == 1 else "mixed"
    n = f" {len(cell)}/{len(cell)}" if len(cell) > 1 and kind != "mixed" else ""
    losses = [(arm.value(arm.boundary_step, LOSS), end_value(arm, LOSS)) for arm in cell]
    known = [(b, e) for b, e in losses if not isinstance(b, str) and not isinstance(e, str)]
    if len(known) > _TILE_VALUES:
        before, end = (statistics.fmean(side) for side in zip(*known, strict=True))
        short = f" ({len(known)}/{len(cell)})" if len(known) < len(cell) else ""
        detail = f"mean {loss_text(before)} → {loss_text(end)}{short}"
    else:
        detail = ", ".join(f"{loss_text(before)} → {loss_text(end)}" for before, end in known)
    return Tile(kind, f"{counts_text(words)}{n}", detail)


_TILE_VALUES = 3
"""A tile of more seeds shows their mean; the tables below have every value."""


def _line(change: str, arms: Sequence[Arm]) -> str:
    """Outcomes with their counts, and by how much the loss fell within a tenth of the run."""
    counts = Counter(_plain_result(arm) for arm in arms)
    outcomes = ", ".join(f"{word} {count} of {len(arms)}" for word, count in counts.most_common())
    held = Counter(mark for arm in arms if arm.run.state == "finished" for mark in arm.outcome.marks.held)
    outcomes += "".join(f", {mark} {held[mark]}" for mark in MARKS if held[mark])
    percents = [p for arm in arms if (p := arm.figures["transition/loss_drop_percent"]) is not None]
    if not percents:
        return f"{change}: {outcomes}."
    low, high = percent_text(min(percents)), percent_text(max(percents))
    span = low if low == high else f"{low} to {high}"
    return f"{change}: {outcomes}; loss {span} within a tenth of the run."
