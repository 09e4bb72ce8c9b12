"""What refuses a value: one line that names the key and what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
from collections.abc import Iterable
from enum import Enum
from typing import Any

from bitnet_sweep.paths import expanded


class ConfigError(ValueError):
    """A value that cannot be used. ``str()`` is one line: the key, the value, what is allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        shown = value.name if isinstance(value, Enum) else value
        super().__init__(f"{key}={shown}: {allowed}")
        self.key = key


def guess(name: str, known: Iterable[str], parent: str = "") -> str:
    """``did you mean X? `` where one of the known names is near, else nothing; X stands below ``parent``."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {f'{parent}.' if parent else ''}{close[0]}? " if close else ""


def check_whole(key: str, value: int, minimum: int = 1) -> None:
    """``minimum <= value``, else a ConfigError."""
    if value < minimum:
        raise ConfigError(key, value, f"must be a whole number, {minimum} or more")


def check_number(
    key: str,
    value: float,
    *,
    above: float | None = None,
    minimum: float = 0.0,
    below: float = math.inf,
) -> None:
    """``minimum <= value < below``, finite, else a ConfigError; with ``above`` the lower bound is strict."""
    fits = math.isfinite(value) and value < below
    fits = fits and (value > above if above is not None else value >= minimum)
    if not fits:
        low = f"greater than {above:g}" if above is not None else f"{minimum:g} or more"
        high = f" and less than {below:g}" if math.isfinite(below) else ""
        if (above, below) == (0, 1):
            raise ConfigError(key, value, "must lie strictly between 0 and 1")
        raise ConfigError(key, value, f"must be a finite number, {low}{high}")


def path_text(key: str, path: str) -> str:
    """The path with its ``~`` or ``~user`` replaced, else a ConfigError."""
    if not path.startswith("~"):
        return path
    try:
        return str(expanded(path))
    except ValueError as error:
        raise ConfigError(key, path, str(error)) from error


def check_float(key: str, value: int) -> None:
    """A float holds ``value``, else a ConfigError."""
    try:
        nearest = float(value)
    except OverflowError:
        nearest = math.inf
    if value != nearest:
        allowed = f"has more digits than such a number can have; the nearest is {nearest!r}"
        raise ConfigError(key, value, allowed)


def settle(config: Any, prefix: str = "") -> None:
    """Check numbers, and give equal ones one form, so that equal configs have equal ids: -0.0 becomes 0.0."""
    kind: Any = type(config)
    for name, is_float, limits in _numbers_of(kind):
        value = getattr(config, name)
        if value is None:
            continue
        try:
            held: Any = float(value) + 0.0 if is_float else operator.index(value)
        except (TypeError, ValueError, OverflowError):
            held = None
        if held is None or isinstance(value, bool | str):
            raise ConfigError(prefix + name, value, f"must be a {'' if is_float else 'whole '}number")
        if type(value) is int and is_float:
            check_float(prefix + name, value)
        if limits is not None:
            (check_number if is_float else check_whole)(prefix + name, held, **limits)
        setattr(config, name, held)


@functools.cache
def _numbers_of(kind: type) -> list[tuple[str, bool, dict[str, Any] | None]]:
    """The fields of a dataclass that are numbers; whether they are floats, and the limits of a knob."""
    kinds = {"int": False, "int | None": False, "float": True, "float | None": True}
    numbers = [f for f in dataclasses.fields(kind) if f.type in kinds]
    return [(f.name, kinds[str(f.type)], f.metadata.get("limits")) for f in numbers]
