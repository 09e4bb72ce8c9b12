"""What of a user's surroundings W&B may see: what docs/wandb.md names, and nothing else.

W&B reads any setting of a run from a ``WANDB_`` variable or a settings file. An agent or a launch queue
leaves some behind that name a run, resume it or add to its config, and W&B puts them before what it is told
in words (measured, wandb 0.31). Importing this module does not import W&B.
"""

from __future__ import annotations

import configparser
import logging
import multiprocessing
import os
from collections.abc import Collection
from pathlib import Path
from typing import overload

from omegaconf import OmegaConf

log = logging.getLogger(__name__)

_FOR_A_USER = {
    *("API_KEY", "IDENTITY_TOKEN_FILE", "CREDENTIALS_FILE"),
    *("ENTITY", "PROJECT", "BASE_URL", "APP_URL"),
    *("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR"),
    *("HTTP_TIMEOUT", "HTTP_PROXY", "HTTPS_PROXY", "INSECURE_DISABLE_SSL"),
    "ERROR_REPORTING",
}
"""The key, where runs go, folders, how the server is reached, and whether W&B hears of its own errors."""

_BY_ITSELF = {"SERVICE", "SILENT", "MODE"}
"""Set by the client or by us; the mode is said in so many words whenever a run is opened."""

DOCUMENTED = frozenset(f"WANDB_{name}" for name in _FOR_A_USER)
"""The variables that act; docs/wandb.md lists them for users."""

_told_of_files: set[str] = set()


def leave_out(modes: Collection[str]) -> None:
    """Take every variable that is not documented from this process and those it starts, and say so.

    Said in one line, by the command and not by the processes it starts. An empty variable is an unset one.

    Args:
        modes: in which runs are about to be mirrored: a WANDB_MODE that says otherwise is told, too.
    """
    kept = DOCUMENTED | {f"WANDB_{name}" for name in _BY_ITSELF}
    told = []
    for name in sorted(name for name in os.environ if name.startswith(("WANDB_", "_WANDB_"))):
        if not os.environ[name].strip():
            del os.environ[name]
        elif name == "WANDB_MODE":
            if os.environ.pop(name) not in {"offline", *modes}:
                told.append(f"{name} (track.mode and track=none say that)")
        elif name not in kept:
            del os.environ[name]
            told.append(name)
    in_files = {f"{', '.join(keys)} in {path}" for path, keys in settings_in_files().items()}
    told += sorted(in_files - _told_of_files)  # these stay where they are
    _told_of_files.update(in_files)
    if told and multiprocessing.parent_process() is None:
        what = ", ".join(told)
        log.warning(
            "W&B: %s: left out, for it might rename or change runs; docs/wandb.md says what acts", what
        )


def settings_in_files() -> dict[Path, list[str]]:
    """W&B's settings files, with what in them is not documented: the names of settings.

    A file that cannot be read has none, for W&B as well.
    """
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    found = {}
    for path in (Path(folder).expanduser() / "settings", Path.cwd() / "wandb" / "settings"):
        parser = configparser.ConfigParser()
        try:
            parser.read(path)
            keys = sorted(dict(parser.items("default")))
        except (OSError, ValueError, RuntimeError, configparser.Error):
            continue
        if undocumented := [key for key in keys if key.upper() not in _FOR_A_USER | _BY_ITSELF]:
            found[path] = undocumented
    return found


@overload
def set_variable(name: str, otherwise: str) -> str: ...
@overload
def set_variable(name: str, otherwise: None = None) -> str | None: ...
def set_variable(name: str, otherwise: str | None = None) -> str | None:
    """``${set_variable:NAME,otherwise}`` in ``conf/``: like ``oc.env``, but an empty variable is unset."""
    return os.environ.get(name, "").strip() or otherwise


OmegaConf.register_new_resolver("set_variable", set_variable, replace=True)
