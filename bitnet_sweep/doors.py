"""Where a config names its parts, and how a command line's names become parts with options and a version."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from bitnet_sweep.config import ConfigError, RunConfig, plain, value_of
from bitnet_sweep.exact import word
from bitnet_sweep.own_code import require_plugin
from bitnet_sweep.parts import Kind, find, known, look_for


@dataclass(frozen=True)
class Door:
    """Where a config names a part."""

    kind: Kind
    name: str
    """The key of its name; likewise the others."""
    options: str
    version: str
    has_others: bool = False
    """A name may also be one that no part has; whoever makes it refuses what it does not know."""


DOORS = (
    Door("model", "model.name", "model.options", "model.version"),
    Door("quantiser", "model.quantiser", "model.quantiser_options", "model.quantiser_version"),
    Door("optimizer", "optimizer.torch_class", "optimizer.options", "optimizer.version", has_others=True),
    Door("schedule", "schedule.function", "schedule.options", "schedule.version"),
    Door("data", "data.source", "data.options", "data.version"),
    Door("task", "task", "task_options", "task_version"),
)


def settled(config: RunConfig) -> RunConfig:
    """The config of a command line with its parts found: options checked and filled in, versions noted.

    Not for a config out of a store, which says all of it: this may import what the config names.

    Raises:
        ConfigError: there is no such part or module, or an option is wrong.
    """
    for module in config.plugins:
        require_plugin(module)
    for door in DOORS:
        name, given = value_of(config, door.name), value_of(config, door.options)
        if name is None:
            found = None
        elif door.has_others:
            found = look_for(door.kind, name, config.plugins)
        else:
            found = find(door.kind, name, config.plugins, door.name)
        if found is None:
            if given and not door.has_others:
                raise ConfigError(door.options, word(given), f"needs {door.name}")
            continue
        found.check_version(value_of(config, door.version), door.version)
        options = found.options_of(given or {}, door.options)
        if options is not None:
            config = _with_value(config, door.options, plain(options))
        config = _with_value(config, door.version, found.version)
    return _with_metrics(config)


def _with_metrics(config: RunConfig) -> RunConfig:
    """The config with its metrics found: options checked and filled in, versions noted."""
    if not (config.metrics or config.metric_options or config.metric_versions):
        return config
    found = [find("metric", name, config.plugins, "metrics") for name in config.metrics]
    versions = [str(each.version) for each in found]
    if config.metric_versions not in ([], versions):
        allowed = f"metrics={','.join(config.metrics)} are of versions {','.join(versions)} here"
        raise ConfigError("metric_versions", ",".join(config.metric_versions), allowed)
    for name, given in config.metric_options.items():
        key = f"metric_options.{name}"
        if name not in config.metrics:
            asked = ",".join(config.metrics) or "[]"
            raise ConfigError(
                key, word(given), f"metrics={asked} does not name it; an option is metric_options.METRIC.NAME"
            )
        if not isinstance(given, dict):
            raise ConfigError(key, given, f"is a group; its options are {key}.NAME=VALUE")
    told = {}
    for each in found:
        given = config.metric_options.get(each.name, {})
        options = each.options_of(given, f"metric_options.{each.name}")
        if options is not None:
            told[each.name] = plain(options)
    config = _with_value(config, "metric_options", told)
    config = _with_value(config, "metric_versions", versions)
    return config


def are_known(config: RunConfig) -> bool:
    """Whether every part it names is built in or imported: a config out of a store must import nothing."""
    named = ((door, value_of(config, door.name)) for door in DOORS)
    own = [(door.kind, name) for door, name in named if not door.has_others and name is not None]
    return all(known(kind, name) is not None for kind, name in (*own, *_metrics(config)))


def parts_of_model(config: RunConfig) -> tuple[tuple[Kind, str], ...]:
    """What a model of this config is made of: the parts that opening it needs."""
    return (("model", config.model.name), ("quantiser", config.model.quantiser))


def code_of_parts(config: RunConfig) -> dict[str, str]:
    """The fingerprints of the source of its parts, as far as they are imported; built-in ones have none."""
    found: dict[str, str] = {}
    for kind, name in (*((door.kind, value_of(config, door.name)) for door in DOORS), *_metrics(config)):
        own = known(kind, name)
        found |= own.code() if own is not None else {}
    return found


def _metrics(config: RunConfig) -> list[tuple[Kind, str]]:
    return [("metric", name) for name in config.metrics]


def _with_value(config: Any, key: str, value: Any) -> Any:
    """A copy that shares what it does not change; the config itself where it has the value already."""
    name, dot, rest = key.partition(".")
    before = getattr(config, name)
    now = _with_value(before, rest, value) if dot else value
    if now is before or now == before:
        return config
    config = copy.copy(config)
    setattr(config, name, now)
    return config
