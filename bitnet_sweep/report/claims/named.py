"""The closed table of what a file of claims can measure, by name; see ``from_file``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bitnet_sweep.records import FIELDS
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Unjudged
from bitnet_sweep.report.claims.measures import above_unigram, figure_of
from bitnet_sweep.store.outcome import KINDS, MARKS, after_step

MOMENTS: Mapping[str, tuple[str, Callable[[Arm], int | None]]] = {
    "end": ("at the end", lambda arm: arm.steps),
    "boundary": ("at the boundary", lambda arm: arm.boundary_step),
    "after": ("a tenth of the run behind the boundary", lambda arm: after_step(arm.steps, arm.boundary_step)),
}
"""When a field is read: the words for it, and its step in a run."""

ABOVE_UNIGRAM = "val/minus_unigram"
"""Computed wherever the unigram loss is on record; not every store has the field itself."""

FIELD_NAMES = tuple(name for name in FIELDS if "/" in name and not name.startswith("perf/"))
"""Fields of a record but for those that time and memory decide, which follow from no setting."""

FIGURES = ("transition/loss_drop", "transition/loss_drop_percent", "transition/tokens_factor")
"""Figures of the stage transition, by their names in W&B's summary."""

SHARE = "outcome share"
"""How many of the runs of a cell, as a fraction, had one of the outcomes or marks that are named."""

OUTCOMES = (*KINDS[:-1], *MARKS)

MEASURES = (SHARE, *FIGURES, *FIELD_NAMES)


@dataclass(frozen=True)
class RunMeasure:
    """What is read of one run."""

    name: str
    at: str | None
    """A moment; None of a figure of the transition."""

    @property
    def text(self) -> str:
        return self.name if self.at is None else f"{self.name} {MOMENTS[self.at][0]}"

    def __call__(self, arm: Arm) -> float | Unjudged:
        """Its value, or why there is none."""
        if self.at is None:
            return figure_of(arm, self.name.removeprefix("transition/"))
        step = MOMENTS[self.at][1](arm)
        if self.name == ABOVE_UNIGRAM:
            return above_unigram(arm, step)
        value = arm.value(step, self.name)
        if isinstance(value, str):
            return Unjudged(f"{self.name} at step {'unknown' if step is None else step} is {value}")
        return value


def outcomes_of(arm: Arm) -> tuple[str, ...]:
    """The outcome of a run and its marks."""
    return (arm.outcome.kind, *arm.outcome.marks.held)
