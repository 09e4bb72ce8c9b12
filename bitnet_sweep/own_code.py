"""Code of a user's own: where it is found, how it is imported, and what it raised, in a line.

It is imported by its name alone: one of ``plugins``, or an entry point of what is installed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

from bitnet_sweep.config import ConfigError

GROUP = "bitnet_sweep.parts"
"""Group of the entry points by which an installed package names its parts."""


def note_plugins(words: Sequence[str]) -> None:
    """Note the ``plugins`` of a command line: bare names and YAML of theirs are looked for from here on.

    Composing a config is what finds out what else it says; until then the words are all there is.
    """
    told = [word.partition("=")[2] for word in words if word.lstrip("+").startswith("plugins=")]
    _of_command[:] = re.findall(r"[^\s,\[\]\"']+", told[-1]) if told else []


_of_command: list[str] = []


def of_command() -> Sequence[str]:
    """The ``plugins`` that were noted."""
    return _of_command


def yaml_folders() -> dict[str, Path]:
    """The folders ``conf`` of packages that the command line's ``plugins`` name, or that have entry points.

    By the package; none of them is imported.
    """
    modules = [*_of_command, *(entry.module for entry in entry_points())]
    found: dict[str, Path] = {}
    for package in dict.fromkeys(module.partition(".")[0] for module in modules):
        with suppress(ImportError, ValueError):  # not there, or half a module: whoever imports it says so
            spec = importlib.util.find_spec(package)
            places = (spec.submodule_search_locations if spec is not None else None) or ()
            folders = [Path(place, "conf") for place in places]
            found.update((package, folder) for folder in folders if folder.is_dir())
    return found


def import_plugin(module: str) -> None:
    """Import one of ``plugins``.

    Raises:
        ConfigError: there is no such module, or it fails.
    """
    require_plugin(module)
    try:
        importlib.import_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError("plugins", module, f"its import fails: {in_a_line(error)}") from error


@functools.cache
def require_plugin(module: str) -> None:
    """Refuse the name of a module that Python does not find; nothing is imported for it.

    Raises:
        ConfigError: there is none.
    """
    if module not in sys.modules and not _is_there(module):
        allowed = "there is no such module; allowed: names that Python can import (see PYTHONPATH)"
        raise ConfigError("plugins", module, allowed)


def _is_there(module: str) -> bool:
    name, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(name)
        for part in below:
            name = f"{name}.{part}"
            places = spec.submodule_search_locations if spec is not None else None
            spec = PathFinder.find_spec(name, places or [])
    except (ImportError, ValueError):  # half a module, or a name that none can have
        return False
    return spec is not None


@functools.cache
def entry_points() -> importlib.metadata.EntryPoints:
    """Those of the group; read once, for it takes as long as everything that is installed is much."""
    return importlib.metadata.entry_points(group=GROUP)


def in_a_line(error: BaseException) -> str:
    """What code raised, in a line: kind, text, and where it stands if that is a user's own."""
    told = " ".join(f"{type(error).__name__}: {error}".split())
    place = _place_of(error)
    return f"{told} ({place})" if place else told


def _place_of(error: BaseException) -> str:
    """File and line of the innermost frame that is neither Python's, nor torch's, nor of this package."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        is_library = _TORCH in file if "site-packages" in file else file.startswith(_PYTHON)
        if not is_library and not file.startswith(("<", _PACKAGE)):
            return f"{file}, line {frame.lineno}"
    return ""


_PACKAGE, _PYTHON, _TORCH = str(Path(__file__).parent), sysconfig.get_path("stdlib"), f"{os.sep}torch{os.sep}"
