"""Names and tags a person can read, from a run's config alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bitnet_sweep.code import code
from bitnet_sweep.config import KNOBS, Reuse, RunConfig, flatten, having, plain
from bitnet_sweep.doors import code_of_parts
from bitnet_sweep.exact import number_text, scientific, word
from bitnet_sweep.identity import mark
from bitnet_sweep.roles import Knob, Role
from bitnet_sweep.stages import follow_shorthands, resolve
from bitnet_sweep.wandb_names import MAX_TAG_LENGTH, sweep_tag

MAX_NAME_LENGTH = 128
"""What W&B takes (assumed: its server says so when it refuses, its client does not check)."""

_HEAD = sorted(having(Role.head), key=lambda knob: knob.rank)
_TAIL = [
    knob
    for knob in KNOBS.values()
    if not knob.role & (Role.head | Role.operational) and knob.key != "stages"  # they have a mark
]
_WORDS = sorted((knob for knob in _TAIL if not knob.label), key=lambda knob: knob.rank)
"""Choices whose value alone says what it is: ``adamw``, ``full``, ``gpt2``."""


def run_name(config: RunConfig) -> str:
    """``h256 wd2=0.05 lr=1.5e-3 s0``, then what differs from the defaults: ``adamw boundary=0.4``.

    Args:
        config: resolved.
    """
    head = [] if config.is_of_transformer else [config.task]
    head += [] if config.has_built_in_model or head else [config.model.name]
    head += [f"{knob.label}{_value(knob, knob.of(config))}" for knob in _HEAD if _is_told(knob, config)]
    changed = _changed(config)
    words = [_value(knob, changed.pop(knob.key)) for knob in _WORDS if knob.key in changed]
    others = [f"{KNOBS[key].label}{_value(KNOBS[key], value)}" for key, value in changed.items()]
    if not follow_shorthands(config):
        others.insert(0, f"stages={mark(plain(config.stages))}")
    if config.sweep.reuse is Reuse.same_code:
        others.append(f"code={mark(code() | code_of_parts(config))}")
    return _cut(" ".join([*head, *words, *others]))


def _cut(name: str) -> str:
    """Whole words, and in the place of those that W&B would not take a mark of them all."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    ending = f" ~{mark(name)}"
    return name[: MAX_NAME_LENGTH - len(ending) + 1].rpartition(" ")[0] + ending


def run_tags(config: RunConfig, sweeps: Sequence[str]) -> list[str]:
    """What to filter by: scale, optimizer and weights (or the task), a tag a sweep, the user's own."""
    named = [sweep_tag(name) for name in sweeps]
    kinds = [config.optimizer.name.name, config.model.weights.name]
    if not config.has_built_in_model:
        kinds = [kinds[0], config.model.name] if config.is_of_transformer else [config.task]
    tags = [config.scale, *kinds, *named, *config.track.tags]
    return list(dict.fromkeys(tag[:MAX_TAG_LENGTH] for tag in tags if tag))


def _changed(config: RunConfig) -> dict[str, Any]:
    """The keys of a resolved config that its name does not imply yet, with their values."""
    width = dataclasses.replace(config.model, ffn=None).ffn_width
    default = _default(config.steps) | {"model.ffn": width}
    # the chosen scale and schedule say what they set
    default |= {**_preset("scale", config.scale), **_preset("schedule", config.schedule.name)}
    told = {key: value for key, value in _told(config).items() if _is_told(KNOBS[key], config)}
    changed = {key: value for key, value in told.items() if value != default[key]}
    if changed.get("tokenizer.name") == "gpt2":  # its vocabulary has one size
        changed.pop("tokenizer.vocab_size", None)
    if "optimizer.torch_class" in changed:  # which says that it is torch
        changed.pop("optimizer.name", None)
    if changed.get("schedule.function") == changed.get("schedule.name"):
        changed.pop("schedule.function", None)
    return {key: value for key, value in changed.items() if not _is_first_version(KNOBS[key], value)}


def _is_first_version(knob: Knob, value: Any) -> bool:
    """Where a part has had one version only, its name says enough."""
    return knob.label == "v" and {*(value if isinstance(value, list) else [value])} == {"1"}


def _is_told(knob: Knob, config: RunConfig) -> bool:
    """Whether it says something of such a run; a task or a model of a user's own is told first of all."""
    return knob.key not in ("task", "model.name") and config.has(knob)


@functools.cache
def _default(steps: int) -> dict[str, Any]:
    """The defaults of a run of this length: what follows from the number of steps is no change."""
    return _told(resolve(RunConfig(steps=steps))) | {"steps": RunConfig().steps}


def _told(config: RunConfig) -> dict[str, Any]:
    return {knob.key: plain(knob.of(config)) for knob in _TAIL}


@functools.cache
def _preset(group: str, name: str) -> dict[str, Any]:
    """What the file of a choice in ``conf/`` sets, its own name apart; nothing where it has none."""
    package = Path(__file__).parents[1]
    conf = package / "conf" if (package / "conf").is_dir() else package.parent / "conf"
    path = conf / group / f"{name}.yaml"
    if "/" in name or not path.is_file():
        return {}
    document = yaml.safe_load(path.read_text("utf-8")) or {}
    found: dict[str, Any] = {}
    for chosen in document.pop("defaults", []):
        for override, choice in chosen.items() if isinstance(chosen, dict) else ():
            other = override.removeprefix("override ").lstrip("/")
            text = (conf / other / f"{choice}.yaml").read_text("utf-8")
            found |= {f"{other}.{key}": value for key, value in (yaml.safe_load(text) or {}).items()}
    named = ("scale", f"{group}.name")
    return found | {key: value for key, value in flatten(document).items() if key not in named}


def _value(knob: Knob, value: object) -> str:
    if Role.path in knob.role and value is not None:  # too long for a name as a whole
        first = value[0] if isinstance(value, list) else value
        return f"{str(first).rpartition('/')[2][:_PATH]}#{mark(value)}"
    if isinstance(value, dict):  # the options of a part
        return " ".join(f"{name}={_short(own)}" for name, own in flatten(value).items())
    if isinstance(value, list):
        return ",".join(map(word, value))
    return knob.null if value is None else _short(value)


_PATH = 24
"""Characters of a file's name."""


def _short(value: object) -> str:
    """0.05, 1.5e-3, null: a value in as few characters as a person would use, and with all its digits."""
    if not isinstance(value, float):
        return word(value)
    if value == 0 or 0.01 <= abs(value) < 1e4:
        return number_text(value)
    return scientific(value)
