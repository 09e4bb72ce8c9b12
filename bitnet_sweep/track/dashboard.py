"""``python -m bitnet_sweep.track.dashboard ENTITY/PROJECT STORE``: a W&B workspace and a W&B Report, as code.

The workspace shows the stage transition of every run: grouped by hidden size, then by ``wd2``, each ``wd2``
in one colour. The Report has the tables of ``python -m bitnet_sweep.report`` on the store, and the same
panels live. Both are made once and brought up to date after that: ``<STORE>/wandb/dashboard.json`` notes
which views they are.

It needs the extra ``[dashboard]``. Exit status: 0 both are saved, 1 W&B does not answer or refuses,
2 there is no such store or the command is wrong.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
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
    """Of the report, as Markdown, each with its heading; without figures, whose files W&B cannot see."""
    cells: list[tuple[int, float]]
    """Hidden size and ``wd2`` of every run, each once, in rising order."""


def content_of(store: Path, sweep: str | None = None) -> Content:
    """Make the store's report and take from its files what the dashboard shows.

    Raises:
        ValueError: there is no report to be made; what the report command says.
    """
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "bitnet_sweep.report", str(store), "--out", out]
        done = subprocess.run(
            [*command, *(["--sweep", sweep] if sweep else [])], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ValueError(done.stderr.strip())
        text = (Path(out) / "report.md").read_text()
        with (Path(out) / "tables" / "records.csv").open(newline="") as file:
            cells = {(row["model.hidden"], row["wd2"]) for row in csv.DictReader(file)}
    sections = re.split(r"\n(?=## )", text.removeprefix("# "))
    return Content(
        [section.strip() for section in sections if "](figures/" not in section],
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
            filters=[ws.Metric("Group") == sweep] if sweep else "",
            groupby=[ws.Config("model.hidden"), ws.Config("wd2")],
            group_colors={ws.GroupPath(str(h), _as_in_json(wd2)): colours[wd2] for h, wd2 in cells},
        ),
    )


def report(entity: str, project: str, sections: Sequence[str], sweep: str | None) -> wr.Report:
    """The W&B Report: what became of the runs, the live panels, the tables."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    runs = wr.Runset(
        entity=entity,
        project=project,
        name=sweep or "all runs",
        filters=[expr.Metric("Group") == sweep] if sweep else "",
        groupby=["config.model.hidden", "config.wd2"],
    )
    panels = wr.PanelGrid(runsets=[runs], panels=_panels())
    tables = [wr.MarkdownBlock(text=section) for section in sections]
    return wr.Report(
        entity=entity,
        project=project,
        title=_name(sweep),
        description="Made by python -m bitnet_sweep.track.dashboard; changes by hand are written over.",
        blocks=[*tables[:1], panels, *tables[1:]],
        width="fluid",
    )


def save(entity: str, project: str, store: Path, sweep: str | None) -> list[str]:
    """Save both, and note which views they are; their URLs.

    Raises:
        ValueError: the store's report cannot be made.
        WandbError: no key, no answer in time, or W&B refuses.
        OSError: the store cannot be written.
    """
    from bitnet_sweep.wandb_client import bounded, open_api, server_url  # late: takes a second

    content = content_of(store, sweep)
    # The library asks for an API of its own at every turn, which reads the server from here.
    server = os.environ["WANDB_BASE_URL"] = server_url()
    open_api(server, entity)
    notes = store / "wandb" / "dashboard.json"
    known: dict[str, Any] = files.read_json(notes) or {}
    views = known.setdefault(f"{server} {entity}/{project} {sweep or ''}".strip(), {})
    with bounded(SAVE_SECONDS):
        view = workspace(entity, project, content.cells, sweep)
        if "workspace" in views:
            view._internal_name, view._internal_id = views["workspace"]
        view.save()
    views["workspace"] = [view._internal_name, view._internal_id]
    files.write_json(notes, known)
    with bounded(SAVE_SECONDS):
        page = report(entity, project, content.sections, sweep)
        page.id = views.get("report", "")
        page.save()
    views["report"] = page.id
    files.write_json(notes, known)
    with bounded(SAVE_SECONDS):
        return [view.url, page.url]


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
    return f"{NAME} ({sweep})"[:128] if sweep else NAME


def _as_in_json(number: float) -> str:
    """0.05, 0, 0.00001: a number as a web page writes it, which is how W&B names a group (assumed)."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bitnet_sweep.track.dashboard",
        description="Save a W&B workspace with the transition panels and a W&B Report with the tables.",
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
    from bitnet_sweep.wandb_client import WandbError, stop_client

    try:
        urls = save(match[1], match[2], arguments.store, arguments.sweep)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except (WandbError, OSError) as error:
        print(f"{arguments.project}: {error}", file=sys.stderr)
        stop_client(SAVE_SECONDS)
        return 1
    print(f"workspace: {urls[0]}\nreport: {urls[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
