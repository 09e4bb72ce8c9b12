"""The register of sweeps: which runs a command asked for, written before the first of them starts."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence

from bitnet_sweep.identity import digest
from bitnet_sweep.stages import stage_ends
from bitnet_sweep.store import Store
from bitnet_sweep.store.recorded import AskedRun
from bitnet_sweep.sweep.plan import PlannedRun
from bitnet_sweep.track import run_name


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


def _asked(run: PlannedRun) -> AskedRun:
    ends = tuple(stage_ends(run.config.stages))
    return AskedRun(run.run_id, run_name(run.config), run.stage_ids, ends)
