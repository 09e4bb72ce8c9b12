"""What a run's config says: the axes of the tables, everything else that matters, decay boundaries.

Configs come flat, by dotted key (``report.read``), from this program or any other one, so a field may
be absent: that is unknown.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from bitnet_sweep.config import KNOBS, ModelConfig, RunConfig, flatten, having, role_of
from bitnet_sweep.doors import DOORS
from bitnet_sweep.exact import number_text, read_number
from bitnet_sweep.roles import Role

UNKNOWN = "unknown"

NO_SUCH = "-"
"""A setting that a run's task, model or part does not have."""

AXES = tuple(knob.key for knob in having(Role.axis))
"""What the rows of a table differ in; everything else makes a section."""

SCIENCE_VERSION = "science_version"
"""A setting that no config tells: the meaning that the program gave to all others."""

BOUNDARY_STEP = "boundary_step"
"""A setting that follows from others: where the decay changes first."""


@dataclass(frozen=True)
class Change:
    """A decay boundary."""

    step: int
    stage: int
    """The stage that begins there."""
    before: float
    after: float

    @property
    def text(self) -> str:
        return f"WD {self.before!r}→{self.after!r}"


def settings_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings that can change a result, the axes apart, as text; each option of a part is one.

    ``model.ffn`` is told as a multiple of hidden and the stages without ``wd2``, since both follow
    the axes from row to row.
    """
    kept: dict[str, str] = {}
    config = by_option(config)
    for key in config:
        if not role_of(key) & (Role.axis | Role.operational) and key.partition(".")[0] != "hydra":
            kept[key] = setting_text(config, key)
    hidden, ffn = whole(config.get("model.hidden")), whole(config.get("model.ffn"))
    if "model.ffn" in config and hidden is not None:
        ffn = 2 * hidden if ffn is None else ffn
        kept["model.ffn"] = f"{number_text(ffn / hidden)} x hidden"
    stages = config.get("stages")
    if isinstance(stages, list):
        kept["stages"] = _stages_without_wd2(stages, number(config.get("wd2")))
    change = changes_of(config)
    kept[BOUNDARY_STEP] = shown(change[0].step if change else None)
    return kept


def choice_of(settings: Mapping[str, str], key: str) -> str:
    """A setting; of a group whose choice is a user's own, that one, as it is typed: ``optimizer=mine``."""
    own = settings.get(_OWN_CHOICES.get(key, ""), UNKNOWN)
    return settings.get(key, UNKNOWN) if own in (UNKNOWN, NO_SUCH, "null") else own


_OWN_CHOICES = {"optimizer.name": "optimizer.torch_class", "data.name": "data.source"}


def setting_text(config: Mapping[str, Any], key: str) -> str:
    """A setting as its config tells it: *null* is a value (no clipping), *unknown* is not."""
    value = config.get(key)
    if isinstance(value, str) and key in KNOBS and KNOBS[key].is_text:
        return value
    if isinstance(value, Mapping):  # the options of a part, as a claim names them
        return ", ".join(f"{name}={shown(own)}" for name, own in value.items()) or "none"
    if isinstance(value, list) and key in KNOBS and KNOBS[key].kind == list[str]:
        return ", ".join(map(str, value)) or "none"
    return "null" if key in config and value is None else shown(value)


