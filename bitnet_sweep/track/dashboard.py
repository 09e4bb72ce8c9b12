"""``python -m bitnet_sweep.track.dashboard ENTITY/PROJECT STORE``: a W&B workspace and a W&B Report, as code.

The workspace shows the stage transition of every run: grouped by hidden size, then by ``wd2``, each ``wd2``
in one colour. The Report has the tables and figures of ``python -m bitnet_sweep.report`` on the store, and
the same panels live; the figures are images of a run of their own. All of it is made once and brought up to
date after that: ``<STORE>/wandb/dashboard.json`` notes which views and which run they are.

It needs the extra ``[dashboard]``. Exit status: 0 both are saved, 1 W&B does not answer or refuses,
2 there is no such store or the command is wrong.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitnet_sweep import files
from bitnet_sweep.track.naming import MAX_NAME_LENGTH
from bitnet_sweep.track.pictures import Picture, picture_of, upload

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

NAME = "bitnet_sweep: collapse and recovery"

PANELS = {
    "val/loss": "Held-out loss, nats per token",
    "probe/unique_tokens": "Unique predicted tokens, of 20",
    "ternary/flip_rate": "Share of codes changed by the last step",
    "ternary/absmean": "Mean |latent weight|",
    "ternary/zero_frac": "Share of codes that are 0",
    "probe/entropy": "Mean predictive entropy, nats",
    "optim/weight_decay": "Weight decay",
}
"""The panels, fields against the step, in the order they are read."""

LOGARITHMIC = ("ternary/absmean",)

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind (Okabe and Ito 2008); one a value of ``wd2``, then from the start again."""

SAVE_SECONDS = 60.0
"""The longest wait for W&B to take one view."""


@dataclass(frozen=True)
class Content:
    """What a store has to show."""

    sections: list[str]
    """Of the report, as Markdown, each with its heading; those of the figures apart."""
    pictures: list[Picture]
    cells: list[tuple[int, float]]
    """Hidden size and ``wd2`` of every run, each once, in rising order."""


def content_of(store: Path, out: Path, sweep: str | None = None) -> Content:
    """Make the store's report and take from its files what the dashboard shows.

    Args:
        out: where the report goes; the pictures are files of it.

    Raises:
        ValueError: there is no report to be made; what the report command says.
    """
    command = [sys.executable, "-m", "bitnet_sweep.report", str(store), "--out", str(out)]
    done = subprocess.run(
        [*command, *(["--sweep", sweep] if sweep else [])], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(done.stderr.strip())
    text = (out / "report.md").read_text()
    with (out / "tables" / "records.csv").open(newline="") as file:
        cells = {(row["model.hidden"], row["wd2"]) for row in csv.DictReader(file)}
    sections = [section.strip() for section in re.split(r"\n(?=## )", text.removeprefix("# "))]
    pictures = [picture_of(section, out) for section in sections]
    return Content(
        [section for section, picture in zip(sections, pictures, strict=True) if picture is None],
        [picture for picture in pictures if picture is not None],
        sorted((int(hidden), float(wd2)) for hidden, wd2 in cells if hidden and wd2),
    )


def workspace(
    entity: str, project: str, cells: Sequence[tuple[int, float]], sweep: str | None
) -> ws.Workspace:
    """The saved view of the project.

    W&B colours groups, not values: every (hidden, wd2) group gets the colour of its wd2.
    """
    import wandb_workspaces.workspaces as ws

    colours = dict(zip(sorted({wd2 for _, wd2 in cells}), cycle(COLOURS), strict=False))
    return ws.Workspace(
        entity=entity,
        project=project,
        name=_name(sweep),
        sections=[
            ws.Section(
                name="Stage transition",
                panels=_panels(),
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=2, rows=4),
            )
        ],
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=[_wanted(sweep)],
            groupby=[ws.Config("model.hidden"), ws.Config("wd2")],
            group_colors={ws.GroupPath(str(h), _as_in_json(wd2)): colours[wd2] for h, wd2 in cells},
        ),
    )


