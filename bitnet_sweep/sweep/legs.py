"""A run as a chain of legs, each with a folder of its own.

Every stage but the last is a leg in ``stages/<stage_id>``, so that any other run can fork from its end;
the last stage is a leg in ``runs/<run_id>``. With ``sweep.share_stages=false`` the whole run is one leg
in its own folder. With ``sweep.until_stage`` the chain ends at a trunk.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError, RunConfig
from bitnet_sweep.stages import stage_ends
from bitnet_sweep.store import BOUNDARY, FINISHED, LATEST, Folder, Store


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

    def is_done(self) -> bool:
        """Whether the folder holds all that the leg should leave behind."""
        status = self.folder.status()
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

    def has(self, name: str) -> bool:
        """Whether there is a checkpoint of that name (it may still turn out corrupt)."""
        return (self.folder.path / f"{name}.json").exists()


def legs_of(config: RunConfig, store: Store, ids: list[str]) -> list[Leg]:
    """The legs of a resolved config whose stages have these ids.

    Raises:
        ConfigError: ``sweep.until_stage`` names no stage that another one follows.
    """
    ends = stage_ends(config.stages)
    until = config.sweep.until_stage
    if until is not None and until >= len(ids):
        raise ConfigError("sweep.until_stage", until, f"must be less than the {len(ids)} stages of the run")
    trunks = [Leg(store.stage(ids[i]), ends[i], ids[: i + 1], is_run=False) for i in range(len(ids) - 1)]
    if until is not None:
        return trunks[:until]
    run = Leg(store.run(ids[-1]), ends[-1], ids, is_run=True)
    return [*trunks, run] if config.sweep.share_stages else [run]
