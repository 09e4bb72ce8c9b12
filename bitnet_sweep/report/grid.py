"""Which point of the grid a missing run is, as far as the sweep's own file tells.

A sweep records its overrides and its run_ids. Hydra walks the product of the comma lists in the order
they were typed, so the n-th run_id is the n-th point, *if* the lists and the ids are still one to one.
That is checked against every run that is there; one disagreement, and no missing run is placed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

from bitnet_sweep.exact import read_number
from bitnet_sweep.report.settings import AXES, changes_of, shown
from bitnet_sweep.store.asked_runs import Sweep


def points_of(sweep: Sweep, configs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The config of each run of ``sweep`` that has none, where it can be told.

    It is that of a run which is there and differs in the axes of the tables alone, with those replaced.

    Args:
        configs: flat config of each run_id of the sweep, empty where the run is missing.
    """
    points = grid_of(sweep)
    if points is None:
        return {}
    placed = dict(zip(sweep.run_ids, points, strict=True))
    there = {run_id: config for run_id, config in configs.items() if config}
    if not all(_agrees(config, placed[run_id]) for run_id, config in there.items()):
        return {}
    told: dict[str, dict[str, Any]] = {}
    for run_id, point in placed.items():
        if run_id in there:
            continue
        rest = {key: value for key, value in point.items() if key not in AXES}
        sibling = next((config for config in there.values() if _agrees(config, rest)), None)
        if sibling is not None:
            told[run_id] = _derived(sibling, {key: point[key] for key in AXES if key in point})
    return told


def grid_of(sweep: Sweep) -> list[dict[str, Any]] | None:
    """The points of the swept settings, in Hydra's order; None where they are not plain lists, one to one."""
    keys: list[str] = []
    choices: list[list[Any]] = []
    for override in sweep.overrides:
        key, equals, text = override.partition("=")
        if key.lstrip("+~").startswith("hydra"):
            continue
        if not equals or any(mark in text for mark in "([{\"'"):
            return None
        if "," in text:
            keys.append(key.lstrip("+"))
            choices.append([_value(choice.strip()) for choice in text.split(",")])
    if math.prod(map(len, choices)) != len(sweep.run_ids):  # zipped or excluded ones can be millions
        return None
    return [dict(zip(keys, point, strict=True)) for point in product(*choices)]


def _agrees(config: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    """Every setting of the point is the config's; ``optimizer=adamw`` sets ``optimizer.name``."""
    return all(
        any(name in config and _same(config[name], value) for name in (key, f"{key}.name"))
        for key, value in point.items()
    )


def _value(text: str) -> object:
    """A choice as Hydra reads it; YAML takes ``010`` for eight."""
    words: dict[str, object] = {"null": None, "true": True, "false": False}
    found = read_number(text)
    return words.get(text.lower(), text) if found is None else found


def _same(left: object, right: object) -> bool:
    return shown(left) == shown(right)


def _derived(config: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, Any]:
    """The sibling's config with the axes replaced, and what follows from them made to follow."""
    derived = {**config, **axes}
    hidden, ffn = config.get("model.hidden"), config.get("model.ffn")
    if "model.hidden" in axes and isinstance(hidden, int) and isinstance(ffn, int):
        derived["model.ffn"] = ffn * int(axes["model.hidden"]) // hidden
    stages, changes = config.get("stages"), changes_of(config)
    if "wd2" in axes and isinstance(stages, list) and changes:
        start = 0
        derived["stages"] = []
        for stage in stages:
            is_later = start >= changes[0].step and stage.get("weight_decay") == config.get("wd2")
            derived["stages"].append({**stage, "weight_decay": axes["wd2"]} if is_later else stage)
            start += stage.get("steps", 0)
    return derived
