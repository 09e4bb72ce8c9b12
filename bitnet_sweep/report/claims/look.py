"""The ways to look at a setting: run by run, or pair by pair (by ``report.pairs`` and by no other rule)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import combinations

from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Finding, Look, Unit, Unjudged
from bitnet_sweep.report.claims.setting import FACTORS, NOTED, Setting, told
from bitnet_sweep.report.pairs import Refusal, pair_of
from bitnet_sweep.report.settings import shown

RunJudge = Callable[[Arm], Finding | Unjudged]
PairJudge = Callable[[Arm, Arm], Finding | Unjudged]
"""Takes the arm as the notes trained it, then the one that differs."""


def each_run(judge: RunJudge, **settings: float | str) -> Look:
    """Every run as the notes trained it, but for ``settings``: ``each_run(judge, wd2=0.05)``."""

    def look(setting: Setting) -> list[Unit]:
        return [
            Unit(f"hidden {shown(arm.hidden)}", arm.seed, (arm,), judged(judge, arm))
            for arm in setting.as_noted(but=settings)
            if all(told(arm, key) == shown(value) for key, value in settings.items())
        ]

    return look


def each_first_stage(judge: RunJudge, *, other: str | None = None) -> Look:
    """Every first stage as the notes trained it; with ``other``, those that differ in this setting.

    ``wd2`` may be any. Runs that differ in it alone have one first stage between them and give one unit.
    """

    def look(setting: Setting) -> list[Unit]:
        units = []
        for arm in setting.as_noted(but=["wd2", *([other] if other else [])]):
            cell = f"hidden {shown(arm.hidden)}"
            if other is not None:
                if told(arm, other) == noted(other):
                    continue
                cell += f" {other}={told(arm, other)}"
            units.append(Unit(cell, arm.seed, (arm,), judged(judge, arm)))
        return one_a_seed(units)

    return look


def each_pair(
    judge: PairJudge, factor: str, *, value: float | str | None = None, first_stage: bool = False
) -> Look:
    """The notes' run against each that differs in ``factor`` alone, the same seed and size.

    Args:
        factor: a setting of ``FACTORS``, or ``wd2``.
        value: of the other run; None is any.
        first_stage: the judge looks no further than the boundary, so ``wd2`` may be any that both have.
    """
    free = ["wd2"] if first_stage else []

    def look(setting: Setting) -> list[Unit]:
        places: dict[tuple[object, ...], list[Arm]] = defaultdict(list)
        for arm in setting.as_noted(but=[factor, *free]):
            places[arm.hidden, arm.seed, *(told(arm, key) for key in free)].append(arm)
        units = []
        for arms in places.values():
            for base in (arm for arm in arms if told(arm, factor) == noted(factor)):
                for other in arms:
                    theirs = told(other, factor)
                    if theirs != noted(factor) and (value is None or theirs == shown(value)):
                        cell = f"hidden {shown(base.hidden)} {factor}={theirs}"
                        found = judged_pair(judge, base, other)
                        units.append(Unit(cell, base.seed, (base, other), found))
        return one_a_seed(units)

    return look


def noted(key: str) -> str:
    """The notes' own value of a setting, as text."""
    return shown(NOTED[key])


def pairs_in(arms: Collection[Arm]) -> Iterator[tuple[Arm, Arm]]:
    """All pairs of a setting, whatever the factor; arms are sorted by it first, for there are many."""
    factors = (*FACTORS, "wd2")
    for factor in factors:
        places: dict[tuple[object, ...], list[Arm]] = defaultdict(list)
        for arm in arms:
            rest = (told(arm, key) for key in factors if key != factor)
            places[arm.hidden, arm.seed, *rest].append(arm)
        for alike in places.values():
            for a, b in combinations(alike, 2):
                if not isinstance(pair_of(a, b), Refusal):
                    yield a, b


def judged(judge: RunJudge, arm: Arm) -> Finding | Unjudged:
    """What a judge says of a run; one that diverged before it could be judged is undecided."""
    found = judge(arm)
    return Finding(0) if isinstance(found, Unjudged) and _diverged(arm) else found


def judged_pair(judge: PairJudge, base: Arm, other: Arm) -> Finding | Unjudged:
    """What a judge says of two runs that are a pair; likewise."""
    verdict = pair_of(base, other)
    if isinstance(verdict, Refusal):
        return Unjudged(f"no pair: {verdict.reason}")
    found = judge(base, other)
    return Finding(0) if isinstance(found, Unjudged) and (_diverged(base) or _diverged(other)) else found


def _diverged(arm: Arm) -> bool:
    """A result that is neither as claimed nor against it: it must not be passed over."""
    return arm.outcome.kind == "diverged"


def one_a_seed(units: Sequence[Unit]) -> list[Unit]:
    """One unit for each cell and seed, a judged one where there is one."""
    kept: dict[tuple[str, int | None], Unit] = {}
    for unit in units:
        known = kept.get((unit.cell, unit.seed))
        if known is None or (isinstance(known.found, Unjudged) and isinstance(unit.found, Finding)):
            kept[unit.cell, unit.seed] = unit
    return list(kept.values())
