"""What is checked of an optimizer, a model, a task, a schedule, a source of text and a metric."""

from __future__ import annotations

import dataclasses
import inspect
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bitnet_sweep.config import (
    DataConfig,
    DataName,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    Precision,
    RunConfig,
    ScheduleConfig,
    TokenizerConfig,
)
from bitnet_sweep.conformance.training import ALIKE, assert_alike, check_training
from bitnet_sweep.data.sources import open_documents
from bitnet_sweep.doors import settled
from bitnet_sweep.measure.own import measure, metrics_of
from bitnet_sweep.model.own import LEAST_POSITIONS, counts_of, make_model
from bitnet_sweep.parts import Part
from bitnet_sweep.stages import resolve
from bitnet_sweep.train.optimizer.any_torch import check_torch_class


def optimizer_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of an optimizer by its name."""
    own = OptimizerConfig(OptimizerName.torch, torch_class=part.name, options=options or None)
    config = RunConfig(model=ModelConfig(16, 2, 2), optimizer=own)
    return {
        "construction": lambda: _construction(part, config),
        "training": lambda: check_training(config, list(Precision)),
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

    return {"construction": construction, "order": order, "training": lambda: check_training(config)}


def task_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a task by its name."""

    def training() -> str:
        with tempfile.TemporaryDirectory(prefix="bitnet_sweep-parts-") as name:
            config = RunConfig(task=part.name, task_options=options, steps=12, probe_every_steps=4)
            assert_alike(resolve(settled(config)), Path(name), "")
        return ALIKE

    return {"training": training}


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

    return {"stages": stages, "training": lambda: check_training(config)}


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

    return {"documents": documents, "training": lambda: check_training(config)}


def metric_checks(part: Part, options: dict[str, Any]) -> dict[str, Callable[[], str]]:
    """Each check of a metric by its name."""
    config = RunConfig(model=ModelConfig(16, 2, 2), tokenizer=TokenizerConfig(vocab_size=300))
    trained = dataclasses.replace(config, metrics=[part.name], metric_options={part.name: options})
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(300, (4, 9), generator=generator).numpy()
    windows = [(ids[:3, :-1], ids[:3, 1:]), (ids[3:, :5], ids[3:, 1:6])]

    def values() -> str:
        metrics = metrics_of(trained)
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
        measure(metrics_of(trained), own, windows)
        assert torch.equal(torch.random.get_rng_state(), drawn), "it leaves other generators"
        for name, now in own.kept().items():
            assert torch.equal(now, weights[name]), f"it changes {name}"
        for now, was in zip(own.gradients(), gradients, strict=True):
            assert torch.equal(now, was), "it changes gradients"
        return "weights, gradients and generators are as before"

    return {"values": values, "model": model, "training": lambda: check_training(trained)}
