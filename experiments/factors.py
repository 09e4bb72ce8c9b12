"""Which factor makes the collapse and which the recovery, judged one at a time?

    python experiments/factors.py experiments/005_root_cause

Reads the store and writes ``tables/factors.csv``: a row for each change of one setting in each surrounding
of the other settings, with the held-out loss of both sides at the boundary and at the end. The criterion was
fixed before the runs (conf/experiment/005_root_cause.yaml): a factor makes the collapse if switching it,
alone, moves the loss at the boundary across the unigram loss in every seed, and the recovery if it moves the
loss at the end so. The second stage's decay comes after the boundary, so it is judged at the end alone, and
the other factors' boundaries do not depend on it. Fewer than three seeds carry no verdict. Nor does the end
of a pair of which a side had not collapsed: it had nothing to recover from (added before results were read).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from bitnet_sweep.report import make_report
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import ENOUGH_SEEDS
from bitnet_sweep.report.pairs import Pair, pair_of
from bitnet_sweep.report.settings import shown
from bitnet_sweep.store.outcome import unigram_loss

FACTORS = {
    "optimizer.name": ("adam_l2", "adamw"),
    "optimizer.decay": ("all", "matrices"),
    "model.weights": ("ternary", "full"),
    "model.activations": ("int8", "full"),
    "wd2": ("0.0", "0.05", "0.1"),
}
"""Each factor's values, from the notes' own on."""

AT = {"boundary": "collapse", "end": "recovery"}
"""Where the loss is read, and what moving it across the unigram loss there makes."""


@dataclass(frozen=True)
class Sides:
    """The held-out losses of one pair at one place, and the unigram loss of their text, in nats."""

    before: float
    after: float
    unigram: float
    collapsed: bool = True
    """Both sides lay above the unigram loss at the boundary, or that is what is asked."""

    @property
    def crossed(self) -> int:
        """1 if the change brings the loss below that of token frequencies alone, -1 above it, else 0."""
        return (self.after < self.unigram) - (self.before < self.unigram)


def level(arm: Arm, factor: str) -> str:
    """The arm's value of a factor."""
    return repr(arm.wd2) if factor == "wd2" else arm.settings[factor]


def pairs_of(arms: Sequence[Arm]) -> Iterator[tuple[str, Arm, Arm]]:
    """All pairs that differ in one factor alone, with it; the side nearer to the notes comes first."""
    for a, b in permutations(arms, 2):
        pair = pair_of(a, b)
        if isinstance(pair, Pair) and pair.factor in FACTORS:
            values = FACTORS[pair.factor]
            if values.index(level(a, pair.factor)) < values.index(level(b, pair.factor)):
                yield pair.factor, a, b


def rows_of(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """A row for each factor, change and surrounding, at each place where it can matter.

    Raises:
        ValueError: the arms differ in more than the factors and the seed.
    """
    sides: dict[tuple[str, ...], dict[int | None, Sides | None]] = defaultdict(dict)
    for factor, a, b in pairs_of(arms):
        change = f"{level(a, factor)} to {level(b, factor)}"
        for place in AT:
            if place == "boundary" and factor == "wd2":
                continue
            later = {"wd2"} if place == "boundary" else set()
            held = " ".join(f"{key}={level(a, key)}" for key in FACTORS if key not in {factor, *later})
            found = sides[place, factor, change, shown(a.hidden), held]
            if place == "end" and a.seed in found:
                raise ValueError(f"two pairs of one seed at {held}: the store varies more than the factors")
            found[a.seed] = _sides(a, b, place)
    return [_row(key, found) for key, found in sorted(sides.items())]


def _sides(a: Arm, b: Arm, place: str) -> Sides | None:
    """None where a loss is not known, as after a divergence."""
    boundary = [arm.value(arm.boundary_step, "val/loss") for arm in (a, b)]
    before, after = boundary if place == "boundary" else (arm.value(arm.steps, "val/loss") for arm in (a, b))
    unigram = unigram_loss(a.records)
    if isinstance(before, str) or isinstance(after, str) or unigram is None:
        return None
    collapsed = all(isinstance(loss, float) and loss >= unigram for loss in boundary)
    return Sides(before, after, unigram, collapsed or place == "boundary")


def _row(key: tuple[str, ...], found: dict[int | None, Sides | None]) -> dict[str, Any]:
    place, factor, change, hidden, held = key
    known = [sides for sides in found.values() if sides is not None]
    return {
        "at": place,
        "factor": factor,
        "change": change,
        "hidden": hidden,
        "held": held,
        "n": f"{len(known)} of {len(found)}",
        "mean_loss_before": f"{mean(s.before for s in known):.3f}" if known else "",
        "mean_loss_after": f"{mean(s.after for s in known):.3f}" if known else "",
        "unigram_loss": f"{mean(s.unigram for s in known):.3f}" if known else "",
        "crossed": sum(sides.crossed != 0 for sides in known),
        "verdict": _verdict(place, list(found.values())),
    }


def _verdict(place: str, found: Sequence[Sides | None]) -> str:
    known = [sides for sides in found if sides is not None]
    ways = {sides.crossed for sides in known}
    if len(known) < ENOUGH_SEEDS:
        return "too few seeds"
    if not any(sides.collapsed for sides in known):
        return "nothing to recover from"
    if len(known) < len(found) or not all(sides.collapsed for sides in known) or len(ways) > 1:
        return "in some seeds" if ways != {0} else "undecided"
    return "does not" if ways == {0} else f"makes the {AT[place]}"


def table(store: Path) -> str:
    """As CSV."""
    arms = make_report([store]).study.arms
    return pd.DataFrame(rows_of(arms), dtype=object).to_csv(index=False, lineterminator="\n")


if __name__ == "__main__":
    experiment = Path(sys.argv[1])
    (experiment / "tables" / "factors.csv").write_text(table(experiment / "store.tar.gz"))
