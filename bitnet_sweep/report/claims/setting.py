"""Runs that may speak to one claim together, and which of them were trained as the notes trained.

A setting holds arms that are equal in all that no claim contrasts: scale, lengths, model, text,
precision and whatever else. A verdict is given within a setting and never over several.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bitnet_sweep.config import ConfigError, from_plain, having, plain, role_of
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.sections import TEXT, Section, telling_keys, text_of
from bitnet_sweep.report.settings import (
    BOUNDARY_STEP,
    UNKNOWN,
    all_as_read,
    number,
    setting_text,
    shown,
    whole,
)
from bitnet_sweep.report.transitions import LOSS
from bitnet_sweep.roles import Role
from bitnet_sweep.stages import resolve
from bitnet_sweep.store.outcome import finite, unigram_loss

NOTED: dict[str, str | float] = {
    "optimizer.name": "adam_l2",
    "model.weights": "ternary",
    "lr": 0.0015,
    "wd1": 0.1,
    "wd2": 0.0,
    "boundary": 0.5,
    "lr_boundary": 0.5,
    "model.activations": "int8",
    "optimizer.clip": 1.0,
    "optimizer.decay": "all",
    "loss.label_smoothing": 0.0,
    "loss.z_loss": 0.0,
    "schedule.lr_bend_from": 2 / 3,
    "schedule.lr_bend_to": 2 / 3,
    "schedule.lr_final": 0.001,
}
"""How the notes trained. A config that leaves one out, as another program's may, is not said to differ in it,
unless every config says it (``Role.basic``)."""

FACTORS = (
    "optimizer.name",
    "model.weights",
    "lr",
    "boundary",
    "lr_boundary",
    "optimizer.clip",
    "loss.label_smoothing",
)
"""What claims contrast besides ``wd2``; arms of one setting may differ in these."""


@dataclass(frozen=True)
class Setting:
    """Arms equal in all but hidden, ``wd2``, seed and the factors."""

    label: str
    arms: list[Arm]
    """Finished ones alone, by hidden, ``wd2`` and seed."""

    @cached_property
    def never_learns(self) -> bool:
        """No arm was below the unigram loss at any probe, of whatever optimizer or decay.

        A setting too short to learn in looks like one that collapses and does not recover.
        """
        heights = [
            loss - unigram
            for arm in self.arms
            if (unigram := unigram_loss(arm.records)) is not None
            for record in arm.records
            if (loss := finite(record, LOSS)) is not None
        ]
        return bool(heights) and min(heights) >= 0

    def as_noted(self, *, but: Collection[str] = ()) -> list[Arm]:
        """The arms trained as the notes trained, ``but`` for these settings, which may be any."""
        return [arm for arm in self.arms if is_noted(arm, but)]


def is_noted(arm: Arm, but: Collection[str] = ()) -> bool:
    """Whether the arm's config has the notes' values; one that must be told and is not is none."""
    return all(
        told(arm, key) == shown(value)
        for key, value in NOTED.items()
        if key not in but and (key in arm.run.config or Role.basic in role_of(key))
    )


def told(arm: Arm, key: str) -> str:
    """A setting of the arm, as its config tells it."""
    return setting_text(arm.run.config, key)


def settings_in(sections: Sequence[Section], contrasts: Collection[str] = ()) -> list[Setting]:
    """Sort the finished arms of all sections into settings, by label; one without records says nothing.

    Args:
        contrasts: settings that arms may differ in besides the factors.
    """
    groups: dict[str, list[Arm]] = defaultdict(list)
    for section in sections:
        copy = {"copy": section.settings["copy"]} if "copy" in section.settings else {}
        for arm in section.arms:
            if arm.run.state == "finished" and arm.records and follows_schedule(arm.run.config):
                groups[json.dumps(_common(arm, contrasts) | copy, sort_keys=True)].append(arm)
    common = all_as_read([json.loads(key) for key in groups])
    telling = ["scale", "steps", *(key for key in telling_keys(common) if key not in ("scale", "steps"))]
    labels = [", ".join(f"{key}={own.get(key, UNKNOWN)}" for key in telling) for own in common]
    settings = [
        Setting(label, sorted(arms, key=lambda arm: arm.order))
        for label, arms in zip(labels, groups.values(), strict=True)
    ]
    return sorted(settings, key=lambda setting: setting.label)


def _common(arm: Arm, contrasts: Collection[str]) -> dict[str, str]:
    """Without the factors, and what follows from them: a run whose stages do not is in no setting."""
    of_factors = (*FACTORS, *contrasts, "stages", BOUNDARY_STEP)
    return {key: text for key, text in arm.settings.items() if key not in of_factors} | {TEXT: text_of(arm)}


def follows_schedule(config: dict[str, Any]) -> bool:
    """Whether written-out stages are those that ``lr``, ``boundary`` and the like stand for.

    Stages of one's own may have any learning rates and decays, which those settings then do not tell.
    """
    stages = config.get("stages")
    if not isinstance(stages, list) or not stages:
        return True
    if whole(config.get("steps")) is None:
        return False
    given = {knob.key: number(config.get(knob.key)) for knob in having(Role.in_stages)}
    try:
        wanted = resolve(from_plain({key: value for key, value in given.items() if value is not None}))
        expected = list(_numbers(plain(wanted.stages)))
    except ConfigError:
        return False
    found = list(_numbers(stages))
    return len(found) == len(expected) and all(
        name == other and math.isclose(value, wants, rel_tol=1e-9, abs_tol=1e-15)
        for (name, value), (other, wants) in zip(found, expected, strict=True)
    )


def _numbers(document: object, name: str = "") -> Iterable[tuple[str, float]]:
    """Every number of a document with its path, by path."""
    if isinstance(document, dict):
        for key in sorted(document, key=str):
            yield from _numbers(document[key], f"{name}.{key}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _numbers(value, f"{name}[{index}]")
    else:
        found = number(document)
        yield name, math.nan if found is None else found
