"""How a command ends: what it tidies, how every run stands, where the results are, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tabulate import tabulate

from bitnet_sweep.config import TrackName
from bitnet_sweep.store import FAILED, FINISHED, Store
from bitnet_sweep.store.housekeeping import free_trunks
from bitnet_sweep.store.liveness import error_before, error_of, standing
from bitnet_sweep.store.states import DIED
from bitnet_sweep.sweep.plan import PlannedRun
from bitnet_sweep.track import run_name
from bitnet_sweep.track.mirror import SUFFIX, Mirror, sync_command

ERROR_WIDTH = 120
"""Characters of an error's last line that the table shows; the status holds all of it."""


def unfinished(store: Store, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The runs that are not finished, whatever the reason."""
    statuses = [(run, store.run(run.run_id).status()) for run in runs]
    return [run for run, status in statuses if status is None or status.state != FINISHED]


def tidy(store: Store, runs: Sequence[PlannedRun]) -> None:
    """With ``sweep.keep_stages=false``: free the trunks of these runs that no unfinished run needs."""
    stages = {stage for run in runs if not run.config.sweep.keep_stages for stage in run.stage_ids[:-1]}
    if stages:
        free_trunks(store, stages)


def state_table(store: Store, runs: Sequence[PlannedRun]) -> str:
    """A line for each run: its name, state, outcome, last step and held-out loss."""
    rows: list[dict[str, str]] = []
    for run in runs:
        folder = store.run(run.run_id)
        status, _, state = standing(folder)
        if status is None:
            state, error = "not started", error_before(store, run.stage_ids)
        else:  # on a full disk a failed run could not even write that it failed
            state, error = FAILED if state == DIED else state, error_of(status, state)
        last = folder.last_record() or {}
        loss = last.get("val/loss")
        rows.append(
            {
                "run": run_name(run.config),
                "run_id": run.run_id,
                "state": state,
                "outcome": (status.outcome or "") if status else "",
                "step": str(last.get("step", 0)),
                "val/loss": "" if loss is None else f"{loss:.2f}",
                "error": (error or "")[:ERROR_WIDTH],
            }
        )
    if not any(row["error"] for row in rows):
        rows = [{key: value for key, value in row.items() if key != "error"} for row in rows]
    return tabulate(rows, headers="keys", disable_numparse=True)


def _is_left_to_upload(store: Store, run: PlannedRun) -> bool:
    """Whether W&B lacks it: it was offline, or online and lost its server."""
    if run.config.track.name is not TrackName.wandb:
        return False
    try:
        return not Mirror.load(store.root / "wandb" / f"{run.run_id}{SUFFIX}").uploaded
    except (OSError, ValueError, TypeError):  # it has not begun, or cannot be uploaded
        return False


def next_lines(store: Store, runs: Sequence[PlannedRun], name: str) -> list[str]:
    """Where the results lie and what to type next."""
    root = shlex.quote(str(store.root))
    lines = [
        f"Runs: {store.root / 'runs'}",
        f"Read the tables:  bitnet-sweep report {root} --sweep {name}",
    ]
    if any(_is_left_to_upload(store, run) for run in runs):
        lines.append(f"Upload to W&B:    {sync_command(store.root)}")
    return lines
