"""A run as a chain of nodes, and how training goes on from what is on disk of one.

Every stage but the last is a node in ``stages/<stage_id>``, a trunk, from whose end any run can fork; the
last stage is a node in ``runs/<run_id>``. With ``sweep.share_stages=false`` the whole run is one node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bitnet_sweep import files
from bitnet_sweep.config import RunConfig
from bitnet_sweep.records import Record
from bitnet_sweep.stages import Timetable, stage_ends
from bitnet_sweep.store import BOUNDARY, FINISHED, LATEST, Folder, Status, Store
from bitnet_sweep.store.folder import Past


@dataclass(frozen=True)
class Node:
    """A stretch of training that ends in a folder of its own."""

    stage_ids: tuple[str, ...]
    """Every stage up to its end."""
    end: int
    """Its last step."""
    parent: Node | None
    """The trunk that it forks from; None where it begins at step 0."""
    folder: Folder
    is_run: bool
    """It ends the run; otherwise it is a trunk."""

    @property
    def id(self) -> str:
        """Its folder in the store: a stage can end one run and be a trunk of others."""
        return f"{'runs' if self.is_run else 'stages'}/{self.folder.id}"

    def chain(self) -> list[Node]:
        """From the start of the run to this node."""
        return [*(self.parent.chain() if self.parent else []), self]

    def is_done(self) -> bool:
        """Whether the folder holds all that the node should leave behind."""
        return self.is_done_by(self.folder.status())

    def is_done_by(self, status: Status | None) -> bool:
        """The same, given the folder's status."""
        return resume_point(self.on_disk(status)) is ResumePoint.done

    def on_disk(self, status: Status | None, past: Past | None = None, keeps_weights: bool = True) -> OnDisk:
        """What is there of it, checkpoints by their names alone: that one is corrupt turns out in loading it.

        Args:
            status: of its folder.
            past: of :func:`whole_past` up to its end.
            keeps_weights: whether the end of a run leaves its weights.
        """
        told = None if status is None else status.diverged_step
        return OnDisk(
            is_run=self.is_run,
            has_parent=self.parent is not None,
            is_finished=status is not None and status.state == FINISHED,
            is_whole=past is not None,
            has_diverged=told is not None or (past is not None and diverged_step(past[0]) is not None),
            has_checkpoint=self.folder.has_checkpoint(LATEST),
            has_boundary=self.folder.has_checkpoint(BOUNDARY),
            has_weights=not keeps_weights or self.folder.final_path.exists(),
        )

    def reached(self) -> int:
        """The last step that need not be trained again; 0 where there is no checkpoint."""
        if self.folder.has_checkpoint(BOUNDARY):
            return self.end
        try:
            document = files.read_json(self.folder.path / f"{LATEST}.json")
            return int(document["facts"]["step"])
        except (OSError, ValueError, TypeError, KeyError):
            return 0


class ResumePoint(Enum):
    """Where training goes on."""

    done = "nothing is left to do"
    publish = "all of it is there, and only its status does not say so yet"
    checkpoint = "it goes on from its newest checkpoint"
    fork = "it begins at its parent's end"
    fresh = "it begins at step 0"


@dataclass(frozen=True)
class OnDisk:
    """What a crash can leave of a node, as far as it decides where training goes on."""

    is_run: bool
    has_parent: bool
    is_finished: bool
    """By its status."""
    is_whole: bool
    """Every record is there, up to its end or to where it diverged."""
    has_diverged: bool
    has_checkpoint: bool
    """To resume from."""
    has_boundary: bool
    """To fork from."""
    has_weights: bool
    """Those of a run are there, or none are wanted."""


def resume_point(found: OnDisk) -> ResumePoint:
    """Where training of a node goes on.

    A process can die between leaving the boundary or the weights and the status: then nothing is trained
    again. A trunk that has diverged leaves nothing to fork from; one that is finished may have been freed.
    """
    is_published = found.has_weights if found.is_run else found.has_boundary or found.has_diverged
    if found.is_finished and (found.is_run or is_published):
        return ResumePoint.done
    if found.is_whole and is_published:
        return ResumePoint.publish
    if found.has_checkpoint:
        return ResumePoint.checkpoint
    return ResumePoint.fork if found.has_parent else ResumePoint.fresh


def node_of(config: RunConfig, store: Store, stage_ids: Sequence[str], num_stages: int | None = None) -> Node:
    """The node that ends a run, or the trunk of it that ends behind so many stages.

    Args:
        config: resolved.
        store: of the nodes' folders.
        stage_ids: of all of the run's stages.
        num_stages: fewer than the run has; None ends the run.
    """
    ids, ends = tuple(stage_ids), stage_ends(config.stages)
    before_the_run = len(ids) - 1 if config.sweep.share_stages else 0
    trunk: Node | None = None
    for i in range(before_the_run if num_stages is None else num_stages):
        trunk = Node(ids[: i + 1], ends[i], trunk, store.stage(ids[i]), is_run=False)
    if num_stages is None:
        return Node(ids, ends[-1], trunk, store.run(ids[-1]), is_run=True)
    assert trunk is not None and trunk.end < ends[-1], "a trunk has stages, and fewer than its run"  # noqa: PT018
    return trunk


def whole_past(folder: Folder, timetable: Timetable, until_step: int) -> Past | None:
    """What there is up to a step; None where a record is missing: a machine can lose the last ones."""
    try:
        past = folder.past(until_step)
    except ValueError:
        return None
    diverged = diverged_step(past[0])
    probed = range(1, (diverged or until_step) + 1)
    steps = {step for step in probed if timetable.is_probed(step)} | ({diverged} if diverged else set())
    return past if [record["step"] for record in past[0]] == sorted(steps) else None


def diverged_step(records: list[Record]) -> int | None:
    """Where the loop ended because the loss was not finite, as its last record says."""
    if not records or records[-1]["train/loss_batch"] is not None:
        return None
    step = records[-1]["step"]
    assert isinstance(step, int), "a record without a step"
    return step
