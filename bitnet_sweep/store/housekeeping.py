"""What of a store can be given back to the disk: files that no record, config or status is part of.

=========  ====================================================================================
trunks     boundary checkpoints that no unfinished recorded run would fork from; a later, larger
           grid would train them again
weights    the final weights of finished runs; ``load_run`` needs them, the report does not
leftovers  files that a killed process did not get round to renaming or removing
=========  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from bitnet_sweep import files
from bitnet_sweep.store.asked_runs import asked_runs
from bitnet_sweep.store.folder import BOUNDARY, LATEST, Folder, Status
from bitnet_sweep.store.lease import HeldError, is_alive, lease, read_lease
from bitnet_sweep.store.states import FINISHED
from bitnet_sweep.store.store import Store

TRUNKS, WEIGHTS, LEFTOVERS = "trunks", "weights", "leftovers"
KINDS = (TRUNKS, WEIGHTS, LEFTOVERS)


@dataclass(frozen=True)
class Freeable:
    """Files of one kind in one folder."""

    folder: Folder
    kind: str
    paths: tuple[Path, ...]
    """What makes a checkpoint valid comes first, so that a half-removed one is none."""
    num_bytes: int


def find_freeable(
    store: Store, kinds: Collection[str] = KINDS, only: Collection[str] | None = None
) -> list[Freeable]:
    """What can be freed now, folder by folder; a folder that a living process writes is left out.

    Args:
        store: nothing in it is changed.
        kinds: of :data:`KINDS`.
        only: the ids of the folders to look at; None is all.
    """
    needed = needed_stages(store) if TRUNKS in kinds else set()
    found = []
    for folder in [*store.stages(), *store.runs()]:
        if only is not None and folder.id not in only:
            continue
        if not is_alive(read_lease(folder.path)):
            found += [part for part in _freeable_in(folder, needed) if part.kind in kinds]
    return found


def free(part: Freeable) -> int:
    """Remove the files; the bytes given back, 0 where a process has taken the folder meanwhile."""
    try:
        with lease(part.folder.path):
            if part.kind != LEFTOVERS and not _is_finished(part.folder):
                return 0
            for path in part.paths:
                path.unlink(missing_ok=True)
    except HeldError:
        return 0
    return part.num_bytes


def free_trunks(store: Store, stage_ids: Collection[str]) -> int:
    """Free those of these trunks whose recorded runs are all finished; the bytes given back."""
    return sum(free(part) for part in find_freeable(store, (TRUNKS,), stage_ids))


def needed_stages(store: Store) -> set[str]:
    """The stages of all recorded runs that are not finished.

    A sweep that another program wrote may not say which stages its runs go through; while one of those
    has not begun, every trunk counts as needed.
    """
    needed: set[str] = set()
    for run in asked_runs(store).values():
        status = _status(store.run(run.run_id))
        if status is not None and status.state == FINISHED:
            continue
        stages = run.stage_ids or (status.stage_ids if status is not None else ())
        needed |= set(stages) or {folder.id for folder in store.stages()}
    return needed


def in_bytes(num_bytes: int) -> str:
    """As people read it: ``185kB``."""
    return tqdm.format_sizeof(num_bytes, "B")


def _freeable_in(folder: Folder, needed: Collection[str]) -> Iterator[Freeable]:
    leftovers = files.temporaries(folder.path)
    if _is_finished(folder):
        leftovers += _checkpoint(folder, LATEST)
        if folder.id not in needed:
            yield from _part(folder, TRUNKS, _checkpoint(folder, BOUNDARY))
        yield from _part(folder, WEIGHTS, [folder.final_path])
    yield from _part(folder, LEFTOVERS, leftovers)


def _checkpoint(folder: Folder, name: str) -> list[Path]:
    return [folder.path / f"{name}.json", *sorted(folder.path.glob(f"{name}-*.safetensors"))]


def _part(folder: Folder, kind: str, paths: Sequence[Path]) -> Iterator[Freeable]:
    sizes: dict[Path, int] = {}
    for path in paths:
        with suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    if sizes:
        yield Freeable(folder, kind, tuple(sizes), sum(sizes.values()))


def _is_finished(folder: Folder) -> bool:
    status = _status(folder)
    return status is not None and status.state == FINISHED


def _status(folder: Folder) -> Status | None:
    """The status; None also for one that cannot be read, whose folder is then as good as unfinished."""
    try:
        return folder.status()
    except (OSError, ValueError, TypeError):
        return None
