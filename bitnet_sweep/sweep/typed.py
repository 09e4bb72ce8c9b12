"""What was typed against what Hydra's grammar read, where the two are not the same value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override

from bitnet_sweep.config import KNOBS, ConfigError, check_float

_FLOATS = (float, float | None)


def check_as_typed(overrides: Iterable[Override]) -> None:
    """Refuse what would reach the run as another value than the one that was typed.

    For Hydra ``sweep.name=2026_11_28`` is the number 20261128 and ``store=1e3`` is 1000.0, and a number too
    small for a float is 0.

    Raises:
        ConfigError: there is such a value.
    """
    for override in overrides:
        key, raw = override.key_or_group, str(override.input_line).partition("=")[2]
        knob = KNOBS.get(key)
        words = [word for word in re.split(r"[\[\](){},:=\s]+", raw) if word]
        values = list(_scalars(override.value()))
        for value in values:
            if knob is not None and knob.is_text and str(value) not in words:
                quoted = f"""'{key}="{raw}"'""" if [raw] == words else "in \" inside of '"
                raise ConfigError(key, raw, f"{value!r} is what Hydra reads; text is best quoted: {quoted}")
            if type(value) is int and knob is not None and knob.kind in _FLOATS and abs(value) < 2**1023:
                check_float(key, value)
        zeros = sum(value == 0 for value in values if type(value) in (int, float))
        if zeros > sum(map(_is_zero, words)):
            raise ConfigError(key, raw, "is too small for a number; write 0 if it is to be 0")


def _scalars(value: Any) -> Iterator[bool | int | float]:
    """The numbers and truth values in an override's value; a counted range is not typed value by value."""
    if isinstance(value, ChoiceSweep):
        value = value.list
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    elif isinstance(value, bool | int | float):
        yield value


def _is_zero(word: str) -> bool:
    try:
        return Decimal(word) == 0
    except InvalidOperation:
        return False
