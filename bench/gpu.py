"""What `precision=mixed` should choose on a GPU: each choice timed beside the one that stands.

    python -m bench.gpu [--hidden 256 1024] [--batch 32x256 4x32] [--seconds 60] [--out experiments/bench/gpu]

First the product of codes by shape, alone: int8 padded for cuBLAS, bfloat16 and float32. Then whole steps,
one choice changed at a time (``VARIANTS``), in turns with the step as it is. A choice is recommended where
the median over the settings is at least 5 % faster. `--device cpu` runs the same, to test this program; what
it recommends means nothing there. The choices stand in ``bitnet_sweep/model/products.py``
(``CUDA_PRODUCTS``), ``bitnet_sweep/model/head.py`` and ``bitnet_sweep/runtime.py``.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.arms import Built, Setting, own_step
from bench.rates import finish, seconds
from bench.tables import Row, ratio, table, where, write
from bitnet_sweep.config import ConfigError, Device, Precision
from bitnet_sweep.cpu import CpuClass
from bitnet_sweep.model import head, mixed, products, transformer
from bitnet_sweep.model.products import Products, code_sums
from bitnet_sweep.runtime import cpu_class, prepare_process
from bitnet_sweep.sweep.provenance import accelerator

CLEAR_GAIN = 1.05
"""Times faster that a choice must be (chosen: less is not worth a change)."""

CODE_COLUMNS = {
    "layer": "product of codes, outputs x inputs",
    "tokens": "tokens",
    "int8": "int8, ms",
    "bfloat16": "bfloat16, ms",
    "float32": "float32, ms",
}
STEP_COLUMNS = {
    "hidden": "hidden",
    "batch": "batch",
    "variant": "variant",
    "ms": "ms (median)",
    "gain": "times as fast as it is",
    "failed": "failed",
}
AS_IT_IS, COMPILED = "as it is", "blocks compiled"


@contextmanager
def _set(owner: Any, **values: object) -> Iterator[None]:
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def _products(**changes: torch.dtype) -> Iterator[None]:
    """Other operands, on the GPU or for the class of this processor."""
    kind: CpuClass = cpu_class()
    cpu: dict[CpuClass, Products] = products.PRODUCTS
    others = {kind: dataclasses.replace(cpu[kind], **changes)}
    cuda = dataclasses.replace(products.CUDA_PRODUCTS, **changes)
    with _set(products, PRODUCTS=cpu | others, CUDA_PRODUCTS=cuda):
        yield


@contextmanager
def _memory_efficient() -> Iterator[None]:
    """torch has a deterministic form of it for the GPU; the CPU has no such kernel and takes its own."""
    fitting = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(fitting, set_priority=True):
        yield


@contextmanager
def _untraced() -> Iterator[None]:
    """Codes are cached by what the compiler cannot follow."""
    layer: Any = mixed.MixedBitLinear
    disable: Any = torch.compiler.disable
    with _set(layer, ternary=disable(layer.ternary)):
        yield


VARIANTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "bfloat16 codes": lambda: _products(codes=torch.bfloat16),
    "float32 codes": lambda: _products(codes=torch.float32),
    "float32 gradients and head": lambda: _products(operands=torch.float32),
    "head in tiles of 16384 ids": lambda: _set(head, TILE=16384),
    "head of all ids at once, 1 GiB": lambda: _set(head, TILE=1 << 20, PROBABILITY_BYTES=1 << 30),
    "attention by the memory-efficient kernel": _memory_efficient,
    COMPILED: _untraced,
}
"""The other choices, each open while its steps are taken."""


def code_rows(hiddens: Sequence[int], tokens: Sequence[int], device: str) -> list[Row]:
    """Milliseconds of the forward product of each layer's shape, by kind of operand."""
    rows = []
    for hidden in hiddens:
        shapes = [(3 * hidden, hidden), (hidden, hidden), (4 * hidden, hidden), (hidden, 2 * hidden)]
        for (outputs, inputs), count in [(shape, count) for shape in shapes for count in tokens]:
            row: Row = {"layer": f"{outputs}x{inputs}", "tokens": count}
            for kind in (torch.int8, torch.bfloat16, torch.float32):
                x, w = (torch.ones(size, inputs, dtype=kind, device=device) for size in (count, outputs))
                row[str(kind).removeprefix("torch.")] = _ms(lambda x=x, w=w: code_sums(x, w), device)  # type: ignore[misc]
            rows.append(row)
    return rows


def _ms(work: Callable[[], object], device: str) -> float | None:
    try:
        return round(1e3 * seconds(work, device, rounds=5), 4)
    except (RuntimeError, NotImplementedError):  # this device has no such product, or no room for it
        return None


