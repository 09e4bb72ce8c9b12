"""How fast one core or a GPU multiplies, by kind of operand, and moves memory: what a floor is built from."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from bench.tables import Row

SHAPES = {"cpu": (128, 256, 2048), "cuda": (8192, 1024, 4096)}
"""Tokens, inputs, outputs of the product that is timed: a tile of the head, at hidden 256 and at 1024."""

MEMORY_FLOATS = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}
"""64 MiB and 1 GiB, more than the caches hold."""

KINDS: dict[torch.dtype, Callable[[Tensor, Tensor], Tensor]] = {
    torch.float32: torch.mm,
    torch.bfloat16: torch.mm,
    torch.int8: torch._int_mm,
}
"""The operands a product can have, and what multiplies them."""


def finish(device: str) -> None:
    """Wait until the device has done what it was given; a CPU has, always."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: str, rounds: int = 7) -> float:
    """The median that some work takes, after one time that is not counted."""
    work()
    times = []
    for _ in range(rounds):
        finish(device)
        started = time.perf_counter()
        work()
        finish(device)
        times.append(time.perf_counter() - started)
    return median(times)


@functools.cache
def rate(kind: torch.dtype, device: str = "cpu") -> float:
    """Of a product with such operands, in 10^9 additions and multiplications a second."""
    tokens, inputs, outputs = SHAPES[device]
    x, w = (torch.ones(rows, inputs, dtype=kind, device=device) for rows in (tokens, outputs))
    return 2e-9 * tokens * inputs * outputs / seconds(lambda: KINDS[kind](x, w.T), device)


def fastest(*kinds: torch.dtype, device: str = "cpu") -> torch.dtype:
    """Of these operands, those that are multiplied fastest here."""
    return max(kinds, key=lambda kind: rate(kind, device))


def memory_rate(device: str = "cpu") -> float:
    """Bytes read and written by a copy, in 10^9 a second."""
    source = torch.ones(MEMORY_FLOATS[device], device=device)
    target = torch.empty_like(source)
    return 2 * 4e-9 * len(source) / seconds(lambda: target.copy_(source), device)


def rates(device: str = "cpu") -> Row:
    """Every rate under its name; of the product in :data:`SHAPES`."""
    products = {
        f"{kind}".removeprefix("torch.") + " product, GFLOP/s": round(rate(kind, device)) for kind in KINDS
    }
    found = products | {"copy, GB/s": round(memory_rate(device), 1)}
    if device == "cuda":
        torch.cuda.empty_cache()  # for the arms, which are other processes
    return found
