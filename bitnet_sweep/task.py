"""What a training loop of one's own has to offer: five methods around an existing script (docs/extend.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

S = TypeVar("S")
"""Whatever a training carries from step to step: the task's own class."""


@dataclass(frozen=True)
class Start:
    """What a training begins with."""

    options: Any
    """``task_options`` of the run as the dataclass that the task was registered with; None without one."""
    seed: int
    device: torch.device
    steps: int
    """Length of the whole run."""


@dataclass(frozen=True)
class Stage:
    """What the run asks of one step."""

    learning_rate: float
    weight_decay: float
    number: int
    """1, 2, ...: the stage that the step belongs to."""


class Task(Protocol[S]):
    """A training loop of one's own, which the engine stages, forks, resumes, records and mirrors.

    A class that is made without arguments and registered as a part of the kind ``task``. It keeps nothing of
    a run on itself: all of that is on the state, which may be any object. This is a whole one::

        from dataclasses import dataclass
        from types import SimpleNamespace

        import torch

        from bitnet_sweep.parts import part
        from bitnet_sweep.task import pack, unpack

        @dataclass
        class Options:
            width: int = 8

        @part("task", "line", version=1, options=Options)
        class Line:
            \"\"\"Fits one layer to random points.\"\"\"

            def fresh(self, config):
                model = torch.nn.Linear(config.options.width, 1).to(config.device)
                return SimpleNamespace(model=model, optimizer=torch.optim.AdamW(model.parameters()))

            def step(self, state, step, stage):
                for group in state.optimizer.param_groups:
                    group["lr"], group["weight_decay"] = stage.learning_rate, stage.weight_decay
                loss = self.loss(state.model)
                state.optimizer.zero_grad()
                loss.backward()
                state.optimizer.step()
                return {"loss": loss}

            @torch.no_grad()
            def probe(self, state):
                return {"val/loss": self.loss(state.model)}

            def export(self, state):
                return pack(model=state.model, optimizer=state.optimizer)

            def restore(self, state, tensors, facts):
                unpack(tensors, facts, model=state.model, optimizer=state.optimizer)

            def loss(self, model):
                x = torch.randn(16, model.in_features, device=model.weight.device)
                return (model(x)[:, 0] - x.sum(1)).square().mean()

    The global generators of torch, NumPy and Python are seeded before :meth:`fresh` and kept in checkpoints;
    in each probe they are the same. A generator of the task's own, or the place in data read in order,
    belongs into :meth:`export`.

    Two more methods are taken where a class has them: ``fingerprint(options) -> str`` names the data by their
    content and is in the id; ``weights(state)`` gives the tensors that a finished run keeps, else those of
    :meth:`export`.
    """

    def fresh(self, config: Start) -> S:
        """The state before step 1."""

    def step(self, state: S, step: int, stage: Stage) -> Mapping[str, Any]:
        """One update of the state, in place.

        Args:
            state: whole; the next step may be that of another process.
            step: 1, 2, ...
            stage: with the learning rate and the weight decay of this update.

        Returns:
            Numbers by name. ``loss`` is asked for: where it is not finite, the run has diverged and ends.
            ``tokens``, training targets of this step, gives ``tokens_seen`` and ``perf/tokens_per_s``.
            ``grad_norm`` is ``optim/grad_norm`` in a record, any other ``train/<name>``: its mean since the
            last one.
        """

    def probe(self, state: S) -> Mapping[str, Any]:
        """Measure a state without changing it.

        Returns:
            Numbers by the names that records have. ``val/loss`` is asked for, the held-out loss. With
            ``ref/unigram_loss``, the loss of a predictor that ignores its input, outcomes are judged, such as
            *recovered*. Any other is recorded as it is, best with a prefix, ``probe/...``; ``perf/...``
            where time or memory decides it.
        """

    def export(self, state: S) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """All of the state: tensors by name, and facts that JSON can hold."""

    def restore(self, state: S, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Make a fresh state equal to the one that was exported; tensors are copied into those it has."""


def pack(**parts: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts of a model, an optimizer, a scheduler: what :meth:`Task.export` is to return.

    Args:
        parts: by name; each has a ``state_dict``, or is one.

    Raises:
        TypeError: one of them holds what is neither a tensor nor a number, text, list or dict.
    """
    tensors: dict[str, Tensor] = {}
    facts = {name: _packed(_dict_of(part), name, tensors) for name, part in parts.items()}
    return tensors, facts


def unpack(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], **parts: Any) -> None:
    """Load what :func:`pack` has made into the same parts.

    Args:
        tensors: of a checkpoint; they are copied.
        facts: likewise.
        parts: by the names they were packed with; each has a ``load_state_dict``, or is a dict.
    """
    for name, part in parts.items():
        state = _unpacked(facts[name], tensors)
        if isinstance(part, dict):
            part.clear()
            part.update(state)
        else:
            part.load_state_dict(state)


def _dict_of(part: Any) -> Any:
    return part if isinstance(part, Mapping) else part.state_dict()


def _packed(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON in which lists say what they stand for: a dict, as its keys may be numbers, or a tensor's name."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach()
        return ["tensor", path]
    if isinstance(value, Mapping):
        return ["dict", [[key, _packed(item, f"{path}/{key}", tensors)] for key, item in value.items()]]
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return [kind, [_packed(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]]
    if isinstance(value, float):
        return ["float", value.hex()]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(
        f"{path} is a {type(value).__name__}: a checkpoint holds tensors, numbers, text, lists, dicts"
    )


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, list):
        return value
    kind, content = value
    match kind:
        case "tensor":
            return torch.clone(tensors[content])  # the mapped file is aligned in its own way
        case "dict":
            return {key: _unpacked(item, tensors) for key, item in content}
        case "float":
            return float.fromhex(content)
        case _:
            items = [_unpacked(item, tensors) for item in content]
            return tuple(items) if kind == "tuple" else items
