"""What the modules of ``precision=mixed`` are tested with: the products of every class of processor."""

from __future__ import annotations

import pytest

from bitnet_sweep.cpu import CpuClass
from bitnet_sweep.model import products
from bitnet_sweep.model.products import PRODUCTS, Products


@pytest.fixture(params=list(CpuClass), ids=lambda kind: kind.name)
def each_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Products:
    """Multiply as on each class of processor in turn; this one computes them all, some of them slowly."""
    kind: CpuClass = request.param
    monkeypatch.setattr(products, "cpu_class", lambda: kind)
    return PRODUCTS[kind]
