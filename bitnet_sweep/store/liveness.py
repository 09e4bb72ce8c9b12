"""How a folder stands while anybody may be writing it: its status and its owner's heartbeat, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bitnet_sweep.store.folder import Folder, Status
from bitnet_sweep.store.lease import Watch, read_lease
from bitnet_sweep.store.states import DIED, FAILED, RUNNING, UNREADABLE, WAITING
from bitnet_sweep.store.store import Store

WITHOUT_A_WORD = "its process ended without a word (killed, or out of memory)"
"""The error of a run whose process could not say what happened to it."""


def error_of(status: Status | None, state: str) -> str | None:
    """The last line of what went wrong, from what :func:`standing` tells; None where nothing did."""
    if state not in (FAILED, DIED):
        return None
    error = (status.error if status else None) or WITHOUT_A_WORD
    return error.strip().splitlines()[-1]


def error_before(store: Store, stage_ids: Sequence[str]) -> str | None:
    """The error of the first trunk that has one, before a run that has not begun."""
    standings = (standing(store.stage(stage)) for stage in stage_ids[:-1])
    errors = (error_of(status, state) for status, _, state in standings)
    return next((error for error in errors if error), None)


def standing(folder: Folder, watch: Watch | None = None) -> tuple[Status | None, dict[str, Any], str]:
    """The status, the heartbeat of a living owner (else nothing), and the state they make together.

    An owner writes its heartbeat before it says *running* and takes it away after it says how it
    ended; so a folder has died only if it says *running* before and after nobody was found.

    Args:
        folder: of a run or trunk.
        watch: of a caller that looks again, so that an owner on a host with a wrong clock is found too.

    Raises:
        ConfigError: a newer version wrote the status.
    """
    status = folder.status()
    if status is None:
        return None, {}, WAITING if folder.status_modified() is None else UNREADABLE
    if status.state != RUNNING:
        return status, {}, status.state
    owner = read_lease(folder.path)
    if owner is not None and (watch or Watch()).is_alive(folder.path, owner):
        return status, owner, RUNNING
    again = folder.status() or status
    return again, {}, DIED if again.state == RUNNING else again.state
