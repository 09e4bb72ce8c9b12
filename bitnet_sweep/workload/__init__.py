"""What the engine asks of a task: the seam behind which the transformer is one of many.

The engine plans, forks, resumes, records and mirrors; what is trained it knows by these interfaces alone.
``train.task`` implements them for the transformer, ``workload.own`` for a :class:`~bitnet_sweep.task.Task`
of somebody's own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from bitnet_sweep.config import RunConfig
from bitnet_sweep.records import LogRow, Record, SampleRow

if TYPE_CHECKING:  # a plan is made without it
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Step:
    """A completed step."""

    step: int
    loss: float
    """Training objective of its batch."""
    record: Record | None = None
    """There where the step is probed."""
    samples: tuple[SampleRow, ...] = ()
    log: LogRow | None = None
    """There where the training log has the step; it costs nothing, as every step's loss is read anyway."""


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk."""

    trunk: int
    """The checkpoint that a shared stage leaves."""
    final: int
    """A run's final weights."""
    training: int
    """The most that the checkpoints of a run take while it trains."""


@dataclass(frozen=True)
class Work:
    """What is known of a run's training before it begins."""

    kind: object
    """Runs of one kind compute alike, so they take equally long for a step."""
    smaller: str
    """What to set lower where memory does not suffice, and what else helps, in words."""
    cost: float | None = None
    """What a step costs, in units that are the task's own; None where it cannot be told."""
    tokens: int | None = None
    """Training targets of a step."""
    parameters: dict[str, int] = field(default_factory=dict)
    """How many there are, by kind."""
    sizes: Sizes | None = None


class State(Protocol):
    """What training carries from step to step."""

    @property
    def diverged(self) -> bool:
        """A loss stopped being finite; there is no next step."""

    def export(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Tensors, and JSON facts with ``step`` among them, of which an equal state can be made."""

    def weights(self) -> Mapping[str, Tensor]:
        """What a finished run leaves."""


S = TypeVar("S", bound=State)


class Training(Protocol[S]):
    """One run with its data at hand, on its device."""

    def fresh(self) -> S:
        """Step 0."""

    def restored(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> S:
        """The state that an :meth:`State.export` was made of."""

    def steps(self, state: S, until_step: int) -> Iterator[Step]:
        """Train ``state``, in place, and yield every step that is completed.

        Between two of them the state is whole: stopping there and going on later, from memory or from a
        checkpoint, changes nothing in any weight or record. A loss that is not finite ends the iteration with
        a record whose ``train/loss_batch`` is null.
        """


@runtime_checkable
class Workload(Protocol):
    """A task as the engine sees it; all but :meth:`open` is asked in planning, which loads no torch."""

    def data_key(self, config: RunConfig) -> Hashable:
        """What decides the data of a run: of equal ones the fingerprint is asked for once."""

    def fingerprint(self, config: RunConfig) -> str:
        """A name of the data by their content; it is in the id.

        Raises:
            ConfigError: they cannot be read.
        """

    def prepare(self, config: RunConfig, cache: Path, fingerprint: str) -> None:
        """Make what has to be made of the data once, before any job starts.

        Args:
            config: resolved.
            cache: a folder of the store to keep it in.
            fingerprint: of the data.

        Raises:
            ConfigError: they cannot be used.
        """

    def check(self, configs: Sequence[RunConfig]) -> None:
        """Refuse what these runs ask for and cannot have.

        Raises:
            ConfigError: naming the key.
        """

    def remarks(self, configs: Sequence[RunConfig]) -> list[str]:
        """Lines that a plan of these runs is to say."""

    def work(self, config: RunConfig) -> Work:
        """What a resolved config will take."""

    def open(self, config: RunConfig, cache: Path, fingerprint: str, device: torch.device) -> Training[Any]:
        """Get ready to train, with what :meth:`prepare` has made."""
