"""``python -m bitnet_sweep.parts check``: whether a part keeps what the engine promises of every run.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import math
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from bitnet_sweep.config import (
    Activations,
    ConfigError,
    DataConfig,
    DataName,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    Precision,
    RunConfig,
    ScheduleConfig,
    SweepConfig,
    TokenizerConfig,
    Weights,
)
from bitnet_sweep.data.sources import open_documents
from bitnet_sweep.doors import settled
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.measure.own import measure, metrics_of
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.mixed import MixedBitLinear
from bitnet_sweep.model.own import LEAST_POSITIONS, counts_of, make_model
from bitnet_sweep.model.quantisers import OneScale, Quantiser
from bitnet_sweep.parts import Part, registered_by
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Store
from bitnet_sweep.store.compare import compare
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.train.optimizer.any_torch import check_torch_class
from bitnet_sweep.workload import Step
from bitnet_sweep.workload.find import workload_of

SHAPES = ((6, 11), (1, 8), (7, 1), (32, 16))
"""Rows and columns of the matrices that are tried."""

LOWEST, HIGHEST = -64, 63
"""Limits of a code: what one is less than another still fits into 8 bits."""

Make = Callable[[int, int], Any]
Check = Callable[[Make], str]
"""Says what holds; raises AssertionError where it does not."""


def main(words: Sequence[str]) -> int:
    """Check one part, tell each finding in a line, and return the exit status: 1 where one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m bitnet_sweep.parts")
    parser.add_argument("check", choices=["check"])
    parser.add_argument("part", metavar="MODULE:FACTORY", help="such as my_package:Mine")
    parser.add_argument("options", nargs="*", metavar="OPTION=VALUE", help="options of the part")
    told = parser.parse_args(words)
    try:
        part = part_at(told.part)
        options = dict(_option(word) for word in told.options)
        part.options_of(options, "option")
        checks = _CHECKS.get(part.kind)
        if checks is None:
            raise ConfigError("check", told.part, f"is a {part.kind}; allowed: {', '.join(_CHECKS)}")
    except ConfigError as error:
        print(f"bitnet_sweep.parts: {error}", file=sys.stderr)
        return 2
    failed = 0
    for name, finding, is_sound in findings(part, options, checks(part, options)):
        failed += not is_sound
        print(f"{'ok  ' if is_sound else 'FAIL'}  {name}: {finding}", flush=True)
    version = "built in" if part.is_built_in else f"version {part.version}"
    print(
        f"{part.kind} {part.name}, {version}: {f'{failed} checks failed' if failed else 'every check passed'}"
    )
    return int(failed > 0)


def part_at(place: str) -> Part:
    """The part whose factory stands at ``module:attribute``.

    Raises:
        ConfigError: there is no such factory, or nothing registers it.
    """
    module, _, attribute = place.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError("check", place, f"cannot be imported ({error}); allowed: module:factory") from error
    found = registered_by(factory)
    if found is None:
        raise ConfigError("check", place, "is registered as no part (bitnet_sweep.parts.register)")
    return found


def findings(
    part: Part, options: dict[str, Any], checks: dict[str, Callable[[], str]]
) -> Iterator[tuple[str, str, bool]]:
    """The name of each check, what it found, and whether that is as it should be."""
    for name, check in checks.items():
        try:
            yield name, check(), True
        except Exception as error:  # a part may fail in any way
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            yield name, " ".join(f"{kind}{error}".split()), False


