"""A run as a chain of legs, each with a folder of its own.

Every stage but the last is a leg in ``stages/<stage_id>``, so that any other run can fork from its end;
the last stage is a leg in ``runs/<run_id>``. With ``sweep.share_stages=false`` the whole run is one leg
in its own folder. With ``sweep.until_stage`` the chain ends at a trunk.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError, RunConfig
from bitnet_sweep.records import LogRow, Record, SampleRow
from bitnet_sweep.stages import Timetable
from bitnet_sweep.store import BOUNDARY, FINISHED, LATEST, Folder, Status, Store

Past = tuple[list[Record], list[SampleRow], list[LogRow]]
"""What a folder holds up to some step."""


@dataclass(frozen=True)
class Leg:
    """A stretch of training that ends in a folder of its own."""

    folder: Folder
    end: int
    """Its last step."""
    stage_ids: list[str]
    """Every stage up to its end."""
    is_run: bool
    """It ends the run; otherwise it is a trunk."""
    timetable: Timetable
    """The run's."""
    keeps_weights: bool
    """Whether the run's end leaves its weights."""

    def is_done(self) -> bool:
        """Whether the folder holds all that the leg should leave behind."""
        return self.is_done_by(self.folder.status())

    def is_done_by(self, status: Status | None) -> bool:
        """The same, given the folder's status."""
        if status is None or status.state != FINISHED:
            return False
        return self.is_run or status.diverged_step is not None or self.has(BOUNDARY)

    def reached(self) -> int:
        """The last step that need not be trained again; 0 where there is no checkpoint.

        What is corrupt turns out when it is loaded.
        """
        if self.has(BOUNDARY):
            return self.end
        try:
            document = files.read_json(self.folder.path / f"{LATEST}.json")
            return int(document["facts"]["step"])
        except (OSError, ValueError, TypeError, KeyError):
            return 0

    def past(self, until_step: int) -> Past | None:
        """What there is up to a step; None where a record is missing: a machine can lose the last ones."""
        try:
            records, samples = self.folder.records(until_step), self.folder.samples(until_step)
        except ValueError:
            return None
        diverged = diverged_step(records)
        probed = range(1, (diverged or until_step) + 1)
        steps = {step for step in probed if self.timetable.is_probed(step)}
        whole = sorted(steps | ({diverged} if diverged else set()))
        if [record["step"] for record in records] != whole:
            return None
        return records, samples, self.folder.log(until_step)

    def left_behind(self) -> Past | None:
        """All of a leg that came to its end, whatever its status says; None where it did not.

        A process can die between leaving the checkpoint or the weights and the status: the stage is not
        trained again.
        """
        past = self.past(self.end)
        if past is None:
            return None
        if self.is_run:
            published = self.folder.final_path.exists() or not self.keeps_weights
        else:
            published = self.has(BOUNDARY) or diverged_step(past[0]) is not None
        return past if published else None

    def has(self, name: str) -> bool:
        """Whether there is a checkpoint of that name (it may still turn out corrupt)."""
        return (self.folder.path / f"{name}.json").exists()


def legs_of(config: RunConfig, store: Store, ids: list[str]) -> list[Leg]:
    """The legs of a resolved config whose stages have these ids.

    Raises:
        ConfigError: ``sweep.until_stage`` names no stage that another one follows.
    """
    until = config.sweep.until_stage
    if until is not None and until >= len(ids):
        raise ConfigError("sweep.until_stage", until, f"must be less than the {len(ids)} stages of the run")
    timetable, keeps_weights = Timetable.of(config), config.sweep.keep_final

    def leg(folder: Folder, i: int) -> Leg:
        is_run = i == len(ids) - 1
        return Leg(folder, timetable.ends[i], ids[: i + 1], is_run, timetable, keeps_weights)

    trunks = [leg(store.stage(ids[i]), i) for i in range(len(ids) - 1)]
    if until is not None:
        return trunks[:until]
    run = leg(store.run(ids[-1]), len(ids) - 1)
    return [*trunks, run] if config.sweep.share_stages else [run]


def diverged_step(records: list[Record]) -> int | None:
    """Where the loop ended because the loss was not finite, as its last record says."""
    if not records or records[-1]["train/loss_batch"] is not None:
        return None
    step = records[-1]["step"]
    assert isinstance(step, int), "a record without a step"
    return step
