"""What the store knows of a run's W&B mirror: ``<store>/wandb/<run_id>.mirror.json``, by W&B's own files.

``wandb sync`` appends: a run that was rebuilt, or had been online for a while, would have its rows twice
(measured, wandb 0.31). So the store keeps what it takes to open the W&B run again, and whether the server
has all of it; uploading then asks the server which steps it lacks.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any, Self

from bitnet_sweep import files

SUFFIX = ".mirror.json"
"""After the run_id; W&B's tools leave JSON files of their own in the folder."""


@dataclass
class Mirror:
    """One W&B run, as it is to look on the server."""

    run_id: str
    group: str
    name: str
    tags: list[str]
    config: dict[str, Any]
    """The whole run config, enums by name; its ``track`` says which project and server."""
    state: str | None = None
    """None while the run is being written, and after a kill."""
    summary: dict[str, Any] = field(default_factory=dict)
    uploaded: bool = False
    """The server has every record, the state and the summary."""
    alerted: list[str] = field(default_factory=list)
    """The kinds of alert that were sent; noted before sending, so that none is sent twice."""

    @property
    def exit_code(self) -> int:
        """How W&B is told of a run's end: 0 finished, 1 failed, 130 interrupted or killed."""
        return {"finished": 0, "failed": 1}.get(self.state or "", 130)

    def save(self, folder: Path) -> None:
        """Write the mirror's file into W&B's folder of the store.

        Raises:
            OSError: the folder cannot be written.
        """
        files.write_json(folder / f"{self.run_id}{SUFFIX}", dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a mirror's file.

        Raises:
            OSError, ValueError, TypeError: it is not there, or not such a file.
        """
        return cls(**files.read_json(path))


def sync_command(store: Path) -> str:
    """What uploads the runs of a store, to be typed into a shell."""
    return f"python -m bitnet_sweep.track.sync {shlex.quote(str(store))}"


def wandb_dirs(folder: Path, run_id: str) -> Iterator[Path]:
    """W&B's own directories of a run: ``[offline-]run-<time>-<run_id>``, in one second also ``...-1``."""
    for end in ("", "-[0-9]*"):
        yield from folder.glob(f"*run-*-{escape(run_id)}{end}")


def remove_wandb_dirs(folder: Path, run_id: str) -> None:
    """Make room for a mirror that is built anew."""
    for path in list(wandb_dirs(folder, run_id)):
        shutil.rmtree(path, ignore_errors=True)


def mark_uploaded(folder: Path, run_id: str) -> None:
    """Leave W&B's own mark, so that a plain ``wandb sync`` does not append the run a second time."""
    for path in wandb_dirs(folder, run_id):
        (path / f"run-{run_id}.wandb.synced").touch()
