"""Python values as the words of a command line, each of which Hydra's grammar reads as that very value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from bitnet_sweep.config import ConfigError
from bitnet_sweep.exact import word

_UNQUOTED = re.compile(r"[\w./@+%-]+")
"""Text that may stand between commas as it is, if it is read as itself."""
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*([./][A-Za-z_][A-Za-z0-9_]*)*")


def words_of(grid: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """``key=value`` for each key: several values of the grid by commas, a list of the settings as a list.

    Args:
        grid: a list (or tuple, range, array) of values for each key, or one value.
        settings: one value for each key.

    Raises:
        ConfigError: a key is none, stands in both, or has no values; a value cannot be written.
    """
    if twice := sorted(grid.keys() & settings.keys()):
        raise ConfigError(twice[0], grid[twice[0]], "is in the grid and among the settings; say it once")
    words = []
    for key, values in grid.items():
        axis = _as_axis(values)
        if axis is not None and not axis:
            raise ConfigError(key, values, "has no values")
        words.append(_word(key, [values] if axis is None else axis))
    return words + [_word(key, [value]) for key, value in settings.items()]


def _as_axis(values: Any) -> list[Any] | None:
    """The values of an axis; None of one value."""
    if hasattr(values, "tolist"):  # numpy's and torch's arrays, pandas' columns; a scalar stays one
        values = values.tolist()
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return None
    return list(values)


def _word(key: str, values: list[Any]) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ConfigError(str(key), "?", "is no key; keys are written like model.hidden")
    return f"{key}={','.join(_text(key, value) for value in values)}"


def _text(key: str, value: Any) -> str:
    """The shortest text that is read as this value, found by reading it."""
    value = _plain(value)
    if value is None or isinstance(value, bool | int | float):  # every form of these is read exactly
        return str(_written(value, quote=False))
    for text in (_written(value, quote=False), _written(value, quote=True)):
        if text is not None and _is_read_as(key, text, value):
            return text
    raise ConfigError(key, repr(value), "cannot be written on a command line; plain values and text can")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if hasattr(value, "__fspath__") else value


def _written(value: Any, quote: bool) -> str | None:
    """By Hydra's grammar; None of what it has no form for."""
    if value is None or isinstance(value, bool):
        return word(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value if not quote and _UNQUOTED.fullmatch(value) else _quoted(value)
    if isinstance(value, list):
        items = [_written(item, quote) for item in value]
        return None if None in items else f"[{','.join(item or '' for item in items)}]"
    if isinstance(value, dict):
        pairs = [(str(key), _written(item, quote)) for key, item in value.items()]
        return (
            None
            if any(item is None for _, item in pairs)
            else f"{{{','.join(f'{k}:{v}' for k, v in pairs)}}}"
        )
    return None


def _quoted(text: str) -> str:
    """In the grammar a backslash is one but in front of a quote, where two are."""
    escaped = re.sub(r"""(\\*)("|$)""", lambda found: found[1] * 2 + ('\\"' if found[2] else ""), text)
    return f'"{escaped}"'


def _is_read_as(key: str, text: str, value: Any) -> bool:
    if "${" in text:  # would be looked up when the config is made
        return False
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException:
        return False
    return not override.is_sweep_override() and _same(override.value(), value)


def _same(read: Any, value: Any) -> bool:
    """Equal, and of one type throughout: 1, 1.0 and true are three values."""
    if isinstance(value, list):
        return isinstance(read, list) and len(read) == len(value) and all(map(_same, read, value))
    if isinstance(value, dict):
        return (
            isinstance(read, dict)
            and list(read) == list(value)
            and all(_same(read[key], value[key]) for key in value)
        )
    return type(read) is type(value) and (read == value or repr(read) == repr(value))