def _option(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals:
        raise ConfigError("option", word, "is written OPTION=VALUE")
    return name, yaml.safe_load(text)


def quantiser_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a quantiser by its name."""

    def make(rows: int, columns: int) -> Quantiser:
        made = part.load()(rows, columns, part.options_of(options, "option"))
        assert isinstance(made, Quantiser), "it makes no bitnet_sweep.model.quantisers.Quantiser"
        return made

    config = RunConfig(model=ModelConfig(16, 2, 2, quantiser=part.name, quantiser_options=options))
    return {
        "shapes": lambda: _shapes(make),
        "codes": lambda: _codes(make),
        "determinism": lambda: _determinism(make),
        "gradients": lambda: _gradients(make),
        "precision": lambda: _precision(make),
        "training": lambda: _training(config, list(Precision)),
    }


def optimizer_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of an optimizer by its name."""
    own = OptimizerConfig(OptimizerName.torch, torch_class=part.name, options=options or None)
    config = RunConfig(model=ModelConfig(16, 2, 2), optimizer=own)
    return {
        "construction": lambda: _construction(part, config),
        "training": lambda: _training(config, list(Precision)),
    }


def _construction(part: Part, config: RunConfig) -> str:
    kind = part.load()
    is_one = isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    assert is_one, "it is no torch.optim.Optimizer"
    missing = {"lr", "weight_decay"} - inspect.signature(kind).parameters.keys()
    assert not missing, f"it does not take {' and '.join(sorted(missing))}"
    check_torch_class(settled(config).optimizer)
    return "a class of parameter groups, a learning rate and a decay"


def model_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a model by its name."""
    model = ModelConfig(name=part.name, options=options)
    config = RunConfig(model=model, tokenizer=TokenizerConfig(vocab_size=300))

    def construction() -> str:
        before = torch.random.get_rng_state()
        one, same = make_model(config), make_model(config)
        for name, tensor in one.kept().items():
            assert torch.equal(tensor, same.kept()[name]), f"{name} begins otherwise a second time"
        assert torch.equal(torch.random.get_rng_state(), before), "it draws from a generator of its own"
        return f"{counts_of(config)['total']:,} parameters, twice the same"

    def order() -> str:
        generator = torch.Generator().manual_seed(0)
        x_BT = torch.randint(config.tokenizer.vocab_size, (2, LEAST_POSITIONS), generator=generator)
        y_BT = x_BT.clone()
        y_BT[:, -1] = (x_BT[:, -1] + 1) % config.tokenizer.vocab_size
        own = make_model(config).eval()
        with torch.no_grad():
            one, other = own(x_BT)[:, :-1], own(y_BT)[:, :-1]
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5), "a prediction looks at tokens behind its own"
        return "a prediction depends on no token behind its own"

    return {"construction": construction, "order": order, "training": lambda: _training(config)}


def task_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a task by its name."""

    def training() -> str:
        with tempfile.TemporaryDirectory(prefix="bitnet_sweep-parts-") as name:
            config = RunConfig(task=part.name, task_options=options, steps=12, probe_every_steps=4)
            _assert_alike(resolve(settled(config)), Path(name), "")
        return _ALIKE

    return {"training": training}


_ALIKE = "12 steps straight, forked, and stopped and resumed are equal bit for bit"


def schedule_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a schedule by its name."""
    own = ScheduleConfig(name=part.name, function=part.name, options=options)
    config = RunConfig(model=ModelConfig(16, 2, 2), schedule=own)

    def stages() -> str:
        told = []
        for steps in (12, 100, 2000):
            for wd2 in (0.0, 0.05):
                asked = dataclasses.replace(config, steps=steps, wd2=wd2)
                one, same = resolve(asked).stages, resolve(asked).stages
                assert one == same, f"{steps} steps have other stages the second time"
                told.append(one)
        shared = sum(1 for one, other in zip(*told[-2:], strict=False) if one == other)
        return f"{len(told[-1])} of 2000 steps; arms that differ in wd2 share {shared}"

    return {"stages": stages, "training": lambda: _training(config)}


def data_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a source of text by its name."""
    own = DataConfig(DataName.own, source=part.name, options=options)
    config = RunConfig(model=ModelConfig(16, 2, 2), data=own, tokenizer=TokenizerConfig(vocab_size=300))

    def documents() -> str:
        data = settled(config).data
        one, same = (list(open_documents(data, Path())()) for _ in range(2))
        assert one, "it has no documents"
        assert one == same, "a second one gives other documents"
        again = open_documents(data, Path())
        assert list(again()) == list(again()), "it gives other documents the second time"
        return f"{len(one):,} of {sum(map(len, one)):,} characters, twice the same"

    return {"documents": documents, "training": lambda: _training(config)}


def metric_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a metric by its name."""
    config = RunConfig(model=ModelConfig(16, 2, 2), tokenizer=TokenizerConfig(vocab_size=300))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(300, (4, 9), generator=generator).numpy()
    windows = [(ids[:3, :-1], ids[:3, 1:]), (ids[3:, :5], ids[3:, 1:6])]

    def values() -> str:
        metrics = metrics_of([part.name])
        one, other = (make_model(dataclasses.replace(config, seed=seed)) for seed in (0, 1))
        found = measure(metrics, one, windows)
        assert all(value is not None and math.isfinite(value) for value in found.values()), (
            f"a number is not finite: {found}"
        )
        assert found == measure(metrics, one, windows), "the second time it returns something else"
        names = list(measure(metrics, other, windows))
        assert names == list(found), f"of another model it names {', '.join(names)}"
        return f"{', '.join(found)}: finite, twice the same"

    def model() -> str:
        own = make_model(config)
        x_BT, y_BT = (torch.tensor(each) for each in windows[0])
        torch.autograd.backward(own.objective(x_BT, y_BT))
        weights = {name: tensor.clone() for name, tensor in own.kept().items()}
        gradients = [gradient.clone() for gradient in own.gradients()]
        drawn = torch.random.get_rng_state()
        measure(metrics_of([part.name]), own, windows)
        assert torch.equal(torch.random.get_rng_state(), drawn), "it leaves other generators"
        for name, now in own.kept().items():
            assert torch.equal(now, weights[name]), f"it changes {name}"
        for now, was in zip(own.gradients(), gradients, strict=True):
            assert torch.equal(now, was), "it changes gradients"
        return "weights, gradients and generators are as before"

    trained = dataclasses.replace(config, metrics=[part.name])
    return {"values": values, "model": model, "training": lambda: _training(trained)}


_CHECKS = {
    "quantiser": quantiser_checks,
    "optimizer": optimizer_checks,
    "model": model_checks,
    "schedule": schedule_checks,
    "data": data_checks,
    "task": task_checks,
    "metric": metric_checks,
}


def _begun(make: Make, shape: tuple[int, int], scale: float = 0.1) -> tuple[Any, Tensor]:
    """A quantiser and the latent weights it began with."""
    generator = torch.Generator().manual_seed(sum(shape))
    w_OI = scale * torch.randn(*shape, generator=generator)
    quantiser = make(*shape)
    with torch.no_grad():
        quantiser.initialise(w_OI)
    return quantiser, w_OI.requires_grad_()


def _shapes(make: Make) -> str:
    for shape in SHAPES:
        quantiser, w_OI = _begun(make, shape)
        quantised_OI, codes_OI, bias_O = quantiser(w_OI), quantiser.codes(w_OI), quantiser.bias(w_OI)
        assert quantised_OI.shape == shape, f"weights {shape} become {tuple(quantised_OI.shape)}"
        assert quantised_OI.dtype == w_OI.dtype, f"float32 becomes {quantised_OI.dtype}"
        assert codes_OI.shape == shape, f"weights {shape} have codes {tuple(codes_OI.shape)}"
        assert bias_O is None or bias_O.shape == shape[:1], f"{shape[0]} outputs have a bias of another shape"
        for name, parameter in quantiser.named_parameters():
            assert parameter.ndim < 2, f"{name} has {parameter.ndim} dimensions; allowed: 0 or 1"
    return f"right for {', '.join(f'{rows} x {columns}' for rows, columns in SHAPES)}"


def _codes(make: Make) -> str:
    lowest, highest = 0, 0
    for shape in SHAPES:
        quantiser, w_OI = _begun(make, shape)
        codes_OI, quantised_OI = quantiser.codes(w_OI).detach(), quantiser(w_OI).detach()
        assert torch.equal(codes_OI, codes_OI.round()), "a code is no whole number"
        lowest, highest = min(lowest, int(codes_OI.min())), max(highest, int(codes_OI.max()))
        assert LOWEST <= lowest <= highest <= HIGHEST, f"a code lies outside of {LOWEST} to {HIGHEST}"
        if isinstance(quantiser, OneScale):
            assert codes_OI.abs().max() <= 1, "a code of a OneScale is not -1, 0 or 1"
        for codes_I, values_I in zip(codes_OI, quantised_OI, strict=True):
            for code in codes_I.unique():
                same = values_I[codes_I == code]
                spread = float(same.max() - same.min())
                assert spread <= 1e-6 * (1 + float(same.abs().max())), f"code {int(code)} is several values"
    return f"whole numbers from {lowest} to {highest}, each one value in its row"


def _determinism(make: Make) -> str:
    before = torch.random.get_rng_state()
    (one, w_OI), (other, same_OI) = _begun(make, SHAPES[0]), _begun(make, SHAPES[0])
    assert torch.equal(one(w_OI), one(w_OI)), "the same weights are rounded otherwise the second time"
    assert torch.equal(one(w_OI), other(same_OI)), "the same weights are rounded otherwise by a second one"
    assert torch.equal(w_OI, same_OI), "it changes the latent weights"
    assert torch.equal(torch.random.get_rng_state(), before), "it draws from torch's global generator"
    buffers = [name for name, _ in one.named_buffers()]
    assert not buffers, f"{buffers[0]} is a buffer, which no checkpoint keeps; make it a parameter"
    return "twice the same, nothing drawn, nothing kept that a checkpoint would miss"


def _gradients(make: Make) -> str:
    for shape in SHAPES:
        for scale in (0.1, 1e3, 0.0):
            quantiser, w_OI = _begun(make, shape, scale)
            bias_O = quantiser.bias(w_OI)
            (quantiser(w_OI).square().sum() + (0.0 if bias_O is None else bias_O.sum())).backward()
            assert w_OI.grad is not None, "no gradient reaches the latent weights"
            assert w_OI.grad.isfinite().all(), f"weights of size {scale:g} have a gradient that is not finite"
            for name, parameter in quantiser.named_parameters():
                assert parameter.grad is not None, f"no gradient reaches {name}"
                assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"
    return "finite, of usual, large and dead weights"


def _precision(make: Make) -> str:
    outputs = []
    for kind in (BitLinear, MixedBitLinear):
        quantiser, w_OI = _begun(make, SHAPES[0])
        layer = kind(w_OI.shape[1], w_OI.shape[0], Weights.ternary, Activations.int8, quantiser=quantiser)
        with torch.no_grad():
            layer.weight.copy_(w_OI)
            x_I = torch.randn(5, w_OI.shape[1], generator=torch.Generator().manual_seed(0))
            outputs.append(layer(x_I))
    differs = float((outputs[0] - outputs[1]).abs().max())
    assert differs <= 1e-4 * float(outputs[0].abs().max()), f"mixed differs from fp32 by {differs:.2g}"
    is_fast = isinstance(make(*SHAPES[0]), OneScale)
    return f"mixed computes what fp32 does; its codes are {'' if is_fast else 'not '}multiplied as such"


def _training(config: RunConfig, precisions: Sequence[Precision] = (Precision.fp32,)) -> str:
    """Straight, forked from its trunk, and stopped after every third step: equal bit for bit."""
    with tempfile.TemporaryDirectory(prefix="bitnet_sweep-parts-") as name:
        text = Path(name, "text.txt")
        text.write_text(_made_up_text(), encoding="utf-8")
        base = dataclasses.replace(
            config,
            steps=12,
            batch_size=2,
            sequence_length=8,
            probe_every_steps=4,
            checkpoint_every_steps=2,
            data=DataConfig(DataName.text, path=str(text)) if config.data == DataConfig() else config.data,
            tokenizer=TokenizerConfig(vocab_size=300),
        )
        for precision in precisions:
            config = resolve(settled(dataclasses.replace(base, precision=precision)))
            _assert_alike(config, Path(name, precision.name), f" at precision={precision.name}")
    return f"{_ALIKE}, at precision={' and '.join(each.name for each in precisions)}"


def _assert_alike(config: RunConfig, folder: Path, where: str) -> None:
    """Train straight, forked from a trunk, and stopped after every third step, and compare the results."""
    straight = _at(config, folder / "straight", share_stages=False)
    forked, stopped = _at(config, folder / "forked"), _at(config, folder / "stopped")
    _complete(straight)
    _complete(forked, num_stages=1)
    _complete(forked)
    while _is_stopped(stopped):
        pass
    for what, other in (("forked from its trunk", forked), ("stopped and resumed", stopped)):
        _assert_equal(straight, other, f"{what}{where}")


def _at(config: RunConfig, store: Path, **sweep: Any) -> RunConfig:
    return dataclasses.replace(config, store=str(store), sweep=SweepConfig(**sweep))


def _complete(config: RunConfig, num_stages: int | None = None) -> None:
    Job(config, "check", [], Hooks(), num_stages).complete()


def _is_stopped(config: RunConfig) -> bool:
    """Train on for three steps, and say whether it is not through yet."""
    seen: list[Step] = []
    try:
        Job(config, "check", [], Hooks(lambda: len(seen) >= 3, seen.append)).complete()
    except InterruptedRunError:
        return True
    return False


def _assert_equal(config: RunConfig, other: RunConfig, what: str) -> None:
    folders = (
        Store(Path(each.store)).run(stage_ids(each, workload_of(each).fingerprint(each))[-1])
        for each in (config, other)
    )
    differences = compare(*folders).differences
    assert not differences, f"{what}, {differences[0]}"


def _made_up_text() -> str:
    chance = random.Random(7)  # noqa: S311  (no secret)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 7))) for _ in range(200)]
    return "\n\n".join(" ".join(chance.choices(words, k=12)) + "." for _ in range(600))
