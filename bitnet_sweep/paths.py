"""Paths that a user gives: ``~`` and ``~user`` mean home folders; and how paths and other text are shown."""

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


def in_letters(text: str) -> str:
    """Text that any file and table takes: the letters of its bytes, escapes for those that are no UTF-8.

    In Python such a byte is half of a surrogate pair. Where the locale is ASCII, every byte of a letter is.
    """
    try:
        content = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # halves that stand for no byte: JSON can have any
        content = text.encode("utf-8", "backslashreplace")
    return content.decode("utf-8", "backslashreplace")
