"""The options of a part: plain values of a config as the dataclass that the part declares, and checked."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union

from bitnet_sweep.config import ConfigError, guess, typed


def options_from(kind: type | None, given: Mapping[str, Any], key: str, whose: str) -> Any:
    """The options as the dataclass ``kind``; None where there is none.

    Args:
        kind: what the part declares.
        given: plain values by name; the others have their defaults.
        key: of the config, for messages.
        whose: the part, for messages.

    Raises:
        ConfigError: a name or a value is wrong.
    """
    kinds = {} if kind is None else kinds_of(kind)
    for name, value in given.items():
        if name not in kinds:
            raise ConfigError(f"{key}.{name}", value, _no_such_option(name, kinds, whose))
    if kind is None:
        return None
    values = {name: typed(kinds[name], value, f"{key}.{name}") for name, value in given.items()}
    for needed in dataclasses.fields(kind):
        if _is_needed(needed) and needed.name not in values:
            raise ConfigError(f"{key}.{needed.name}", "?", f"{whose} needs a value for it")
    try:
        return kind(**values)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:  # what its own __post_init__ refuses
        raise ConfigError(key, dict(given), f"{whose} refuses it: {' '.join(str(error).split())}") from error


def _no_such_option(name: str, kinds: Mapping[str, Any], whose: str) -> str:
    if not kinds:
        return f"{whose} has no options"
    return f"{whose} has no such option; {guess(name, kinds)}allowed: {', '.join(kinds)}"


def _is_needed(f: dataclasses.Field[Any]) -> bool:
    return f.init and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


@functools.cache
def kinds_of(options: type) -> dict[str, Any]:
    """The types of a part's options by name.

    Raises:
        TypeError: it is no dataclass, or a type is none that a config can hold.
    """
    if not dataclasses.is_dataclass(options):
        raise TypeError(f"the options {options!r} are no dataclass")
    hints = typing.get_type_hints(options)
    kinds = {f.name: hints[f.name] for f in dataclasses.fields(options) if f.init}
    if wrong := [name for name, kind in kinds.items() if not _is_possible(kind)]:
        allowed = "bool, int, float, str, Enum, Literal, lists of them, or None"
        raise TypeError(f"the option {wrong[0]} of {options.__name__} must be of {allowed}")
    return kinds


def _is_possible(kind: Any) -> bool:
    if typing.get_origin(kind) in (Union, UnionType, list):
        return all(map(_is_possible, typing.get_args(kind)))
    is_enum = isinstance(kind, type) and issubclass(kind, Enum)
    return is_enum or kind in (bool, int, float, str, NoneType) or typing.get_origin(kind) is Literal
