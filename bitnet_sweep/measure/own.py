"""Metrics of a user's own: what they are given, and what is recorded of what they return.

Shapes: B batch, T positions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitnet_sweep.config import ConfigError, RunConfig
from bitnet_sweep.model.interface import Model
from bitnet_sweep.own_code import in_a_line
from bitnet_sweep.parts import find
from bitnet_sweep.records import FIELDS, LOG, Value
from bitnet_sweep.workload.generators import PROBE_SEED, Generators
from bitnet_sweep.workload.own import number_of

Batch = tuple[Tensor, Tensor]
"""Token ids (B, T), int64, and the ids that follow them (B, T), on the model's device."""

_TAKEN = {name.partition("/")[0] for name in (*FIELDS, LOG)}
_FIELD = re.compile(r"[\w.-]+(/[\w.-]+)*")


class Metric(Protocol):
    """A part of the kind ``metric``: a function, called at each probe."""

    def __call__(self, model: Model, batches: Sequence[Batch], /) -> Mapping[str, Any]:
        """Numbers by name, the same names each time; ``NAME/field`` is what records call them.

        A metric that was registered with options is given them behind the batches, as its dataclass.

        It is called without gradients and in evaluation mode. It must change neither the model nor its
        gradients. What it draws from global generators is the same in every probe.

        Args:
            model: from token ids (B, T) to logits (B, T, V).
            batches: the held-out tokens that ``val/loss`` is taken over; B and T may differ between them.
        """


def metrics_of(config: RunConfig) -> dict[str, Metric]:
    """The metrics of a run, each with its options.

    Raises:
        ConfigError: there is none here, or its fields would have names of ours.
    """
    found: dict[str, Metric] = {}
    for name in config.metrics:
        if name in _TAKEN:
            raise ConfigError("metrics", name, f"is how fields of ours begin: {', '.join(sorted(_TAKEN))}")
        part = find("metric", name, key="metrics")
        options = part.options_of(config.metric_options.get(name, {}), f"metric_options.{name}")
        found[name] = part.load() if options is None else _with_options(part.load(), options)
    return found


def _with_options(metric: Callable[..., Mapping[str, Any]], options: Any) -> Metric:
    return lambda model, batches: metric(model, batches, options)


def measure(
    metrics: Mapping[str, Metric],
    model: Model,
    windows: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> dict[str, Value]:
    """The fields of all metrics; what is not finite comes back as such.

    Raises:
        ConfigError: a metric fails, returns something else, or changes the model.
    """
    values: dict[str, Value] = {}
    before = _state_of(model) if metrics else []
    for name, metric in metrics.items():
        batches = [
            (torch.tensor(x, device=model.device), torch.tensor(y, device=model.device)) for x, y in windows
        ]
        with _evaluating(model), torch.no_grad(), Generators(PROBE_SEED, model.device).in_use():
            values |= {
                f"{name}/{field}": value for field, value in _asked(name, metric, model, batches).items()
            }
        if _state_of(model) != before:
            raise ConfigError("metrics", name, "must not change the model or its gradients")
    return values


def _asked(name: str, metric: Callable[..., Any], model: Model, batches: list[Batch]) -> dict[str, float]:
    try:
        found = metric(model, batches)
        if not isinstance(found, Mapping):
            raise TypeError(f"it must return numbers by name; it returned a {type(found).__name__}")
        told = {field: number_of(value) for field, value in found.items()}
    except Exception as error:  # whatever its author's code raises
        raise ConfigError("metrics", name, f"fails: {in_a_line(error)}") from error
    if not told or not all(isinstance(field, str) and _FIELD.fullmatch(field) for field in told):
        raise ConfigError(
            "metrics", name, f"must name its numbers in letters, digits and ._-/, not {list(told)}"
        )
    return told


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Evaluation mode inside; afterwards the mode of before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _state_of(model: Model) -> list[Any]:
    """What tells that a tensor of the model or a gradient was written to.

    Tensors count how often they are written to. Their sums tell what goes round that, as ``.data`` does.
    """
    tensors = [*model.kept().values(), *(p.grad for p in model.parameters())]
    return [None if t is None else (id(t), t._version, _total(t)) for t in tensors]


def _total(tensor: Tensor) -> str:
    return str(tensor.sum(dtype=torch.float64).item())  # as text what is not a number equals itself
