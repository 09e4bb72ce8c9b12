"""A :class:`~bitnet_sweep.task.Task` as the engine trains it: records, log, checkpoints and divergence."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitnet_sweep.config import ConfigError, RunConfig
from bitnet_sweep.records import LOG, Record, Value
from bitnet_sweep.task import Stage, Start, Task
from bitnet_sweep.workload import Training, Work, Workload
from bitnet_sweep.workload.generators import PROBE_SEED, Generators
from bitnet_sweep.workload.steps import Loop, Mean

_TASK = "task/"
"""How the names of a task's own tensors begin in a checkpoint."""
_ENGINES = {
    "step",
    "stage",
    "tokens_seen",
    "train/loss",
    "train/loss_batch",
    "optim/lr",
    "optim/weight_decay",
}
"""Fields of a record that no probe tells."""
_FIELDS = {"loss": "train/loss", "grad_norm": "optim/grad_norm"}
"""What a step tells and where a record has its mean; any other is ``train/<name>``."""


class TaskError(Exception):
    """A task has broken its contract; ``str()`` is one line."""


class OwnWorkload(Workload):
    """A task of somebody's own.

    Args:
        name: what ``task=`` calls it.
        task: without anything of a run.
        options: its options in a config, as its own dataclass.
    """

    def __init__(self, name: str, task: Task[Any], options: Any) -> None:
        self._name = name
        self._task = task
        self._options = options

    def data_key(self, config: RunConfig) -> Hashable:
        """See :meth:`Workload.data_key`."""
        return repr((self._name, config.task_options))

    def fingerprint(self, config: RunConfig) -> str:
        """What the task says of its data; empty where it says nothing."""
        told = getattr(self._task, "fingerprint", None)
        return "" if told is None else str(told(self._options))

    def prepare(self, config: RunConfig, cache: Path, fingerprint: str) -> None:
        """Nothing to do: a task reads its data itself."""

    def check(self, configs: Sequence[RunConfig]) -> None:
        """What a task must have; its options are checked where they are read."""
        asked = ("fresh", "step", "probe", "export", "restore")
        if missing := [name for name in asked if not callable(getattr(self._task, name, None))]:
            told = f"has no method {missing[0]}(); a task has {', '.join(asked)} (docs/extend.md)"
            raise ConfigError("task", self._name, told)

    def remarks(self, configs: Sequence[RunConfig]) -> list[str]:
        """Nothing: a task has no word in a plan."""
        return []

    def work(self, config: RunConfig) -> Work:
        """Runs of the same options take equally long; nothing else is known beforehand."""
        return Work(
            kind=(self._name, config.task_options),
            smaller=f"what task={self._name} is given as task_options",
        )

    def open(self, config: RunConfig, cache: Path, fingerprint: str, device: torch.device) -> Training[Any]:
        """See :meth:`Workload.open`."""
        start = Start(self._options, config.seed, device, config.steps)
        return OwnTraining(self._name, self._task, config, start)


@dataclass
class OwnState:
    """The state of a task, and the sums behind its next record and its next row of the log."""

    task: Task[Any]
    own: Any
    generators: Generators
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """The numbers of the steps since the last record added up, by its fields."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many steps each is the sum of."""
    log: Mean = field(default_factory=Mean)
    tokens: int | None = None
    """Since step 1; None where the task does not count them."""
    diverged: bool = False

    def export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See :meth:`State.export`."""
        own, facts = self._exported()
        tensors, generators = self.generators.export()
        tensors |= {_TASK + name: tensor for name, tensor in own.items()}
        return tensors, {
            "step": self.step,
            "sums": {name: value.hex() for name, value in self.sums.items()},  # one may be infinite
            "counts": dict(self.counts),
            "log_sum": self.log.total,
            "log_steps": self.log.count,
            "tokens": self.tokens,
            "generators": generators,
            "task": dict(facts),
        }

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over an exported state, in place."""
        own = {name.removeprefix(_TASK): t for name, t in tensors.items() if name.startswith(_TASK)}
        with self.generators.in_use():
            self.task.restore(self.own, own, facts["task"])
        self.generators.restore(tensors, facts["generators"])
        self.step = facts["step"]
        self.sums = {name: float.fromhex(value) for name, value in facts["sums"].items()}
        self.counts = dict(facts["counts"])
        self.log = Mean(facts["log_sum"], facts["log_steps"])
        self.tokens = facts["tokens"]

    def weights(self) -> dict[str, Tensor]:
        """See :meth:`State.weights`."""
        weights = getattr(self.task, "weights", None)
        return self._exported()[0] if weights is None else _apart(weights(self.own), "weights()")

    def _exported(self) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
        found: object = self.task.export(self.own)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TaskError(f"export() must return tensors and facts; it returned a {type(found).__name__}")
        return _apart(found[0], "export()"), found[1]


