"""Which run a person means: by its id, by the beginning of its id, or by its name or some words of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bitnet_sweep.config import ConfigError
from bitnet_sweep.exact import read_number
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Folder, Store, check_is_store
from bitnet_sweep.store.asked_runs import asked_runs
from bitnet_sweep.track.naming import run_name

MOST_TOLD = 5
"""Runs that an error lists."""


def find_run(store: Path, text: str) -> str:
    """The run_id of the one run that ``text`` names.

    Args:
        store: the folder that holds ``runs/``.
        text: a run_id, the beginning of one, a name such as ``h256 wd2=0.05 lr=1.5e-3 s0``, or words of a
            name that no other run has all of.

    Raises:
        ConfigError: there is no such store; no run is meant, or several are.
    """
    check_is_store(store)
    names = run_names(Store(store))
    if text in names:
        return text
    words = _words(text)
    exactly = [run_id for run_id, name in names.items() if text and name == text]
    about = [
        run_id
        for run_id, name in names.items()
        if text.strip() and (run_id.startswith(text) or words <= _words(name))
    ]
    found = exactly or about
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError("RUN", text, f"means {len(found)} runs: {_listed(names, found)}; say more")
    raise ConfigError(
        "RUN", text, f"no run of {store} has such an id or name; there are: {_listed(names, names)}"
    )


def _words(text: str) -> set[tuple[str, object]]:
    """The words of a name; ``wd2=0.0`` and ``wd2=0`` are the same."""
    parts = [word.partition("=") for word in text.split()]
    return {(key, value if (number := read_number(value)) is None else number) for key, _, value in parts}


def run_names(store: Store) -> dict[str, str]:
    """The name of every run by its run_id, of those that were asked for and have not begun, too."""
    names = {run_id: asked.name for run_id, asked in asked_runs(store).items()}
    for folder in store.runs():
        if not names.get(folder.id):
            names[folder.id] = _name_by_config(folder)
    return names


def _name_by_config(folder: Folder) -> str:
    """The name of a run that no sweep names, as another program's; empty where its config does not tell."""
    try:
        return run_name(resolve(folder.config()))
    except (OSError, ConfigError):
        return ""


def _listed(names: dict[str, str], run_ids: Iterable[str]) -> str:
    told = [f"{run_id} ({names[run_id]})" if names[run_id] else run_id for run_id in run_ids]
    more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return (", ".join(told[:MOST_TOLD]) or "none") + more
