"""Checkpoints: one safetensors file and one JSON file that names it, its checksum and the step.

The JSON file is the checkpoint: it is renamed into place after the tensors are on disk, so a crash
leaves the old checkpoint or the new one. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bitnet_sweep import files


class CorruptCheckpointError(Exception):
    """A checkpoint whose bytes are not those that were written."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


def save(folder: Path, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``<name>.json`` and the tensors it names, then drop the ones it named before.

    Args:
        folder: where both files go.
        name: ``latest`` or ``boundary``.
        tensors: by name; must not share memory.
        facts: JSON scalars to keep with them; ``step`` is among them.

    Raises:
        OSError: the disk is full; the earlier checkpoint stands.
    """
    target = folder / f"{name}-{facts['step']}.safetensors"
    save_tensors(target, tensors)
    checksum = _checksum(target, facts)
    document = {"file": target.name, "sha256": checksum, "facts": dict(facts)}
    files.write_json(folder / f"{name}.json", document)
    for old in folder.glob(f"{name}-*.safetensors"):
        if old != target:
            old.unlink()


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write one safetensors file atomically.

    Raises:
        OSError: the disk is full.
    """
    with files.replacing(path) as temporary:
        try:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)
        except SafetensorError as error:  # it wraps the operating system's error into its own
            raise OSError(f"{error}: {path} could not be written") from error


class Saver:
    """Saves a checkpoint while training goes on: a copy of its tensors is written by another thread.

    One at a time, in order. Leaving the block waits for the last one; what it raises is raised there, or at
    the next call, unless the block failed itself.

    Args:
        folder, name: of :func:`save`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: Future[None] | None = None

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy the tensors and return; they may change from then on.

        Raises:
            OSError: the one before could not be written.
        """
        self.wait()
        copies = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
        self._pending = self._thread.submit(save, self._folder, self._name, copies, dict(facts))

    def wait(self) -> None:
        """Return once the last one is on disk.

        Raises:
            OSError: it could not be written; the one before it stands.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()


def load(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts of a checkpoint.

    Raises:
        CorruptCheckpointError: a file is missing, cut short or changed.
        OSError, SafetensorError: the files are whole and cannot be read now (no memory, no permission);
            that says nothing against the checkpoint.
    """
    path = folder / f"{name}.json"
    try:
        document = files.read_json(path)
        facts: dict[str, Any] = document["facts"]
        tensors_path = folder / document["file"]
        if _checksum(tensors_path, facts) != document["sha256"]:
            raise ValueError(f"the checksum of {tensors_path.name} does not fit")
    except (FileNotFoundError, ValueError, TypeError, KeyError) as error:
        raise CorruptCheckpointError(path, str(error)) from error
    with safe_open(tensors_path, framework="pt") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}, facts  # noqa: SIM118  (not a dict)


def delete(folder: Path, name: str) -> None:
    """Remove a checkpoint, the JSON file first; nothing happens where there is none."""
    (folder / f"{name}.json").unlink(missing_ok=True)
    for tensors in folder.glob(f"{name}-*.safetensors"):
        tensors.unlink()


def _checksum(tensors: Path, facts: Mapping[str, Any]) -> str:
    with tensors.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256")
    checksum.update(json.dumps(facts, sort_keys=True).encode())
    return checksum.hexdigest()