def report(
    entity: str, project: str, content: Content, sweep: str | None, pictures_run: str | None
) -> wr.Report:
    """The W&B Report: what became of the runs, the live panels, the tables, the figures.

    Args:
        pictures_run: id of the run that has the figures, if there are any.
    """
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    runs = wr.Runset(
        entity=entity,
        project=project,
        name=sweep or "all runs",
        filters=[_wanted(sweep)],
        groupby=["config.model.hidden", "config.wd2"],
    )
    panels = wr.PanelGrid(runsets=[runs], panels=_panels())
    tables = [wr.MarkdownBlock(text=section) for section in content.sections]
    figures: list[Any] = []
    if pictures_run is not None:
        only = [expr.Metric("ID") == pictures_run]
        run = wr.Runset(entity=entity, project=project, name="figures", filters=only)
        figures = [
            wr.MarkdownBlock(text="## Figures"),
            wr.PanelGrid(runsets=[run], panels=_images(content.pictures)),
        ]
    return wr.Report(
        entity=entity,
        project=project,
        title=_name(sweep),
        description="Made by python -m bitnet_sweep.track.dashboard; changes by hand are written over.",
        blocks=[*tables[:1], panels, *tables[1:], *figures],
        width="fluid",
    )


def save(entity: str, project: str, store: Path, sweep: str | None) -> list[str]:
    """Save both views and the figures, and note where they are; the URLs of the views.

    Raises:
        ValueError: the store's report cannot be made.
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
            content = content_of(store, Path(scratch) / "report", sweep)
            return _save(content, server, entity, project, store, sweep, Path(scratch))
        except (WandbError, OSError):
            stop_client(SAVE_SECONDS)
            raise


def _save(
    content: Content, server: str, entity: str, project: str, store: Path, sweep: str | None, scratch: Path
) -> list[str]:
    from bitnet_sweep.wandb_client import bounded

    notes = store / "wandb" / "dashboard.json"
    known: dict[str, Any] = files.read_json(notes) or {}
    views = known.setdefault(f"{server} {entity}/{project} {sweep or ''}".strip(), {})
    if content.pictures:
        views.setdefault("figures", f"report-{secrets.token_hex(4)}")
        files.write_json(notes, known)  # first, so that a command that is killed leaves no second run
        upload(
            content.pictures,
            scratch,
            server=server,
            entity=entity,
            project=project,
            run_id=views["figures"],
            name=f"figures of {_name(sweep)}"[:MAX_NAME_LENGTH],
            timeout=SAVE_SECONDS,
        )
    with bounded(SAVE_SECONDS):
        view = workspace(entity, project, content.cells, sweep)
        if "workspace" in views:
            view._internal_name, view._internal_id = views["workspace"]
        view.save()
    views["workspace"] = [view._internal_name, view._internal_id]
    files.write_json(notes, known)
    with bounded(SAVE_SECONDS):
        page = report(entity, project, content, sweep, views["figures"] if content.pictures else None)
        page.id = views.get("report", "")
        page.save()
    views["report"] = page.id
    files.write_json(notes, known)
    with bounded(SAVE_SECONDS):
        return [view.url, page.url]


def _wanted(sweep: str | None) -> Any:
    """The filter for the runs of the sweep, or for all but those that hold figures: each run has a group."""
    from wandb_workspaces import expr

    from bitnet_sweep.wandb_client import REPORT_GROUP

    return expr.Metric("Group") == sweep if sweep else expr.Metric("Group") != REPORT_GROUP


def _images(pictures: Sequence[Picture]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.MediaBrowser(
            title=picture.title,
            media_keys=[picture.key],
            num_columns=1,
            layout=wr.Layout(x=0, y=16 * place, w=24, h=16),
        )
        for place, picture in enumerate(pictures)
    ]


def _panels() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.LinePlot(
            title=title,
            x="step",
            y=[metric],
            log_y=True if metric in LOGARITHMIC else None,
            layout=wr.Layout(x=12 * (place % 2), y=8 * (place // 2), w=12, h=8),
        )
        for place, (metric, title) in enumerate(PANELS.items())
    ]


def _name(sweep: str | None) -> str:
    return f"{NAME} ({sweep})"[:MAX_NAME_LENGTH] if sweep else NAME


def _as_in_json(number: float) -> str:
    """0.05, 0, 0.00001: a number as a web page writes it, which is how W&B names a group (assumed)."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bitnet_sweep.track.dashboard",
        description="Save a W&B workspace with live panels, and a W&B Report with tables and figures.",
        epilog="WANDB_BASE_URL names another server than W&B's own.",
    )
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="the W&B project that has the runs")
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the store, such as runs")
    parser.add_argument("--sweep", metavar="NAME", help="only the runs of this recorded sweep (W&B group)")
    arguments = parser.parse_args(argv)
    match = re.fullmatch(r"([^/\s]+)/([^/\s]+)", arguments.project)
    if match is None:
        parser.error(f"{arguments.project!r}: a W&B project is written ENTITY/PROJECT")
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
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except (WandbError, OSError) as error:
        print(f"{arguments.project}: {error}", file=sys.stderr)
        return 1
    print(f"workspace: {urls[0]}\nreport: {urls[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
