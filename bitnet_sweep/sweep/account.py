"""What surrounds the training of a node: the lease of its folder, and the account of it in its status."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitnet_sweep import files, identity
from bitnet_sweep.code import code
from bitnet_sweep.config import RunConfig, recorded
from bitnet_sweep.doors import code_of_parts
from bitnet_sweep.store import FAILED, FINISHED, INTERRUPTED, LATEST, RUNNING, Status, checkpoint
from bitnet_sweep.store.checkpoint import CorruptCheckpointError
from bitnet_sweep.store.lease import HeldError, Lease, LostError, Watch, lease
from bitnet_sweep.store.outcome import outcome_of, transition_figures
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.node import Node, diverged_step
from bitnet_sweep.sweep.provenance import following, provenance

_MIRRORED = ("commit", "cpu_class", "cpu", "gpu", "threads", "versions")
"""What of a run's provenance goes to its mirror; the host's name stays in the store."""

LEASE_POLL_SECONDS = 0.2
"""How often a job looks whether another one has finished the stage it needs."""


@dataclass(frozen=True)
class Origin:
    """The command, the program and the machine that train a node."""

    provenance: dict[str, Any]
    code: dict[str, str]
    """The fingerprints of all source that trains it: of this program and of the user's parts."""

    @classmethod
    def of(cls, config: RunConfig, command: list[str], device: torch.device) -> Origin:
        """Those of this process."""
        return cls(provenance(command, config.threads, device), code() | code_of_parts(config))

    def mirrored(self) -> dict[str, Any]:
        """What the mirror says of them."""
        told = {key: self.provenance.get(key) for key in _MIRRORED}
        return told | {"code": identity.digest(self.code)}


@contextmanager
def waited_for(folder: Path, check: Callable[[], None]) -> Iterator[Lease]:
    """Hold the lease of a folder, waiting while another process trains there.

    Args:
        folder: of a node.
        check: called while it waits; what it raises ends that.
    """
    watch, wait = Watch(), files.Wait(folder)
    with ExitStack() as stack:
        while True:
            try:
                held = stack.enter_context(lease(folder, watch))
                break
            except HeldError as error:
                check()
                wait.tell(str(error))
                time.sleep(LEASE_POLL_SECONDS)
        yield held


@contextmanager
def accounted(node: Node, config: RunConfig, parameters: dict[str, int], origin: Origin) -> Iterator[Status]:
    """The node's status: running in here, then finished, interrupted, or failed with its traceback.

    It says finished last of all, so nothing that a finished node has no use for stays behind.
    """
    folder, before = node.folder, node.folder.status()
    origin_of_all = origin.provenance
    if before is not None and folder.has_checkpoint(LATEST):
        origin_of_all = following(origin_of_all, before.provenance)
    status = Status(
        state=RUNNING,
        stage_ids=list(node.stage_ids),
        run_id=folder.id if node.is_run else None,
        parent_stage_id=node.stage_ids[-2] if len(node.stage_ids) > 1 else None,
        attempts=before.attempts + 1 if before else 1,
        parameters=parameters,
        train_seconds=before.train_seconds if before else 0.0,
        provenance=origin_of_all,
        science_version=identity.SCIENCE_VERSION,
        code=origin.code,
    )
    folder.write_config(recorded(config))
    folder.write_status(status)
    started = time.monotonic()
    try:
        yield status
        checkpoint.delete(folder.path, LATEST)
    except LostError:
        raise  # the status is another process's now
    except BaseException as error:
        if isinstance(error, InterruptedRunError) or not isinstance(error, Exception):
            status.state = INTERRUPTED
        elif not isinstance(error, CorruptCheckpointError):  # those are mended, then it goes on
            status.state, status.error = FAILED, traceback.format_exc()
        status.train_seconds += time.monotonic() - started
        with suppress(OSError):  # a full disk must not hide what went wrong
            folder.write_status(status)
        raise
    status.state = FINISHED
    status.train_seconds += time.monotonic() - started
    folder.write_status(status)


def note_trunk(node: Node, status: Status) -> None:
    """Say in a node's status where the trunk comes from that it forks from, if it does so now."""
    if node.parent is not None and not node.folder.has_checkpoint(LATEST):
        trunk = node.parent.folder.status()
        if trunk is not None:
            status.provenance = following(status.provenance, trunk.provenance)


def note_divergence(node: Node, status: Status) -> None:
    """Say in a node's status where its training diverged, if it did."""
    status.diverged_step = diverged_step(node.folder.records())
    status.outcome = "diverged" if status.diverged_step is not None else None


def note_outcome(node: Node, config: RunConfig, status: Status) -> dict[str, Any]:
    """Judge a run that came to its end in its status; the figures for the mirror's summary."""
    records = node.folder.records()
    outcome = outcome_of(
        records,
        steps=config.steps,
        boundary_step=config.boundary_step,
        warmup_steps=config.warmup_steps,
        diverged=status.diverged_step is not None,
    )
    status.outcome, status.marks = outcome.kind, outcome.marks.noted
    figures = transition_figures(records, steps=config.steps, boundary_step=config.boundary_step)
    sizes = {f"parameters/{name}": count for name, count in status.parameters.items()}
    stage_ids = " ".join(status.stage_ids)  # what the report pairs arms by, also when it reads W&B
    told = {"science_version": status.science_version, "code": identity.digest(status.code)}
    marks = "unknown" if status.marks is None else ", ".join(status.marks) or "none"
    return figures | sizes | told | {"outcome": outcome.kind, "marks": marks, "stage_ids": stage_ids}
