"""``python -m bitnet_sweep.dashboard ENTITY/PROJECT STORE``: a W&B workspace and a W&B Report, as code.

The workspace shows the stage transition of every run, grouped by whatever the runs vary; each value of the
last setting that varies has one colour. The Report has the tables and figures of
``python -m bitnet_sweep.report`` on the store, and the same panels live; the figures are images of a run of
their own. All of it is made once and brought up to date after that: ``<STORE>/wandb/dashboard.json`` notes
which views and which run they are.

It needs the extra ``[dashboard]``. Exit status: 0 both are saved, 1 W&B does not answer or refuses,
2 there is no such store or the command is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError
from bitnet_sweep.dashboard.pictures import upload
from bitnet_sweep.dashboard.views import Groups, name_of, report, workspace
from bitnet_sweep.paths import expanded
from bitnet_sweep.pipes import until_unread
from bitnet_sweep.report import Report, make_report
from bitnet_sweep.report.arms import own_fields_of
from bitnet_sweep.store import check_is_no_archive
from bitnet_sweep.track.naming import MAX_NAME_LENGTH

SAVE_SECONDS = 60.0
"""The longest wait for W&B to take one view."""


def save(entity: str, project: str, store: Path, sweep: str | None) -> list[str]:
    """Save both views and the figures, and note where they are; the URLs of the views.

    Raises:
        ConfigError: the store does not record ``sweep``.
        WandbError: no key, no answer in time, or W&B refuses.
        OSError: the store cannot be written.
    """
    # late: takes a second
    from bitnet_sweep.wandb_client import WandbError, open_api, server_url, stop_client

    # wandb-core may still be writing there when it is stopped
    with tempfile.TemporaryDirectory(prefix="bitnet_sweep-", ignore_cleanup_errors=True) as scratch:
        # The library asks for an API of its own at every turn, which reads the server from here.
        server = os.environ["WANDB_BASE_URL"] = server_url()
        try:
            open_api(server, entity)  # first: the report takes longer than a missing key
            made = make_report([store], sweep)
            return _save(made, server, entity, project, store, sweep, Path(scratch))
        except (WandbError, OSError):
            stop_client(SAVE_SECONDS)
            raise


def _save(
    made: Report, server: str, entity: str, project: str, store: Path, sweep: str | None, scratch: Path
) -> list[str]:
    from bitnet_sweep.wandb_client import bounded

    notes = store / "wandb" / "dashboard.json"
    known: dict[str, Any] = files.read_json(notes) or {}
    views = known.setdefault(f"{server} {entity}/{project} {sweep or ''}".strip(), {})
    if made.figures:
        views.setdefault("figures", f"report-{secrets.token_hex(4)}")
        files.write_json(notes, known)  # first, so that a command that is killed leaves no second run
        upload(
            made.figures,
            scratch,
            server=server,
            entity=entity,
            project=project,
            run_id=views["figures"],
            name=f"figures of {name_of(sweep)}"[:MAX_NAME_LENGTH],
            timeout=SAVE_SECONDS,
        )
    groups = Groups.of(made.study)
    with bounded(SAVE_SECONDS):
        view = workspace(entity, project, groups, sweep, own_fields_of(made.study.arms))
        if "workspace" in views:
            view._internal_name, view._internal_id = views["workspace"]
        view.save()
    views["workspace"] = [view._internal_name, view._internal_id]
    files.write_json(notes, known)
    page = report(entity, project, made, groups, sweep, views["figures"] if made.figures else None)
    with bounded(SAVE_SECONDS):
        page.id = views.get("report", "")
        page.save()
    views["report"] = page.id
    files.write_json(notes, known)
    with bounded(SAVE_SECONDS):
        return [view.url, page.url]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bitnet_sweep.dashboard",
        description="Save a W&B workspace with live panels, and a W&B Report with tables and figures.",
        epilog="WANDB_BASE_URL names another server than W&B's own.",
    )
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="the W&B project that has the runs")
    parser.add_argument("store", type=expanded, metavar="STORE", help="folder of the store, such as runs")
    parser.add_argument("--sweep", metavar="NAME", help="only the runs of this recorded sweep (W&B group)")
    arguments = parser.parse_args(argv)
    match = re.fullmatch(r"([^/\s]+)/([^/\s]+)", arguments.project)
    if match is None:
        parser.error(f"{arguments.project!r}: a W&B project is written ENTITY/PROJECT")
    try:
        check_is_no_archive("STORE", arguments.store)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if not arguments.store.is_dir():
        print(f"{arguments.store}: no such store", file=sys.stderr)
        return 2
    try:
        import wandb_workspaces  # noqa: F401  # say what is missing before anything is begun
    except ImportError:
        print("the dashboard needs wandb-workspaces: pip install 'bitnet-sweep[dashboard]'", file=sys.stderr)
        return 2
    from bitnet_sweep.wandb_client import WandbError

    try:
        urls = save(match[1], match[2], arguments.store, arguments.sweep)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (WandbError, OSError) as error:
        print(f"{arguments.project}: {error}", file=sys.stderr)
        return 1
    print(f"workspace: {urls[0]}\nreport: {urls[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(until_unread(main))
