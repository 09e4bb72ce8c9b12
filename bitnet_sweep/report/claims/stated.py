"""A claim that was stated in words of a file: which runs bear on it, what they show, and what to type."""

from __future__ import annotations

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bitnet_sweep.config import role_of
from bitnet_sweep.exact import number_text, word
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.claims.claim import Claim, Direction, Finding, Unit, Unjudged, beyond, within
from bitnet_sweep.report.claims.look import judged, judged_pair, one_a_seed
from bitnet_sweep.report.claims.named import RunMeasure, outcomes_of
from bitnet_sweep.report.claims.setting import Setting, told
from bitnet_sweep.report.pairs import all_settings, follows
from bitnet_sweep.report.settings import UNKNOWN, setting_text
from bitnet_sweep.roles import Role

Scalar = str | int | float | bool | None
Choices = Mapping[str, Sequence[Scalar]]
"""The values that a setting may have, by key."""


@dataclass(frozen=True)
class Expected:
    """What is expected of a number."""

    sign: str
    """``<``, ``>`` or ``within``."""
    value: float
    margin: float

    def direction(self, measured: float) -> Direction:
        """As claimed, against it, or undecided."""
        if self.sign == "within":
            return within(measured, self.value - self.margin, self.value + self.margin, self.margin)
        return beyond((measured - self.value) * (1 if self.sign == ">" else -1), self.margin)

    @property
    def text(self) -> str:
        value, margin = number_text(self.value), number_text(self.margin)
        if self.sign == "within":
            return f"within {margin} of {value}; undecided up to {number_text(2 * self.margin)}"
        return f"{'below' if self.sign == '<' else 'above'} {value}; undecided within {margin} of it"


@dataclass(frozen=True)
class Difference:
    """Two values of one setting."""

    factor: str
    start: Scalar
    to: Scalar


