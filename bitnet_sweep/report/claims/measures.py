"""What judges read of a run: heights above the unigram loss, figures of the transition, returns.

All of it comes from ``store.outcome``; what is not on record is :class:`Unjudged`, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Finding, Unjudged, beyond, within
from bitnet_sweep.report.settings import whole
from bitnet_sweep.report.transitions import LOSS
from bitnet_sweep.store.outcome import AT_UNIGRAM_NATS, outcome_of, unigram_loss

MARGIN = f"{AT_UNIGRAM_NATS:g} nats of U"


def above_unigram(arm: Arm, step: int | None) -> float | Unjudged:
    """``val/loss`` at exactly ``step`` minus the unigram loss, in nats; below 0 something was learned."""
    unigram = unigram_loss(arm.records)
    if unigram is None:
        return Unjudged("ref/unigram_loss is not on record")
    loss = arm.value(step, LOSS)
    if isinstance(loss, str):
        return Unjudged(f"val/loss at step {'unknown' if step is None else step} is {loss}")
    return loss - unigram


def collapsed(arm: Arm) -> Finding | Unjudged:
    """As claimed where the held-out loss at the boundary lies above the unigram loss."""
    height = above_unigram(arm, arm.boundary_step)
    return height if isinstance(height, Unjudged) else Finding(beyond(height, AT_UNIGRAM_NATS), height)


def collapsed_clearly(arm: Arm) -> Unjudged | None:
    """None if it collapsed; else why there was nothing to recover from."""
    found = collapsed(arm)
    if isinstance(found, Unjudged):
        return found
    return None if found.direction == 1 else Unjudged("it had not collapsed at the boundary")


def figure_of(arm: Arm, name: str) -> float | Unjudged:
    """A figure of ``store.outcome.transition_figures``."""
    value = arm.figures[f"transition/{name}"]
    return Unjudged(f"{name.replace('_', ' ')} is not on record") if value is None else value


def figure_within(name: str, low: float, high: float, margin: float) -> Callable[[Arm], Finding | Unjudged]:
    """A judge: as claimed where that figure lies in ``low..high``; undecided up to ``margin`` outside."""

    def judge(arm: Arm) -> Finding | Unjudged:
        value = figure_of(arm, name)
        return value if isinstance(value, Unjudged) else Finding(within(value, low, high, margin), value)

    return judge


def recovery_after(arm: Arm, step: int) -> int | Unjudged | None:
    """First probe after ``step`` from which the loss stays below U to the end; None: not by the end.

    Unjudged where the run had not collapsed at ``step`` or diverged, or where it cannot be told.
    """
    outcome = outcome_of(
        arm.records,
        steps=arm.steps,
        boundary_step=step,
        warmup_steps=whole(arm.run.config.get("warmup_steps")),
        diverged=arm.outcome.kind == "diverged",  # its status may say so, and its records not
    )
    if outcome.kind == "diverged":
        return Unjudged("it diverged")
    if outcome.kind == "unknown":
        return Unjudged(outcome.reason or "its outcome is unknown")
    if outcome.kind in ("healthy", "late collapse"):
        return Unjudged(f"it had not collapsed by step {step}")
    if outcome.recovery_censored:
        return None
    if outcome.recovery_step is None:
        return Unjudged("a gap in its records hides when it recovered")
    return outcome.recovery_step
