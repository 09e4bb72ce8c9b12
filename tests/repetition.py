"""Members of one kind: `make test` tries a few of them, `make test-every` the others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

EVERY = (pytest.mark.every, pytest.mark.system)
"""Marks of what differs from another test in one member of its kind; CI does not wait for it."""


def repeated(values: Iterable[Any], often: Collection[Any]) -> list[Any]:
    """The values for ``pytest.mark.parametrize``; those not among ``often`` are marked ``every``."""
    return [value if value in often else pytest.param(value, marks=EVERY) for value in values]
