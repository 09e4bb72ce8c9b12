"""``bitnet-sweep rm RUN``: one bad run away, so that the same command trains it again."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from bitnet_sweep.config import ConfigError
from bitnet_sweep.find import find_run, run_names
from bitnet_sweep.store import Store
from bitnet_sweep.store.lease import HeldError, lease
from bitnet_sweep.track.mirror import SUFFIX, Mirror, remove_wandb_dirs

_REMOVED = ".removed"
"""How the folder ends in which a run is on its way out; readers of the store do not look there."""


def remove(root: Path, text: str, *, confirmed: bool) -> bool:
    """Remove a run, its evaluations and its W&B mirror on this disk; whether it was removed.

    The sweeps that ask for it stay as they are, and so do the stages that it shares with other runs: the
    same command trains what only this run had.

    Args:
        root: the store.
        text: which run, see :func:`bitnet_sweep.find.find_run`.
        confirmed: do not ask.

    Raises:
        ConfigError: not exactly one such run, none that has begun, it is being trained, or the store cannot
            be written.
    """
    store = Store(root)
    run_id = find_run(root, text)
    folder = store.run(run_id).path
    name = run_names(store)[run_id]
    if not folder.is_dir():
        raise ConfigError("RUN", text, "has not begun; there is nothing to remove")
    if not confirmed and not _asked(f"Remove {folder} ({name})? [y/N] "):
        print("Nothing was removed.")
        return False
    is_on_server = _is_on_server(store, run_id)
    try:
        _remove(store, run_id, folder)
    except HeldError as error:
        raise ConfigError("RUN", text, f"is being trained ({error}); stop that first") from error
    except OSError as error:
        raise ConfigError("--store", root, f"cannot be written ({error.strerror})") from error
    print(f"Removed {run_id} ({name}). The command that trained it trains it again.")
    if is_on_server:
        print("W&B still has it: delete it there, too, before the new one is uploaded.")
    return True


def _remove(store: Store, run_id: str, folder: Path) -> None:
    """First out of the way, then piece by piece: whenever this is killed, a run is whole or not there."""
    for left in store.root.glob(f".*{_REMOVED}"):
        shutil.rmtree(left, ignore_errors=True)
    aside = store.root / f".{run_id}.{secrets.token_hex(4)}{_REMOVED}"
    with lease(folder):
        folder.rename(aside)
    with suppress(OSError):  # where the lease's heart beat once more
        folder.rmdir()
    (store.root / "wandb" / f"{run_id}{SUFFIX}").unlink(missing_ok=True)
    remove_wandb_dirs(store.root / "wandb", run_id)
    shutil.rmtree(store.root / "evaluations" / run_id, ignore_errors=True)
    shutil.rmtree(aside)


def _asked(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody there to answer
        print()
        return False


def _is_on_server(store: Store, run_id: str) -> bool:
    try:
        mirror = Mirror.load(store.root / "wandb" / f"{run_id}{SUFFIX}")
    except (OSError, ValueError, TypeError):
        return False
    return mirror.uploaded or mirror.config.get("track", {}).get("mode") == "online"
