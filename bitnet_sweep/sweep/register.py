"""The register of sweeps: which runs a command asked for, written before the first of them starts."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Sequence
from itertools import count

from bitnet_sweep.identity import digest
from bitnet_sweep.stages import stage_ends
from bitnet_sweep.store import Store
from bitnet_sweep.store.asked_runs import AskedRun, read_sweep
from bitnet_sweep.sweep.plan import PlannedRun
from bitnet_sweep.track import run_name

log = logging.getLogger(__name__)


def sweep_name(runs: Sequence[PlannedRun], name: str | None) -> str:
    """The given name, or a hash of the grid: the same grid has the same name whatever the order."""
    return name or digest(sorted(run.run_id for run in runs))


def register(
    store: Store, runs: Sequence[PlannedRun], name: str, overrides: Sequence[str], excluded: Sequence[str]
) -> None:
    """Write ``sweeps/<name>.json``."""
    document = {
        "command": shlex.join(["python", "-m", "bitnet_sweep", *sys.argv[1:]]),
        "overrides": list(overrides),
        "run_ids": [run.run_id for run in runs],
        "runs": [_asked(run).document() for run in runs],
        "excluded": list(excluded),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    store.write_sweep(name, document)


def set_aside(store: Store, runs: Sequence[PlannedRun], name: str) -> None:
    """Give another grid that was registered under this name another one; one that ``runs`` holds may go."""
    before = read_sweep(store, name)
    if before is None or set(before.run_ids) <= {run.run_id for run in runs}:
        return
    aside = next(f"{name}.{i}" for i in count(1) if not store.sweep_file(f"{name}.{i}").exists())
    store.rename_sweep(name, aside)
    log.warning("sweep.name=%s: the sweep that had this name and other runs is now called %s", name, aside)


def _asked(run: PlannedRun) -> AskedRun:
    ends = tuple(stage_ends(run.config.stages))
    return AskedRun(run.run_id, run_name(run.config), run.stage_ids, ends)