class OwnTraining(Loop[OwnState], Training[OwnState]):
    """A task's own steps and probes, for the loop that is everybody's."""

    def __init__(self, name: str, task: Task[Any], config: RunConfig, start: Start) -> None:
        super().__init__(config)
        self._name = name
        self._task = task
        self._start = start

    def fresh(self) -> OwnState:
        """See :meth:`Training.fresh`."""
        generators = Generators(self.config.seed, self._start.device)
        with generators.in_use():
            own = self._task.fresh(self._start)
        return OwnState(self._task, own, generators)

    def restored(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> OwnState:
        """See :meth:`Training.restored`."""
        state = self.fresh()
        state.restore(tensors, facts)
        return state

    def update(self, state: OwnState, step: int, stage: Stage) -> tuple[float, int]:
        """Have the task make one update."""
        with state.generators.in_use():
            found = self._numbers("step()", "loss", self._task.step(state.own, step, stage))
        tokens = found.pop("tokens", None)
        if tokens is not None:
            state.tokens = (state.tokens or 0) + int(tokens)
        for name, value in found.items():
            field = _FIELDS.get(name, f"train/{name}")
            state.sums[field] = state.sums.get(field, 0.0) + value
            state.counts[field] = state.counts.get(field, 0) + 1
        return found["loss"], int(tokens or 0)

    def told(self, state: OwnState, loss: float, stage: Stage) -> Record:
        """Means of what the steps have told, and what the last one was given."""
        record: Record = {} if state.tokens is None else {"tokens_seen": state.tokens}
        record |= {field: total / state.counts[field] for field, total in state.sums.items()}
        state.sums, state.counts = {}, {}
        return record | {
            "train/loss_batch": loss,
            "optim/lr": stage.learning_rate,
            "optim/weight_decay": stage.weight_decay,
        }

    def measured(self, state: OwnState, is_end: bool) -> tuple[dict[str, Value], tuple[()]]:
        """What the task's probe finds; a state that has diverged is not measured."""
        return ({"val/loss": None} if state.diverged else self._probed(state)), ()

    def _probed(self, state: OwnState) -> dict[str, Value]:
        with Generators(PROBE_SEED, self._start.device).in_use():
            found = self._numbers("probe()", "val/loss", self._task.probe(state.own))
        if taken := [name for name in found if name in _ENGINES or name.startswith(LOG)]:
            raise TaskError(f"task={self._name}: probe() must not return {taken[0]}, which the engine tells")
        return dict(found)

    def _numbers(self, method: str, needed: str, found: object) -> dict[str, float]:
        """What a method of the task returned, checked."""
        where = f"task={self._name}: {method}"
        if not isinstance(found, Mapping):
            raise TaskError(f"{where} must return numbers by name; it returned a {type(found).__name__}")
        if needed not in found:
            raise TaskError(
                f"{where} must return {needed}; it returned {', '.join(map(str, found)) or 'nothing'}"
            )
        try:
            return {str(name): number_of(value) for name, value in found.items()}
        except (TypeError, ValueError, RuntimeError) as error:
            kinds = ", ".join(f"{name} as {type(value).__name__}" for name, value in found.items())
            raise TaskError(f"{where} must return numbers by name; it returned {kinds}") from error


def number_of(value: Any) -> float:
    """The number that a tensor or an array holds, or a number itself.

    Raises:
        TypeError, ValueError, RuntimeError: it is none.
    """
    told = value.item() if hasattr(value, "item") else value
    if isinstance(told, str | bytes):
        raise TypeError(f"{told!r} is no number")
    return told if type(told) is int else float(told)


def _apart(tensors: Mapping[str, Any], method: str) -> dict[str, Tensor]:
    """The tensors, those that share memory copied: a file holds each by itself."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TaskError(f"{method} must give tensors by name; {name} is a {type(tensor).__name__}")
        place = tensor.untyped_storage().data_ptr()
        apart[str(name)] = tensor.detach().clone() if place in seen else tensor.detach()
        seen.add(place)
    return apart
