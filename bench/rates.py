"""How fast one core multiplies, by kind of operand, and moves memory: what a step's floor is built from."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from bench.tables import Row

SHAPE = (128, 256, 2048)
"""Tokens, inputs, outputs of the product that is timed: a tile of the head at hidden 256."""

MEMORY_FLOATS = 16 * 2**20
"""64 MiB, more than the caches hold."""

KINDS: dict[torch.dtype, Callable[[Tensor, Tensor], Tensor]] = {
    torch.float32: torch.mm,
    torch.bfloat16: torch.mm,
    torch.int8: torch._int_mm,
}
"""The operands a product can have, and what multiplies them."""


def _seconds(work: Callable[[], object], rounds: int = 7) -> float:
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


@functools.cache
def rate(kind: torch.dtype) -> float:
    """Of a product with such operands, in 10^9 additions and multiplications a second."""
    tokens, inputs, outputs = SHAPE
    x, w = torch.ones(tokens, inputs, dtype=kind), torch.ones(outputs, inputs, dtype=kind)
    return 2e-9 * tokens * inputs * outputs / _seconds(lambda: KINDS[kind](x, w.T))


def fastest(*kinds: torch.dtype) -> torch.dtype:
    """Of these operands, those that are multiplied fastest here."""
    return max(kinds, key=rate)


def memory_rate() -> float:
    """Bytes read and written by a copy, in 10^9 a second."""
    source = torch.ones(MEMORY_FLOATS)
    target = torch.empty_like(source)
    return 2 * 4e-9 * MEMORY_FLOATS / _seconds(lambda: target.copy_(source))


def rates() -> Row:
    """Every rate under its name; of the product :data:`SHAPE`."""
    products = {f"{kind}".removeprefix("torch.") + " product, GFLOP/s": round(rate(kind)) for kind in KINDS}
    return products | {"copy, GB/s": round(memory_rate(), 1)}
