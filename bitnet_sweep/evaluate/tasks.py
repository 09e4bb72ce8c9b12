"""Task files: JSON with one task of lm-evaluation-harness, or with a list of them.

A task is what the harness has as YAML, with its own keys. Its documents are local files, named from where the
task file lies. A name in place of a task is one that the harness brings along; its documents are downloaded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitnet_sweep.config import ConfigError

LOCAL = ("arrow", "csv", "json", "parquet", "text")
"""What ``dataset_path`` says of documents in local files: their form."""

KEY = "--tasks"


@dataclass(frozen=True)
class TaskFile:
    """A task file that was read, with the files it names."""

    path: Path
    sha256: str
    """Hash of the task file."""
    data: dict[str, str]
    """sha256 of each file of documents, by the name that the task file has for it."""
    tasks: list[dict[str, Any] | str]
    """As the harness takes them; files of documents by their whole path."""

    @property
    def content(self) -> str:
        """Names the tasks with their documents: one of them changed, and it is another."""
        return _sha256(json.dumps([self.sha256, self.data], sort_keys=True).encode())

    @property
    def record(self) -> str:
        """How the record of the results is called."""
        return f"{self.path.stem}.{self.content[:8]}"


def read_tasks(path: Path, *, online: bool) -> TaskFile:
    """Read a task file and what it names.

    Args:
        path: of the file.
        online: allow what is not in local files.

    Raises:
        ConfigError: it cannot be read, holds no tasks, names a file that is not there, or names what would
            have to be downloaded.
    """
    text = _bytes(path, path)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigError(KEY, path, f"is no JSON ({error}); allowed: a task, or a list of tasks") from error
    listed = document if isinstance(document, list) else [document]
    data: dict[str, str] = {}
    tasks = [_task(path, item, data, online) for item in listed]
    if not tasks:
        raise ConfigError(KEY, path, "holds no task; allowed: a task, or a list of tasks")
    names = [task if isinstance(task, str) else task["task"] for task in tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(KEY, path, f"has the task {twice!r} twice; allowed: each name once")
    return TaskFile(path, _sha256(text), data, tasks)


def _task(path: Path, item: object, data: dict[str, str], online: bool) -> dict[str, Any] | str:
    """One task with its files found and hashed into ``data``."""
    if isinstance(item, str):
        if not online:
            raise ConfigError(KEY, path, f"the documents of {item!r} are not local; allowed with --online")
        return item
    if not isinstance(item, dict) or not isinstance(item.get("task"), str) or not item["task"]:
        raise ConfigError(KEY, path, 'a task is an object with its name at "task"')
    name, form = item["task"], item.get("dataset_path")
    if form not in LOCAL:
        if online and isinstance(form, str):
            return item
        allowed = f"allowed: {', '.join(LOCAL)}, or a name of the hub with --online"
        raise ConfigError(KEY, path, f"the task {name!r} has dataset_path={form!r}; {allowed}")
    given = item.get("dataset_kwargs")
    kwargs: dict[str, Any] = given if isinstance(given, dict) else {}
    named = kwargs.get("data_files")
    if not named:
        raise ConfigError(KEY, path, f"the task {name!r} names no files at dataset_kwargs.data_files")
    return item | {"dataset_kwargs": {**kwargs, "data_files": _files(path, named, data)}}


def _files(path: Path, named: object, data: dict[str, str]) -> Any:
    """The files under their whole paths: one, several, or either for each split."""
    if isinstance(named, dict):
        return {split: _files(path, files, data) for split, files in named.items()}
    if isinstance(named, list):
        return [_files(path, file, data) for file in named]
    if not isinstance(named, str):
        raise ConfigError(KEY, path, f"{named!r} at dataset_kwargs.data_files is no file's name")
    file = path.parent / named
    data[named] = _sha256(_bytes(path, file))
    return str(file.absolute())


def _bytes(path: Path, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(KEY, path, f"{file} cannot be read ({error.strerror})") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
