"""The store: the folders of all runs and trunks, and the sweeps that asked for them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError
from bitnet_sweep.store.codec import SCHEMA, check_schema
from bitnet_sweep.store.folder import Folder

ARCHIVE_SUFFIX = ".tar.gz"

_PARTS = ("store.json", "runs", "stages", "sweeps")


@dataclass(frozen=True)
class Store:
    """Paths under one root; nothing is read or written until asked for."""

    root: Path

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    def run(self, run_id: str) -> Folder:
        return Folder(self.root / "runs" / run_id)

    def stage(self, stage_id: str) -> Folder:
        return Folder(self.root / "stages" / stage_id)

    def runs(self) -> list[Folder]:
        """The run folders that are there, by id."""
        return _folders(self.root / "runs")

    def stages(self) -> list[Folder]:
        """The trunk folders that are there, by id."""
        return _folders(self.root / "stages")

    def open_for_writing(self) -> None:
        """Make the store ready.

        Raises:
            ConfigError: it cannot be written, its file system lacks something, or a newer version made it.
        """
        check_is_no_archive("store", self.root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            files.try_out(self.root)
            document = files.read_json(self.root / "store.json")
            if document is None:
                files.write_json(self.root / "store.json", {"schema": SCHEMA})
                return
        except OSError as error:
            raise ConfigError(
                "store", self.root, f"must be a folder that can be written ({error.strerror})"
            ) from error
        check_schema(self.root, document.get("schema"))

    def sweep_file(self, name: str) -> Path:
        return self.root / "sweeps" / f"{name}.json"

    def write_sweep(self, name: str, document: dict[str, Any]) -> Path:
        path = self.sweep_file(name)
        files.write_json(path, document)
        return path

    def write_bisection(self, name: str, document: dict[str, Any]) -> Path:
        path = self.root / "bisections" / f"{name}.json"
        files.write_json(path, document)
        return path

    def evaluations(self, run_id: str) -> list[Path]:
        """The records of a run's evaluations, by name; see ``store.evaluations``."""
        return sorted((self.root / "evaluations" / run_id).glob("*.json"))

    def write_evaluation(self, run_id: str, name: str, document: dict[str, Any]) -> Path:
        path = self.root / "evaluations" / run_id / f"{name}.json"
        files.write_json(path, document)
        return path

    def rename_sweep(self, name: str, new_name: str) -> None:
        """With its bisection, where there is one."""
        for folder in (self.root / "sweeps", self.root / "bisections"):
            with suppress(FileNotFoundError):
                (folder / f"{name}.json").rename(folder / f"{new_name}.json")


def check_is_store(path: Path) -> None:
    """A store's folder to read from; one that nothing was written to yet is an empty folder.

    Raises:
        ConfigError: there is no such folder, or it holds something else.
    """
    if path.is_file() and is_archive(path):
        raise ConfigError(
            "STORE", path, "is an archive, and a folder is needed here: unpack it and name that"
        )
    if not path.is_dir():
        raise ConfigError("STORE", path, "there is no such folder")
    if _was_opened(path):
        return
    inner = next(filter(_was_opened, sorted(path.iterdir())), None)
    if inner is not None:
        raise ConfigError("STORE", path, f"is no store, but {inner} is one")
    if any(path.iterdir()) and not holds_a_part(path):
        raise ConfigError("STORE", path, f"is no store: it holds none of {', '.join(_PARTS)}")


def holds_a_part(path: Path) -> bool:
    """Whether a folder has anything that a store has."""
    return any((path / name).exists() for name in _PARTS)


def is_archive(path: Path) -> bool:
    """Whether a store's path names a file to be unpacked, which may not be there."""
    return path.name.endswith(ARCHIVE_SUFFIX) and not path.is_dir()


def check_is_no_archive(key: str, path: Path) -> None:
    """Refuse to write to an archive.

    Raises:
        ConfigError: naming ``key``.
    """
    if is_archive(path):
        raise ConfigError(key, path, "is an archive, which is only read; unpack it and name the folder")


def _was_opened(path: Path) -> bool:
    try:
        return (path / _PARTS[0]).exists()
    except PermissionError:
        return False


def _folders(parent: Path) -> list[Folder]:
    try:
        with os.scandir(parent) as entries:
            return [Folder(parent / name) for name in sorted(e.name for e in entries if e.is_dir())]
    except FileNotFoundError:
        return []
