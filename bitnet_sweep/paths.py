"""Paths that a user gives: ``~`` and ``~user`` mean home folders, wherever the path is given."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path without ``~`` or ``~user``, which no shell replaces in ``store=~/x`` or ``--out=~/x``.

    A folder in the working directory that is named ``~`` is given as ``./~``.

    Raises:
        ValueError: nobody of that name has a home folder here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{Path(path).parts[0]} is nobody's home folder here") from error