def step_rows(setting: Setting, names: Sequence[str], rounds: int) -> list[Row]:
    """A step as it is, then one of each variant, in turns; milliseconds, the first round left out."""
    times: dict[str, list[float]] = {name: [] for name in (AS_IT_IS, *names)}
    models: dict[bool, Built] = {}  # by whether it is compiled
    failed: dict[str, str] = {}
    generator = torch.Generator().manual_seed(0)
    for round_ in range(1 + rounds):
        shape = (setting.batch, setting.length + 1)
        ids = torch.randint(setting.vocab_size, shape, generator=generator).to(setting.device)
        for name in [name for name in times if name not in failed]:
            is_compiled = name == COMPILED
            with VARIANTS[name]() if name in VARIANTS else nullcontext():
                try:
                    if is_compiled not in models:
                        models[is_compiled] = _build(setting, is_compiled)
                    ms = _step_ms(models[is_compiled], ids, setting.device)
                except Exception as error:  # of a compiler, a kernel or the memory: it is not to be had
                    failed[name] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:120]}"
                    models.pop(is_compiled, None)  # the step was left half done
                    continue
            if round_:
                times[name].append(ms)
    own = times[AS_IT_IS]
    return [
        {
            "hidden": setting.hidden,
            "batch": f"{setting.batch}x{setting.length}",
            "variant": name,
            "ms": None if name in failed else round(median(times[name]), 3),
            "gain": None if {name, AS_IT_IS} & failed.keys() else ratio(own, times[name]),
            "failed": failed.get(name, ""),
        }
        for name in times
    ]


def _build(setting: Setting, is_compiled: bool) -> Built:
    built = own_step(setting, Precision.mixed)
    if is_compiled:
        assert isinstance(built.model, transformer.Transformer)
        for block in built.model.blocks:
            block.compile()
    return built


def _step_ms(built: Built, ids: torch.Tensor, device: str) -> float:
    """The second of two steps: caches and memory are then this choice's own."""
    for _ in range(2):
        _forget_codes(built.model)
        finish(device)
        started = time.perf_counter()
        built.step(ids[:, :-1], ids[:, 1:])
        finish(device)
    return 1e3 * (time.perf_counter() - started)


def _forget_codes(model: nn.Module) -> None:
    """They are kept with the operands of the choice before."""
    for layer in model.modules():
        if isinstance(layer, mixed.MixedBitLinear):
            layer.cached = None


def verdict(gains: Sequence[float | None]) -> str:
    """What is recommended of a variant that is so many times as fast as the step as it is, by setting."""
    had = [gain for gain in gains if gain is not None]
    if not had:
        return "cannot be had here"
    told = f"{median(had):.2f} times as fast as it is, median of {len(had)} of {len(gains)} settings"
    return f"{'take it' if median(had) >= CLEAR_GAIN else 'leave it'}, {told}"


def recommendations(rows: Sequence[Row]) -> str:
    """A line for each variant."""
    names = dict.fromkeys(row["variant"] for row in rows if row["variant"] != AS_IT_IS)
    return "\n".join(
        f"- {name}: {verdict([row['gain'] for row in rows if row['variant'] == name])}" for name in names
    )


def main() -> None:
    """Print both tables and the recommendation; with ``--out`` also write them as Markdown and JSON."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 1024])
    parser.add_argument(
        "--batch", nargs="+", default=["32x256", "4x32", "64x1024"], help="sequences x tokens"
    )
    parser.add_argument("--vocab-size", type=int, default=50257)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="begin no further setting once these are over")
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="folder for choices_<device>.md and .json")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        device = prepare_process(1, Device[options.device])
    except ConfigError as error:
        parser.error(str(error))
    here = where() | accelerator(device)
    batches = [tuple(map(int, shape.split("x"))) for shape in options.batch]
    codes = code_rows(options.hidden, [batch * length for batch, length in batches], options.device)
    print(table(codes, CODE_COLUMNS), flush=True)
    quick = [name for name in VARIANTS if name != COMPILED]
    passes = [(batch, hidden, quick) for batch in batches for hidden in options.hidden]
    if options.compiled:  # takes long, so last, and at the first batch alone
        passes += [(batches[0], hidden, [COMPILED]) for hidden in options.hidden]
    rows: list[Row] = []
    for (batch, length), hidden, names in passes:
        if options.seconds is not None and time.monotonic() - began > options.seconds:
            print(f"{names[0]} ... at hidden {hidden}, batch {batch}x{length}: left out, the time was over")
            continue
        setting = Setting(hidden, batch, length, options.vocab_size, device=options.device)
        new = step_rows(setting, names, options.rounds)
        rows += new
        print(table(new, STEP_COLUMNS), flush=True)
        if options.out:
            _save(options.out, options.device, here, codes, rows)
    print(recommendations(rows))


def _save(out: Path, device: str, here: Row, codes: Sequence[Row], rows: Sequence[Row]) -> None:
    text = "\n\n".join([recommendations(rows), table(rows, STEP_COLUMNS), table(codes, CODE_COLUMNS)])
    write(out, f"choices_{device}", "Choices of `precision=mixed` on this device", text, here, rows)


if __name__ == "__main__":
    main()
