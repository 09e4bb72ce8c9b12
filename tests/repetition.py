"""Members of one kind: `make test` tries a few of them, `make test-system` the others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def repeated(values: Iterable[Any], often: Collection[Any]) -> list[Any]:
    """The values for ``pytest.mark.parametrize``; those not among ``often`` are marked ``system``."""
    return [value if value in often else pytest.param(value, marks=pytest.mark.system) for value in values]
