"""Names and tags a person can read, from a run's config alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bitnet_sweep.code import code
from bitnet_sweep.config import Reuse, RunConfig, plain
from bitnet_sweep.counts import feed_forward_width
from bitnet_sweep.exact import number_text, scientific
from bitnet_sweep.identity import mark
from bitnet_sweep.stages import follow_shorthands, resolve
from bitnet_sweep.wandb_names import MAX_TAG_LENGTH, sweep_tag

MAX_NAME_LENGTH = 128
"""What W&B takes (assumed: its server says so when it refuses, its client does not check)."""

_SAID = ("model.hidden", "wd2", "lr", "seed")
"""In every name, at its head."""

_NOT_SCIENCE = ("store", "track", "sweep", "device", "threads", "checkpoint_every_steps", "log_every_steps")

_SAID_BY_OTHERS = ("stages",)
"""Follow from the shorthands, or have a mark."""

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
    others = [f"{key.split('.')[-1]}={_value(key, value)}" for key, value in changed.items()]
    if not follow_shorthands(config):
        others.insert(0, f"stages={mark(plain(config.stages))}")
    if config.sweep.reuse is Reuse.same_code:
        others.append(f"code={mark(code())}")
    return _cut(" ".join([head, *words, *others]))


def _cut(name: str) -> str:
    """Whole words, and in the place of those that W&B would not take a mark of them all."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    ending = f" ~{mark(name)}"
    return name[: MAX_NAME_LENGTH - len(ending) + 1].rpartition(" ")[0] + ending


def run_tags(config: RunConfig, sweeps: Sequence[str]) -> list[str]:
    """What to filter by: scale, optimizer, weights, a tag a sweep, then the user's own; each once."""
    named = [sweep_tag(name) for name in sweeps]
    tags = [config.scale, config.optimizer.name.name, config.model.weights.name, *named, *config.track.tags]
    return list(dict.fromkeys(tag[:MAX_TAG_LENGTH] for tag in tags if tag))


def _changed(config: RunConfig) -> dict[str, Any]:
    """The keys of a resolved config that its name does not imply yet, with their values."""
    width = feed_forward_width(dataclasses.replace(config.model, ffn=None))
    default = _default(config.steps) | {"model.ffn": width}
    # the chosen scale and schedule say what they set
    default |= {**_preset("scale", config.scale), **_preset("schedule", config.schedule.name)}
    sections = {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config) if _says(f.name)}
    changed = {key: value for key, value in _flat(sections).items() if _says(key) and value != default[key]}
    if "tokenizer.name" in changed:  # GPT-2's vocabulary has one size
        changed.pop("tokenizer.vocab_size", None)
    return changed


@functools.cache
def _default(steps: int) -> dict[str, Any]:
    """The defaults of a run of this length: what follows from the number of steps is no change."""
    return _flat(plain(resolve(RunConfig(steps=steps)))) | {"steps": RunConfig().steps}


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
    return found | {key: value for key, value in _flat(document).items() if key not in named}


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


def _value(key: str, value: object) -> str:
    if key == "data.path":  # too long for a name as a whole
        first = value[0] if isinstance(value, list) else value
        return f"{str(first).rpartition('/')[2][:_PATH]}#{mark(value)}"
    return "off" if key == "optimizer.clip" and value is None else _short(value)


_PATH = 24
"""Characters of a file's name."""


def _short(value: object) -> str:
    """0.05, 1.5e-3, null: a value in as few characters as a person would use, and with all its digits."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 0.01 <= abs(value) < 1e4:
        return number_text(value)
    return scientific(value)
