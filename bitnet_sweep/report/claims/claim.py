"""What a claim is: a predicate with its source, margin, grid, and the observations that bear on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.comparable import Comparable, anywhere
from bitnet_sweep.report.claims.setting import Setting

Direction = Literal[-1, 0, 1]
"""As claimed, against it, or neither: within the margin, or diverged before it could be told."""

ENOUGH_SEEDS = 3
"""From here on a verdict is *reproduced* or *contradicted*; below it a store only leans."""

_SLACK = 1e-9
"""For the decimals of what was recorded: 8.3 - 8.2 is 0.1 on record and a little more in binary."""


@dataclass(frozen=True)
class Finding:
    """What one observation says."""

    direction: Direction
    value: float | None = None
    """What was measured, in the unit of the claim's ``measure``."""


@dataclass(frozen=True)
class Unjudged:
    """An observation that the claim speaks of and that says nothing."""

    reason: str


@dataclass(frozen=True)
class Unit:
    """One observation: a run, a pair of runs, all runs of a seed that are compared, or those of a cell."""

    cell: str
    """Which part of the grid it is, as text, the seed apart; only the units of a cell are replicates."""
    seed: int | None
    arms: tuple[Arm, ...]
    found: Finding | Unjudged
    covers: tuple[str, ...] = ()
    """The cells that it compares with each other; empty where it is about ``cell`` alone."""
    seeds: tuple[int | None, ...] = ()
    """Those that it sums up; empty where it is about ``seed`` alone."""


Look = Callable[[Setting], Sequence[Unit]]


@dataclass(frozen=True)
class Claim:
    """A claim; ``look`` finds the observations, ``verdict.verdict_of`` turns them into a verdict."""

    name: str
    """A word or a few, in small letters: unique, and the row's first cell."""
    says: str
    source: str
    margin: str
    """What counts as claimed, as against it and as neither; fixed before the runs."""
    grid: str
    """The overrides of a sweep that tests it with three seeds."""
    look: Look
    measure: str
    """What ``Finding.value`` is, with its unit."""
    show: Callable[[float], str] = "{:.2f}".format
    each: Literal["run", "pair", "seed", "cell"] = "run"
    """What a unit is."""
    cells: int = 1
    """In how many cells of its grid it must have been seen with enough seeds to count as reproduced: of a
    claim about every size nothing is known where one was run. One cell is enough to contradict it."""
    enough: int = ENOUGH_SEEDS
    """Seeds that *reproduced* and *contradicted* ask for."""
    contrasts: tuple[str, ...] = ()
    """Settings that it compares runs across, beside those that arms of a setting may differ in anyway."""
    comparable: Comparable = anywhere
    """Asked before the runs of a setting are judged: a number of the notes belongs to their text."""
    exact: bool = False
    """It follows from the config by arithmetic, so one counter-example settles it and seeds are nothing."""

    @property
    def command(self) -> str:
        """What to type to test it."""
        return f"python -m bitnet_sweep -m {self.grid}"


def beyond(value: float, margin: float) -> Direction:
    """As claimed above ``margin``, against below ``-margin``."""
    if value > margin + _SLACK:
        return 1
    return -1 if value < -margin - _SLACK else 0


def opposite(direction: Direction) -> Direction:
    """What it says of the contrary claim."""
    turned: dict[Direction, Direction] = {1: -1, 0: 0, -1: 1}
    return turned[direction]


def within(value: float, low: float, high: float, margin: float) -> Direction:
    """As claimed in ``low`` to ``high``, against it from more than ``margin`` outside."""
    outside = max(low - value, value - high)
    if outside <= _SLACK:
        return 1
    return -1 if outside > margin + _SLACK else 0
