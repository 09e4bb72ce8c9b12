"""Where the time of a mixed step goes, by part.

    python -m bench.budget [--hidden 256] [--batch 4x32] [--steps 10]

Parts are timed by torch's profiler, which itself costs time: read the shares, not the milliseconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile, record_function

from bench.arms import Setting, build
from bitnet_sweep.model import mixed
from bitnet_sweep.model.quantisers import ACTIVATION_QUANTS

PARTS = {
    "ternary_weights": "quantiser of the weights",
    "activation_quant": "quantiser of the inputs",
    "aten::_int_mm": "ternary products, forward",
    "_CodeProductBackward": "ternary products, backward",
    "_TiledCrossEntropy": "head and loss, forward and backward",
    "aten::_fused_adam_": "optimizer",
    "aten::_foreach_norm": "gradient norm",
    "_EmbeddingBackward": "gradient of the embedding",
    "_RMSNormBackward": "norms, backward",
}
"""The profiler's names; none of them lies inside another. A part that is not there counts as the rest."""


def _recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A quantiser that appears under a name of its own."""

    def recorded(*operands: torch.Tensor) -> Any:
        with record_function(name):
            return function(*operands)

    return recorded


def budget(setting: Setting, steps: int) -> list[tuple[str, float]]:
    """Milliseconds a step of each part, then of the rest."""
    mixed.ternary_weights = _recorded("ternary_weights", mixed.ternary_weights)
    for kind, quant in ACTIVATION_QUANTS.items():
        ACTIVATION_QUANTS[kind] = _recorded("activation_quant", quant)
    step = build("mixed", setting).step
    shape = (setting.batch, setting.length + 1)
    ids = torch.randint(setting.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        step(ids[:, :-1], ids[:, 1:])
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function("all"):
        for _ in range(steps):
            step(ids[:, :-1], ids[:, 1:])
    totals = {event.key: event.cpu_time_total / 1e3 / steps for event in profiler.key_averages()}
    parts = [(label, totals[key]) for key, label in PARTS.items() if key in totals]
    return [*parts, ("the rest: attention, norms, Python", totals["all"] - sum(ms for _, ms in parts))]


def main() -> None:
    """Print the budget."""
    parser = argparse.ArgumentParser(description="Where the time of a mixed step goes.")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", default="4x32", help="sequences x tokens")
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    batch, length = map(int, options.batch.split("x"))
    parts = budget(Setting(options.hidden, batch, length, options.vocab_size), options.steps)
    whole = sum(ms for _, ms in parts)
    rows = [(label, f"{ms:.1f}", f"{100 * ms / whole:.0f} %") for label, ms in parts]
    print(tabulate([*rows, ("step", f"{whole:.1f}", "100 %")], headers=["part", "ms", "share"]))


if __name__ == "__main__":
    main()
