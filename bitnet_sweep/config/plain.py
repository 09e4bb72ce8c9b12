"""A config as dicts, lists and scalars, and back."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Mapping
from contextlib import suppress
from enum import Enum
from types import UnionType
from typing import Any

from bitnet_sweep.config.checks import ConfigError, check_float, guess
from bitnet_sweep.config.run import KNOBS, MAPPINGS, OPTIONS, RunConfig, knobs_in
from bitnet_sweep.exact import read_number
from bitnet_sweep.roles import Role, types_of, words_for


def plain(config: object) -> Any:
    """The config as dicts, lists and scalars, enums by name: what YAML, JSON and hashes take."""
    if config is None or isinstance(config, str | int | float):
        return config
    if isinstance(config, Enum):
        return config.name
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = ((f, getattr(config, f.name)) for f in dataclasses.fields(config))
        return {
            f.name: plain(v) for f, v in values if v != f.metadata.get("left_out_as", dataclasses.MISSING)
        }
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    return config


def recorded(config: RunConfig) -> dict[str, Any]:
    """:func:`plain` as a store and its mirror keep it, without what says nothing of the run."""
    document: dict[str, Any] = plain(config)
    for own in () if config.has_built_in_model else KNOBS.values():
        group, dot, name = own.key.partition(".")
        if not config.has(own):
            del (document[group] if dot else document)[name or group]
    return {key: value for key, value in document.items() if value != {} or key in OPTIONS}


def from_plain(document: object) -> RunConfig:
    """The inverse of :func:`plain`, checked as a command line is; keys left out have their defaults.

    Args:
        document: of groups, or of dotted keys.

    Raises:
        ConfigError: a key, a type or a value is wrong.
    """
    if not isinstance(document, Mapping):
        raise ConfigError("config", document, f"must be {words_for(RunConfig)}")
    values = flatten(document)
    if unknown := [key for key in values if key not in KNOBS]:
        told = f"no such key; {guess(unknown[0], KNOBS)}".rstrip("; ")
        raise ConfigError(unknown[0], values[unknown[0]], told)
    found = {key: typed(KNOBS[key].kind, value, key) for key, value in values.items()}
    config: RunConfig = built(RunConfig, found)
    return config


def built(kind: Any, values: Mapping[str, Any]) -> Any:
    """The config of these typed values by dotted key, checked by its own ``__post_init__``."""
    own: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        group, dot, name = key.partition(".")
        (groups.setdefault(group, {}) if dot else own)[name or group] = value
    kinds = types_of(kind)
    return kind(**own, **{group: built(kinds[group], under) for group, under in groups.items()})


def typed(kind: Any, value: Any, key: str) -> Any:
    """A plain value as one of an annotated type.

    Raises:
        ConfigError: it is none.
    """
    origin, arguments, kinds = typing.get_origin(kind), typing.get_args(kind), types_of(kind)
    if origin in (typing.Union, UnionType):
        for one in sorted(arguments, key=lambda each: each is str):  # text takes numbers, too
            with suppress(ConfigError):
                return typed(one, value, key)
    elif origin is list:
        if isinstance(value, list | tuple):
            return [typed(arguments[0], item, f"{key}[{i}]") for i, item in enumerate(value)]
    elif origin is dict:
        if isinstance(value, Mapping):
            return dict(value)  # what may stand in it only its part knows
    elif origin is typing.Literal:
        if any(value == one and type(value) is type(one) for one in arguments):
            return value
    elif kinds:
        if isinstance(value, Mapping) and _required(kind) <= set(value) <= set(kinds):
            return kind(**{name: typed(kinds[name], item, f"{key}.{name}") for name, item in value.items()})
    elif kind in (int, float):
        found = read_number(value)
        if kind is float and isinstance(found, int):
            check_float(key, found)
        if found is not None and (kind is float or found == int(found)):
            return kind(found)
    elif kind is Any or isinstance(value, kind):
        return value
    elif isinstance(value, str) and value in getattr(kind, "__members__", ()):
        return kind[value]
    raise ConfigError(key, value, f"must be {words_for(kind)}")


def _required(kind: Any) -> set[str]:
    """The fields of a dataclass that have no default."""
    return {f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING}


def flatten(
    document: Mapping[str, Any], prefix: str = "", whole: Collection[str] = MAPPINGS
) -> dict[str, Any]:
    """Nested sections as dotted keys, ``whole`` ones as one: the options of a part, unless told otherwise.

    Dotted keys are left as they are.
    """
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value and f"{prefix}{key}" not in whole:
            flat |= flatten(value, f"{prefix}{key}.", whole)
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def added_knobs(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The knobs that were added, by dotted key, with what configs of before stand for.

    Args:
        config: of a run, by dotted key: of a task or a model of a user's own those of ours are left out.
    """
    return {each.key: plain(each.default) for each in knobs_in(config or {}, Role.added)}
