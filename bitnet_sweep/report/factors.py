"""What varies between the runs of a report: its factors, each with the settings that move together.

What was swept is read off the runs, so that any store tells it. A config group such as ``optimizer`` or
``scale`` may set several keys at once; they are one factor where they never vary apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bitnet_sweep.config import KNOBS, having, plain
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.pairs import all_settings
from bitnet_sweep.report.sections import CODE, TEXT, Section
from bitnet_sweep.report.settings import (
    BOUNDARY_STEP,
    NO_SUCH,
    UNKNOWN,
    choice_of,
    number,
    with_those_of_others,
)
from bitnet_sweep.roles import Role

_RESOLVED = [knob.key for knob in having(Role.follows) if knob.key != "stages"]
FOLLOWING = (TEXT, *_RESOLVED, BOUNDARY_STEP, "stages")
"""Factors only where no other setting that varies tells them; each is told by those before it, too."""

GROUPS = tuple(knob.key for knob in having(Role.preset))
"""The settings that name the choice of a config group; a scale may set keys of every other group."""

_CHOICES = ("task", "model.name", *GROUPS)
"""Those whose value says enough of what goes with it."""

_OUTSIDE = {"schedule.name": ("boundary", "lr_boundary")}
"""Keys that a group sets beside its own."""

Level = tuple[str, ...]
Values = dict[str, str]


@dataclass(frozen=True)
class Factor:
    """Settings that vary, and only together."""

    name: str
    """As it is typed: a key, or the name of a config group."""
    keys: tuple[str, ...]
    """The first one has the most levels."""

    def level(self, values: Mapping[str, str]) -> Level:
        return tuple(values.get(key, UNKNOWN) for key in self.keys)

    def has(self, level: Level) -> bool:
        """Whether it is the level of a run that has such settings."""
        return {*level} != {NO_SUCH}

    def text(self, level: Level) -> str:
        """A level in words: of a group its choice, of several keys each with its value."""
        words = [
            KNOBS[key].null if value == "null" and key in KNOBS else value
            for key, value in zip(self.keys, level, strict=True)
        ]
        told = dict(zip(self.keys, words, strict=True))
        if self.keys[0] in _CHOICES:
            return choice_of(told, self.keys[0])
        if len(level) == 1:
            return words[0]
        return ", ".join(f"{key.split('.')[-1]}={word}" for key, word in told.items() if word != NO_SUCH)


@dataclass(frozen=True)
class Placed:
    """An arm with all its settings, those that only its section tells included."""

    arm: Arm
    values: Values


def placed_arms(sections: Iterable[Section]) -> list[Placed]:
    """The arms of all sections."""
    arms = [(arm, section.settings) for section in sections for arm in section.arms]
    told = [all_settings(arm) | {key: own[key] for key in _OF_SECTIONS if key in own} for arm, own in arms]
    return [Placed(arm, own) for (arm, _), own in zip(arms, with_those_of_others(told), strict=True)]


_OF_SECTIONS = (TEXT, CODE, "copy")


def factors_of(placed: Sequence[Placed]) -> list[Factor]:
    """Every factor but the seed, in the order of the config."""
    keys = [key for key in dict.fromkeys(key for each in placed for key in each.values) if key != "seed"]
    columns = {key: [each.values.get(key, UNKNOWN) for each in placed] for key in keys}
    varying = {key: column for key, column in columns.items() if len(set(column)) > 1}
    following = [key for known in FOLLOWING for key in varying if key == known or key.startswith(f"{known}.")]
    for place, key in enumerate(following):
        others = [column for name, column in varying.items() if name not in following[place:]]
        if _tells(list(zip(*others, strict=True)), varying[key]):
            del varying[key]
    order = list(varying)
    factors = []
    for head in (
        *(key for key in _CHOICES if key in varying),
        *sorted(varying, key=lambda k: -_levels(varying[k])),
    ):
        if head not in varying:
            continue
        own = varying.pop(head)
        beside = [
            key for key in order if key in varying and _may_set(head, key) and _tells(own, varying[key])
        ]
        for key in beside:
            del varying[key]
        name = head.removesuffix(".name") if head in GROUPS or not beside else head.split(".")[0]
        factors.append(Factor(name, (head, *beside)))
    return sorted(factors, key=lambda factor: order.index(factor.keys[0]))


def cell_text(factors: Sequence[Factor], values: Mapping[str, str]) -> str:
    """A cell by its level of each factor that it has."""
    levels = [(factor, factor.level(values)) for factor in factors]
    return ", ".join(f"{factor.name}={factor.text(level)}" for factor, level in levels if factor.has(level))


def ordered(levels: Iterable[Level]) -> list[Level]:
    """Levels as they are compared: the larger number first, as the notes did; of words the default first."""
    return sorted(levels, key=lambda level: [_rank(text) for text in level])


def _rank(text: str) -> tuple[int, float, str]:
    value = number(text)
    if value is not None:
        return (1, -value, "")
    return (2 if text in (UNKNOWN, NO_SUCH, "null") else 0, 0.0 if text in _DEFAULTS else math.inf, text)


_DEFAULTS = {text for knob in KNOBS.values() if isinstance(text := plain(knob.default), str)}


def _may_set(head: str, key: str) -> bool:
    """Whether one choice could set both: keys of one group, or any key and the scale."""
    return (
        head in ("scale", "task")
        or key in _OUTSIDE.get(head, ())
        or ("." in head and key.split(".")[0] == head.split(".")[0])
    )


def _tells(one: Sequence[object], other: Sequence[str]) -> bool:
    """Whether the first column says what the second one is, row by row."""
    return bool(one) and len(set(zip(one, other, strict=True))) == len(set(one))


def _levels(column: Sequence[str]) -> int:
    return len(set(column))
