"""What became of a run: its outcome, its collapse and recovery steps, and its transition figures.

They look at held-out losses alone, never at token counts: a uniform predictor can score many distinct
tokens. With U = ``ref/unigram_loss``, L_b = ``val/loss`` at the first decay boundary and L_e at the end:

=============  ============================================================================
healthy        L_b < U and L_e < U
recovered      L_b >= U and L_e < U
stuck          L_b >= U and L_e >= U
late collapse  L_b < U and L_e >= U
diverged       a loss stopped being finite, and the run ended there
unknown        one of U, L_b, L_e is not on record (yet)
=============  ============================================================================

A loss alone can mislead, so marks stand beside the outcome. They are read off the record at the end:

==============  ===========================================================================
at unigram      L_e within 0.1 nats of U
hollow          L_e < U, and bypassing all blocks (``blocks/loss_without``) costs less than 0.01 nats
partly dead     a layer (``ternary/zero_frac/<layer>``) whose codes are all zero
underconfident  L_e >= U, and the tempered loss (``val/loss_tempered``) is below U
==============  ===========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bitnet_sweep.records import ZERO_SHARE, Record

Kind = Literal["healthy", "recovered", "stuck", "late collapse", "diverged", "unknown"]
KINDS: tuple[Kind, ...] = ("healthy", "recovered", "stuck", "late collapse", "diverged", "unknown")

AT_UNIGRAM_NATS = 0.1
"""An end loss this close to U is marked *at unigram*."""

HOLLOW_NATS = 0.01
"""Blocks whose bypass costs less are marked *hollow* (fixed before any run was judged by it)."""

AT_UNIGRAM, HOLLOW, PARTLY_DEAD, UNDERCONFIDENT = MARKS = (
    "at unigram",
    "hollow",
    "partly dead",
    "underconfident",
)

_ROUNDING = 1e-9
"""Slack for the decimals of a loss: 8.3 - 8.2 is 0.1 in the records and a little more in binary."""

_Point = tuple[int, float | None]


@dataclass(frozen=True)
class Marks:
    """What stands beside an outcome, each in the order of ``MARKS``."""

    held: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Those that the record cannot tell, being older than the measure or without it."""

    @property
    def noted(self) -> list[str] | None:
        """As ``status.json`` has them: those that hold; None where not all of them can be told."""
        return None if self.unknown else list(self.held)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run; what the records cannot tell is None or False, never a guess.

    Of ``collapse_step``, ``never_learned`` and ``collapse_censored`` at most one is set; none is set
    where the collapse step cannot be known. Likewise ``recovery_step`` and ``recovery_censored``;
    there neither is set where there was nothing to recover from.
    """

    kind: Kind
    reason: str | None = None
    """Why the kind is unknown."""
    at_unigram: bool = False
    """The end loss lies within 0.1 nats of U, on either side."""
    marks: Marks = Marks()
    """What stands beside a healthy, recovered, stuck or late collapsed run."""
    collapse_step: int | None = None
    """First probe after warm-up from which the loss stays >= U until the boundary."""
    never_learned: bool = False
    """No probe up to the boundary, warm-up included, was below U."""
    collapse_censored: bool = False
    """No collapse was reached: the loss at the boundary is below U, or the records end before it."""
    recovery_step: int | None = None
    """First probe after the boundary from which the loss stays < U until the end."""
    recovery_censored: bool = False
    """The loss was >= U at the boundary, and at the end it is >= U or not on record."""
    diverged_step: int | None = None
    """Step of the record on which a loss was no longer finite."""


def outcome_of(
    records: Sequence[Record],
    *,
    steps: int | None,
    boundary_step: int | None,
    warmup_steps: int | None,
    diverged: bool = False,
) -> Outcome:
    """Judge a run by its records.

    Args:
        records: in any order, one a step.
        steps: length of the whole run; None where it is not known, as below.
        boundary_step: the step at which the first decay boundary lies.
        warmup_steps: length of the learning-rate warm-up; only the collapse step depends on it.
        diverged: the status says so. The records say so by themselves if a loss that was finite in
            every earlier record is null in the last one.
    """
    losses = _losses(records, "val/loss")
    at = dict(losses)
    unigram = unigram_loss(records)
    loss_b = None if boundary_step is None else at.get(boundary_step)
    loss_e = None if steps is None else at.get(steps)
    events = _events(losses, unigram, loss_b, loss_e, steps, boundary_step, warmup_steps)
    diverged_step = _diverged_step(records)
    if diverged or diverged_step is not None:
        last_step = losses[-1][0] if losses else None
        return replace(
            events, kind="diverged", diverged_step=last_step if diverged_step is None else diverged_step
        )
    events = replace(events, marks=Marks(unknown=MARKS))
    if unigram is None:
        return replace(events, reason="ref/unigram_loss is not on record, or not one number")
    for name, step, loss in (("decay boundary", boundary_step, loss_b), ("end", steps, loss_e)):
        if loss is None:
            where = "its step is not known" if step is None else f"step {step}"
            return replace(events, reason=f"no val/loss at the {name} ({where})")
    assert loss_b is not None
    assert loss_e is not None
    marks = marks_of(next(record for record in records if record.get("step") == steps), unigram)
    kinds: dict[tuple[bool, bool], Kind] = {
        (True, True): "healthy",
        (False, True): "recovered",
        (False, False): "stuck",
        (True, False): "late collapse",
    }
    return replace(
        events,
        kind=kinds[loss_b < unigram, loss_e < unigram],
        at_unigram=AT_UNIGRAM in marks.held,
        marks=marks,
    )


def marks_of(record: Record, unigram: float) -> Marks:
    """The marks that one record calls for, as if the run ended there.

    Args:
        unigram: U.
    """
    loss, without = finite(record, "val/loss"), finite(record, "blocks/loss_without")
    tempered = finite(record, "val/loss_tempered")
    if loss is None:
        return Marks(unknown=MARKS)
    is_below = loss < unigram
    shares = [value for field, value in record.items() if field.startswith(ZERO_SHARE)]
    found = {
        AT_UNIGRAM: abs(loss - unigram) <= AT_UNIGRAM_NATS + _ROUNDING,
        HOLLOW: is_below and (None if without is None else without - loss < HOLLOW_NATS - _ROUNDING),
        # a layer without codes has no share, and none of its codes is zero
        PARTLY_DEAD: any(share == 1 for share in shares) if shares else None,
        UNDERCONFIDENT: not is_below and (None if tempered is None else tempered < unigram),
    }
    held = tuple(mark for mark in MARKS if found[mark])
    return Marks(held, unknown=tuple(mark for mark in MARKS if found[mark] is None))


def outcome_text(kind: str, marks: Sequence[str] | None) -> str:
    """A noted outcome in words, with its marks: ``recovered, hollow``."""
    if kind in ("diverged", "unknown"):
        return kind
    return ", ".join([kind, *(["marks unknown"] if marks is None else marks)])


def after_step(steps: int | None, boundary_step: int | None) -> int | None:
    """Where *after* the stage transition is read: a tenth of the run behind the boundary."""
    tenth = round((steps or 0) / 10)  # 0 in a run so short that no step lies there
    return None if boundary_step is None or tenth == 0 else boundary_step + tenth


def transition_figures(
    records: Sequence[Record], steps: int | None, boundary_step: int | None
) -> dict[str, float | None]:
    """The stage transition in numbers, as the notes' tables have them.

    Before is the boundary record, after the record at exactly :func:`after_step`, end the record at
    ``steps``; what is not on record is None, never the nearest. ``drop`` keeps the notes'
    sign: after - before, so a loss that falls gives a negative number.
    """
    figures: dict[str, float | None] = {}
    moments = {"before": boundary_step, "after": after_step(steps, boundary_step), "end": steps}
    for name, field in (("loss", "val/loss"), ("tokens", "probe/unique_tokens")):
        at = dict(_losses(records, field))
        for moment, step in moments.items():
            figures[f"transition/{name}_{moment}"] = None if step is None else at.get(step)
    before, after = figures["transition/loss_before"], figures["transition/loss_after"]
    drop = None if before is None or after is None else after - before
    figures["transition/loss_drop"] = drop
    figures["transition/loss_drop_percent"] = 100 * drop / before if drop is not None and before else None
    before, after = figures["transition/tokens_before"], figures["transition/tokens_after"]
    figures["transition/tokens_factor"] = after / before if before and after is not None else None
    return figures


def unigram_loss(records: Sequence[Record]) -> float | None:
    """U, the one value of ``ref/unigram_loss`` in the records; None if there is none or several."""
    values = {value for _, value in _losses(records, "ref/unigram_loss") if value is not None}
    return values.pop() if len(values) == 1 else None


def finite(record: Mapping[str, object], field: str) -> float | None:
    """A field as a finite number; None where it is absent, null or not finite."""
    value = record.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _losses(records: Sequence[Record], field: str) -> list[_Point]:
    """(step, value) by rising step; the value is None where it is absent or not finite."""
    points = [(int(step), finite(r, field)) for r in records if (step := r.get("step")) is not None]
    return sorted(points, key=lambda point: point[0])


def _diverged_step(records: Sequence[Record]) -> int | None:
    """The last record's step if a loss that was finite in every earlier record is null in it.

    Asking for *every* earlier one tells a loss that stopped from one that was never written at all
    its steps, such as published figures with gaps.
    """
    ordered = sorted((r for r in records if r.get("step") is not None), key=lambda r: r["step"] or 0)
    if len(ordered) < 2:
        return None
    *earlier, last = ordered
    for field in ("train/loss_batch", "val/loss"):
        stopped = field in last and finite(last, field) is None
        if stopped and all(finite(record, field) is not None for record in earlier):
            return int(last["step"] or 0)
    return None


def _events(
    losses: list[_Point],
    unigram: float | None,
    loss_b: float | None,
    loss_e: float | None,
    steps: int | None,
    boundary_step: int | None,
    warmup_steps: int | None,
) -> Outcome:
    """The collapse and recovery fields; the kind is filled in by the caller."""
    if unigram is None or boundary_step is None:
        return Outcome("unknown")
    if loss_b is None:
        return Outcome("unknown", collapse_censored=bool(losses) and losses[-1][0] < boundary_step)
    if loss_b < unigram:
        return Outcome("unknown", collapse_censored=True)
    before = [point for point in losses if point[0] <= boundary_step]
    below = any(loss is not None and loss < unigram for _, loss in before)
    collapse_step = None
    if below and warmup_steps is not None:
        after_warmup = [point for point in before if point[0] > warmup_steps]
        collapse_step = _start_of_last_stretch(after_warmup, lambda loss: loss >= unigram)
    recovered = loss_e is not None and loss_e < unigram
    after = [point for point in losses if boundary_step < point[0] <= (steps or 0)]
    return Outcome(
        "unknown",
        collapse_step=collapse_step,
        never_learned=not below and all(loss is not None for _, loss in before),
        recovery_step=_start_of_last_stretch(after, lambda loss: loss < unigram) if recovered else None,
        recovery_censored=not recovered,
    )


def _start_of_last_stretch(points: list[_Point], holds: Callable[[float], bool]) -> int | None:
    """The first step from which ``holds`` to the end; None if never, or if a gap hides where it began."""
    start = None
    for step, loss in reversed(points):
        if loss is None:
            return None
        if not holds(loss):
            break
        start = step
    return start