@dataclass(frozen=True)
class Stated:
    """A claim as its file states it."""

    name: str
    says: str
    source: str
    runs: Choices
    """Only runs with these values bear on it."""
    setting: Choices
    """Where its number was found: runs of another setting are not comparable."""
    measure: RunMeasure | tuple[str, ...]
    """What is read of a run; or outcomes and marks, whose share among the runs of a cell is meant."""
    difference: Difference | None
    expected: Expected
    n: int
    cells: int

    def claim(self) -> Claim:
        """The claim that the ledger judges."""
        share = isinstance(self.measure, tuple)
        return Claim(
            name=self.name,
            says=self.says,
            source=self.source,
            margin=self.expected.text,
            grid=self._grid(),
            look=self._look,
            measure=self._measure_text(),
            show="{:.4g}".format,
            each="cell" if share else "pair" if self.difference else "run",
            cells=self.cells,
            enough=self.n,
            contrasts=(self.difference.factor,) if self.difference else (),
            comparable=self._comparable,
        )

    def _measure_text(self) -> str:
        if isinstance(self.measure, tuple):
            return f"share of {' or '.join(self.measure)}"
        if self.difference is None:
            return self.measure.text
        factor, start, to = self.difference.factor, self.difference.start, self.difference.to
        return f"{self.measure.text}, {factor}={word(to)} minus {word(start)}"

    def _grid(self) -> str:
        """Overrides of a sweep that tests it, with as many seeds as it asks for."""
        choices = {**self.setting, **self.runs}
        if self.difference is not None:
            choices[self.difference.factor] = (self.difference.start, self.difference.to)
        choices = {**choices, "seed": self.runs.get("seed", range(1, self.n + 1))}
        return shlex.join(f"{_typed(key)}={','.join(map(_value, values))}" for key, values in choices.items())

    def _comparable(self, setting: Setting) -> str | None:
        for key, values in self.setting.items():
            text = told(setting.arms[0], key)
            if text not in (UNKNOWN, *_texts(key, values)):
                return f"{key} is {text} and not {' or '.join(_texts(key, values))}"
        return None

    def _look(self, setting: Setting) -> list[Unit]:
        arms = [
            arm
            for arm in setting.arms
            if all(told(arm, key) in _texts(key, values) for key, values in self.runs.items())
        ]
        if self.difference is not None:
            levels = _texts(self.difference.factor, (self.difference.start, self.difference.to))
            arms = [arm for arm in arms if told(arm, self.difference.factor) in levels]
        units = [unit for cell, own in self._cells(arms).items() for unit in self._units(cell, own)]
        return one_a_seed(units) if self._is_of_first_stage else units

    def _units(self, cell: str, arms: Sequence[Arm]) -> list[Unit]:
        if isinstance(self.measure, tuple):
            return [self._share(cell, arms, self.measure)]
        if self.difference is not None:
            return self._pairs(cell, arms, self.measure, self.difference)
        measure = self.measure

        def judge(arm: Arm) -> Finding | Unjudged:
            return self._found(measure(arm))

        return [Unit(cell, arm.seed, (arm,), judged(judge, arm)) for arm in arms]

    @property
    def _is_of_first_stage(self) -> bool:
        """Arms of one trunk are one training up to the boundary, so ``wd2`` makes no other observation."""
        return isinstance(self.measure, RunMeasure) and self.measure.at == "boundary"

    def _cells(self, arms: Sequence[Arm]) -> dict[str, list[Arm]]:
        """Arms equal but for the seed and the two sides of a difference, by what tells them apart."""
        apart = {"seed", *(["wd2"] if self._is_of_first_stage else [])}
        apart |= {self.difference.factor} if self.difference else set()
        settings = [all_settings(arm) for arm in arms]
        keys = [
            key
            for key in dict.fromkeys(key for own in settings for key in own)
            if key not in apart and not follows(key)
            if len({own.get(key, UNKNOWN) for own in settings}) > 1
        ]
        cells: dict[str, list[Arm]] = defaultdict(list)
        for arm, own in zip(arms, settings, strict=True):
            cells[", ".join(f"{key}={own.get(key, UNKNOWN)}" for key in keys)].append(arm)
        return cells

    def _pairs(
        self, cell: str, arms: Sequence[Arm], measure: RunMeasure, difference: Difference
    ) -> list[Unit]:
        """Both sides at one seed; where ``wd2`` makes no cells, it is the same on both sides."""
        factor = difference.factor
        start, to = _texts(factor, (difference.start, difference.to))

        def judge(a: Arm, b: Arm) -> Finding | Unjudged:
            left, right = measure(a), measure(b)
            if isinstance(left, Unjudged):
                return left
            return right if isinstance(right, Unjudged) else self._found(right - left)

        return [
            Unit(cell, a.seed, (a, b), judged_pair(judge, a, b))
            for a in arms
            for b in arms
            if told(a, factor) == start and told(b, factor) == to
            if a.seed == b.seed and (a.wd2 == b.wd2 or factor == "wd2")
        ]

    def _share(self, cell: str, arms: Sequence[Arm], outcomes: Sequence[str]) -> Unit:
        unknown = sum(arm.outcome.kind == UNKNOWN for arm in arms)
        found: Finding | Unjudged
        if unknown:
            found = Unjudged(f"the outcome of {unknown} of its {len(arms)} runs is unknown")
        else:
            held = sum(any(outcome in outcomes for outcome in outcomes_of(arm)) for arm in arms)
            found = self._found(held / len(arms))
        return Unit(cell, None, tuple(arms), found, seeds=tuple(arm.seed for arm in arms))

    def _found(self, value: float | Unjudged) -> Finding | Unjudged:
        return value if isinstance(value, Unjudged) else Finding(self.expected.direction(value), value)


def _texts(key: str, values: Sequence[Scalar]) -> list[str]:
    """Values as :func:`told` has those of a config."""
    return [setting_text({key: value}, key) for value in values]


def _typed(key: str) -> str:
    """A key as it is typed: the choice of a group goes by the group's name."""
    return key.removesuffix(".name") if Role.preset in role_of(key) else key


def _value(value: Scalar) -> str:
    """A value as Hydra's grammar takes it."""
    if not isinstance(value, str) or re.fullmatch(r"[\w./@+-]+", value):
        return word(value)
    return json.dumps(value, ensure_ascii=False)