def with_those_of_others(settings: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Each with the settings that only runs of another task, model or part have, as ``NO_SUCH``.

    Where one of the same task, model and part has it, it stays unknown: nothing tells what it was.
    """
    counts = Counter(key for own in settings for key in own)
    partial = [key for key, count in counts.items() if count < len(settings)]
    owners = {key: {_owner(own, key) for own in settings if key in own} for key in partial}
    return [
        own | {key: NO_SUCH for key in partial if key not in own and _owner(own, key) not in owners[key]}
        for own in settings
    ]


def _owner(own: Mapping[str, str], key: str) -> tuple[str, ...]:
    """What a run must be of to have a setting; empty where every run has it."""
    for options, name in _OPTIONS_OF.items():
        if key.startswith(f"{options}."):
            return (own.get(name, "null"),)
    task, model = own.get("task", RunConfig.task), own.get("model.name", ModelConfig.name)
    if key not in KNOBS or (KNOBS[key].is_of_any_task and KNOBS[key].is_of_any_model):
        return ()
    return (task, model)


_OPTIONS_OF = {door.options: door.name for door in DOORS} | {"metric_options": "metrics"}
"""The knobs with the options of a part, by the knob that names it."""


def by_option(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config by dotted key, with a key for each option of a part."""
    return {key: value for key, value in flatten(config, whole=()).items() if value != {}}


def science_version_of(status: Mapping[str, Any]) -> str:
    """The science version of a run, as its status tells it.

    Before statuses told it, every commit of this program had version 1; a source tree that was changed
    behind its commit (``+``), or is of none, may have had any.
    """
    if SCIENCE_VERSION in status:
        return shown(status[SCIENCE_VERSION])
    origin = status.get("provenance")
    commit = origin.get("commit") if isinstance(origin, dict) else None
    is_committed = isinstance(commit, str) and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", commit)
    return "1" if is_committed else UNKNOWN


def changes_of(config: Mapping[str, Any]) -> list[Change]:
    """The decay boundaries of a config, written-out stages first, else ``boundary``.

    Where decay never changes (wd2 = wd1), the nominal boundary stands.
    """
    stages = config.get("stages")
    changes: list[Change] = []
    if isinstance(stages, list) and stages:
        lengths = [whole(_part(stage, "steps")) for stage in stages]
        decays = [number(_part(stage, "weight_decay")) for stage in stages]
        end = 0
        for index, length in enumerate(lengths[:-1]):
            before, after = decays[index], decays[index + 1]
            if length is None or before is None or after is None:
                changes = []
                break
            end += length
            if before != after:
                changes.append(Change(end, index + 2, before, after))
    if changes:
        return changes
    steps, boundary = whole(config.get("steps")), number(config.get("boundary"))
    wd1, wd2 = number(config.get("wd1")), number(config.get("wd2"))
    if steps is None or boundary is None or wd1 is None or wd2 is None:
        return []
    return [Change(round(boundary * steps), 2, wd1, wd2)]


def stage_ends_of(config: Mapping[str, Any]) -> list[int]:
    """The last step of each stage, from written-out stages, else from the decay boundaries."""
    stages = config.get("stages")
    lengths = [whole(_part(stage, "steps")) for stage in stages] if isinstance(stages, list) else []
    if lengths and None not in lengths:
        return list(accumulate(length for length in lengths if length is not None))
    steps = whole(config.get("steps"))
    return [] if steps is None else [*(change.step for change in changes_of(config)), steps]


def number(value: object) -> float | None:
    """A finite number; YAML reads some spellings of one (1e-3) as text."""
    try:
        found = read_number(value)
        return None if found is None else float(found)
    except OverflowError:  # a whole number of 400 digits
        return None


def whole(value: object) -> int | None:
    """A whole number, with every digit."""
    found = read_number(value)
    return int(found) if found is not None and found == int(found) else None


def shown(value: object) -> str:
    """A setting as text: numbers of equal value read equal, None is unknown."""
    if value is None:
        return UNKNOWN
    found = read_number(value)
    return str(value) if found is None else number_text(found)


def as_read(column: Sequence[str]) -> list[str]:
    """A column of settings for a table: fractions have 12 digits, unless two would then read equal."""
    told = {text: _rounded(text) for text in column}
    return [told[text] for text in column] if len(set(told.values())) == len(told) else list(column)


def all_as_read(settings: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The same, key by key."""
    keys = {key: None for own in settings for key in own}
    columns = {key: as_read([own.get(key, UNKNOWN) for own in settings]) for key in keys}
    return [{key: columns[key][i] for key in own} for i, own in enumerate(settings)]


def _rounded(text: str) -> str:
    found = read_number(text)
    is_fraction = isinstance(found, float) and repr(found) == text
    return f"{found:.12g}" if is_fraction and len(text) > _READABLE else text


_READABLE = 12
"""Digits; the studies' tables have 2/3 with so many."""


def _part(stage: object, key: str) -> object:
    return stage.get(key) if isinstance(stage, dict) else None


def _stages_without_wd2(stages: Sequence[object], wd2: float | None) -> str:
    """Lengths, LR paths and decays; decays are left out where they are ``wd2`` or the first one.

    The first one is ``wd1``, a setting of its own; where decay changes is ``boundary_step``'s part.
    """
    first = number(_part(stages[0], "weight_decay")) if stages else None
    told = []
    for stage in stages:
        decay = number(_part(stage, "weight_decay"))
        phases = [
            part for key in ("decay_phase", "decay_phase_end") if (part := _part(stage, key)) is not None
        ]
        here = [_part(stage, "steps"), _part(stage, "lr"), *phases]
        told.append([*here, *([] if decay in (first, wd2) else [decay])])
    return json.dumps(_uniform(told), sort_keys=True, default=str)


def _uniform(value: object) -> object:
    """Whole numbers as such: W&B gives 0.0 back as 0, and keys in another order."""
    if isinstance(value, dict):
        return {key: _uniform(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_uniform(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
