"""When a run in training has collapsed and when it has come back, for whoever wants to be told at once.

``store.outcome`` judges a run by the first decay boundary and the end. A run in training has no end yet,
so an alert judges by the records so far, from the first decay boundary on, with U = ``ref/unigram_loss``:

- *collapse* is established by the first record whose held-out loss is not below U;
- *recovery* by the first record after that one whose loss is below U.

A loss above U before the boundary is no news: every run begins there, some never come below it, and §6
counts a collapse only if it lasts until the boundary. So an alert at the boundary is what §6 says of the
boundary, whatever follows. A later one holds so far: if the loss crosses U again, the run's outcome at the
end, which W&B shows in its summary, is another. A loss that is not on record decides nothing.
An alert names the marks that its record calls for, as far as they are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitnet_sweep.records import Record
from bitnet_sweep.store.outcome import finite, marks_of, unigram_loss

COLLAPSE, RECOVERY = "collapse", "recovery"


@dataclass(frozen=True)
class Alert:
    """One thing to tell about a run."""

    kind: str
    """collapse or recovery; each is told once a run."""
    step: int
    text: str


def alerts_of(records: Sequence[Record], boundary_step: int) -> list[Alert]:
    """What there has been to tell of a run so far: nothing, the collapse, or it and the recovery.

    Args:
        records: from step 1 on, by rising step; more records never change or remove an alert.
        boundary_step: the step at which the first decay boundary lies.
    """
    unigram = unigram_loss(records)
    if unigram is None:
        return []
    found: list[Alert] = []
    for record in records:
        step, loss = int(record["step"] or 0), finite(record, "val/loss")
        if step < boundary_step or loss is None:
            continue
        values = f"held-out loss {loss:.3f}, unigram loss {unigram:.3f}"
        held = marks_of(record, unigram).held
        marks = f" Marks: {', '.join(held)}." if held else ""
        where = "at the decay boundary" if step == boundary_step else f"decay boundary: step {boundary_step}"
        if not found and loss >= unigram:
            found.append(Alert(COLLAPSE, step, f"Collapsed at step {step} ({where}): {values}.{marks}"))
        elif found and loss < unigram:
            text = f"Below the unigram loss at step {step} ({where}): {values}.{marks}"
            found.append(Alert(RECOVERY, step, text))
            break
    return found
