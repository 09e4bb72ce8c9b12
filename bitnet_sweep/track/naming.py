"""Names and tags a person can read, from a run's config alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from bitnet_sweep.config import ConfigError, RunConfig, plain
from bitnet_sweep.counts import feed_forward_width
from bitnet_sweep.exact import number_text, scientific
from bitnet_sweep.identity import mark
from bitnet_sweep.stages import resolve

MAX_NAME_LENGTH = 128
MAX_TAG_LENGTH = 64
"""What W&B takes (assumed: its server says so when it refuses, its client does not check)."""

_SAID = ("model.hidden", "wd2", "lr", "seed")
"""In every name, at its head."""

_NOT_SCIENCE = ("store", "track", "sweep", "device", "threads", "checkpoint_every_steps")

_SAID_BY_OTHERS = ("stages", "data.path")
"""Follow from the shorthands, or are too long for a name."""

_WORDS = (
    "scale",
    "optimizer.name",
    "model.weights",
    "schedule.name",
    "data.name",
    "data.order",
    "tokenizer.name",
    "precision",
)
"""Choices whose value alone says what it is: ``adamw``, ``full``, ``gpt2``."""


def run_name(config: RunConfig) -> str:
    """``h256 wd2=0.05 lr=1.5e-3 s0``, then what differs from the defaults: ``adamw boundary=0.4``.

    Args:
        config: resolved.
    """
    head = f"h{config.model.hidden} wd2={_short(config.wd2)} lr={_short(config.lr)} s{config.seed}"
    changed = _changed(config)
    words = [str(changed.pop(key)) for key in _WORDS if key in changed]
    others = [f"{key.split('.')[-1]}={_short(value)}" for key, value in changed.items()]
    if not _are_of_schedule(config):
        others.insert(0, f"stages={mark(plain(config.stages))}")
    return _cut(" ".join([head, *words, *others]))


def _are_of_schedule(config: RunConfig) -> bool:
    """Whether the shorthands say all of the stages."""
    try:
        return resolve(dataclasses.replace(config, stages=[])).stages == config.stages
    except ConfigError:  # such a boundary is only to be had by hand
        return False


def _cut(name: str) -> str:
    """Whole words, and in the place of those that W&B would not take a mark of them all."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    ending = f" ~{mark(name)}"
    return name[: MAX_NAME_LENGTH - len(ending) + 1].rpartition(" ")[0] + ending


def run_tags(config: RunConfig, group: str) -> list[str]:
    """What to filter by: scale, optimizer, weights, sweep, then the user's own; each once."""
    tags = [config.scale, config.optimizer.name.name, config.model.weights.name, group, *config.track.tags]
    return list(dict.fromkeys(tag[:MAX_TAG_LENGTH] for tag in tags if tag))


def _changed(config: RunConfig) -> dict[str, Any]:
    """The keys of a resolved config that its name does not imply yet, with their values."""
    width = feed_forward_width(dataclasses.replace(config.model, ffn=None))
    default = _default(config.steps) | {"model.ffn": width}
    sections = {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config) if _says(f.name)}
    changed = {key: value for key, value in _flat(sections).items() if _says(key) and value != default[key]}
    if "schedule.name" in changed:  # a named schedule stands for its numbers
        changed = {key: v for key, v in changed.items() if key in _WORDS or not _under(key, ("schedule",))}
    if "tokenizer.name" in changed:  # GPT-2's vocabulary has one size
        changed.pop("tokenizer.vocab_size", None)
    return changed


@functools.cache
def _default(steps: int) -> dict[str, Any]:
    """The defaults of a run of this length: what follows from the number of steps is no change."""
    return _flat(plain(resolve(RunConfig(steps=steps)))) | {"steps": RunConfig().steps}


@functools.cache
def _says(key: str) -> bool:
    """Whether a change of this key belongs into the name's tail."""
    return not _under(key, (*_SAID, *_NOT_SCIENCE, *_SAID_BY_OTHERS))


def _under(key: str, parents: tuple[str, ...]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _short(value: object) -> str:
    """0.05, 1.5e-3, null: a value in as few characters as a person would use, and with all its digits."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 0.01 <= abs(value) < 1e4:
        return number_text(value)
    return scientific(value)
