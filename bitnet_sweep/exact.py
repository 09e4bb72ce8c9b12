"""Numbers as they were given: equal values have one form, unequal ones never share it."""

from __future__ import annotations

import json
import math
from decimal import Decimal


def read_number(value: object) -> int | float | None:
    """A finite number, or the text of one (YAML reads ``1e-3`` as text); None for anything else.

    A whole number is never taken through a float, which holds each of them only up to 2**53.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    try:
        found = float(value)
    except ValueError:
        return None
    return found + 0.0 if math.isfinite(found) else None  # -0.0 equals 0.0


def number_text(value: float) -> str:
    """The shortest text of exactly this number; ``1``, ``1.0`` and ``1e0`` read equal."""
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < 1e22:
        return str(int(value))
    return repr(value)


def word(value: object) -> str:
    """A value as it is typed: null, true and false have words of their own, a mapping has no spaces."""
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).replace('"', "")
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def counted(count: int, what: str) -> str:
    """A number of things: ``1 run``, ``2,000 runs``."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def scientific(value: float) -> str:
    """``1.5e-3``: all digits of ``value``, and no more."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int), "a finite number"
    first, *others = map(str, digits)
    mantissa = f"{first}.{''.join(others)}" if others else first
    return f"{'-' if sign else ''}{mantissa}e{exponent + len(others)}"
