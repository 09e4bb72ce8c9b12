"""Which commit the running program is of: by the files beside this one, whatever the user's git is told."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

GIT_SECONDS = 10.0
_PROGRAM = ("bitnet_sweep", "hydra_plugins", "conf")
"""What a run is made by, beside each other in the source tree."""
_CODE = {".py", ".so", ".yaml"}
"""A file that ends so changes the program, committed or not."""


class UnknownError(Exception):
    """The commit is not known; ``str()`` says why."""


def commit_of(file: Path) -> str:
    """The commit that holds the program, with ``+`` where the program or its source tree was changed.

    The nearest repository around the program is asked, by its own config alone: neither GIT_DIR nor any
    other variable, nor the user's config, nor what stands in the index has a say.

    Args:
        file: a Python file of the program.

    Raises:
        UnknownError: no commit has this program.
    """
    file = file.resolve()
    package = next(folder for folder in file.parents if folder.name == _PROGRAM[0])
    top = next((folder for folder in file.parents if (folder / ".git").exists()), None)
    if top is None:
        raise UnknownError("no git repository around the program")
    owner = (top / ".git").stat().st_uid
    if owner not in {0, os.geteuid(), file.stat().st_uid}:  # its config could start any program
        raise UnknownError(f"{top / '.git'} belongs to another user than the program")
    described = _git(top, "describe", "--always", "--abbrev=64", "--dirty=+", "--exclude=*").strip()
    folders = [(package.parent / name).relative_to(top).as_posix() for name in _PROGRAM]
    committed = _committed(top, folders)
    if file.relative_to(top).as_posix() not in committed:
        raise UnknownError(f"the program is no part of the repository around it, {top}")
    changed = _is_changed(top, folders, committed)
    return described.removesuffix("+") + ("+" if changed or described.endswith("+") else "")


def _committed(top: Path, folders: Sequence[str]) -> dict[str, str]:
    """The program's files in the commit: path below ``top``, and id of the content."""
    listed = {}
    for line in _git(top, "ls-tree", "-r", "-z", "--full-tree", "HEAD", "--", *folders).split("\0")[:-1]:
        about, _, path = line.partition("\t")
        listed[path] = about.split()[2]
    return listed


def _is_changed(top: Path, folders: Sequence[str], committed: dict[str, str]) -> bool:
    """By content, for the index can be told to look away (``git update-index --assume-unchanged``)."""
    if any(_content_id(top / path, len(id_)) != id_ for path, id_ in committed.items()):
        return True
    files = (path for folder in folders for path in (top / folder).rglob("*") if path.suffix in _CODE)
    return any(path.relative_to(top).as_posix() not in committed for path in files)


def _content_id(path: Path, length: int) -> str | None:
    """As git makes it: SHA-1 in most repositories, else SHA-256, of a header and the bytes."""
    try:
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
    except OSError:
        return None
    new = hashlib.sha256 if length == hashlib.sha256().digest_size * 2 else hashlib.sha1
    return new(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _git(top: Path, *arguments: str) -> str:
    """What git says of the repository at ``top`` and of no other.

    Raises:
        UnknownError: nothing.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_DIR": str(top / ".git"), "GIT_WORK_TREE": str(top)}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    environment |= {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        asked = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *arguments],  # noqa: S607
            cwd=top,
            env=environment,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=GIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnknownError(f"git says nothing for {GIT_SECONDS:g} s") from error
    except OSError as error:
        raise UnknownError(f"git cannot be asked ({error.strerror})") from error
    if asked.returncode:
        raise UnknownError(" ".join(asked.stderr.split()) or f"git ends with {asked.returncode}")
    return asked.stdout
