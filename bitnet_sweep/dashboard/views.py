"""The workspace and the W&B Report as wandb-workspaces describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle
from typing import TYPE_CHECKING, Any

from bitnet_sweep.dashboard.pictures import key_of
from bitnet_sweep.records import LOG_LOSS
from bitnet_sweep.report import Report
from bitnet_sweep.report.arms import own_fields_of
from bitnet_sweep.report.factors import factors_of, placed_arms
from bitnet_sweep.report.figures import Figure
from bitnet_sweep.report.markdown import chapters
from bitnet_sweep.report.settings import by_option
from bitnet_sweep.report.summary import Study
from bitnet_sweep.track.naming import MAX_NAME_LENGTH
from bitnet_sweep.wandb_names import REPORT_GROUP, sweep_tag

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

NAME = "bitnet_sweep: collapse and recovery"

PANELS = {
    "val/loss": "Held-out loss, nats per token",
    LOG_LOSS: "Training loss, nats per token",
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
"""Told apart by the colour-blind (Okabe and Ito 2008); one a value, then from the start again."""


@dataclass(frozen=True)
class Groups:
    """What the panels group runs by."""

    keys: tuple[str, ...]
    """Keys of the config; the last one has the colours."""
    cells: tuple[tuple[Any, ...], ...]
    """Their values in every run, each combination once."""

    @classmethod
    def of(cls, study: Study) -> Groups:
        """Whatever the runs of a study vary, the seed apart; of one cell there is nothing to group."""
        heads = [factor.keys[0] for factor in factors_of(placed_arms(study.sections))]
        configs = [by_option(arm.run.config) for arm in study.arms]
        keys = tuple(key for key in heads if all(_is_scalar(config.get(key)) for config in configs))
        found = {tuple(config[key] for key in keys) for config in configs}
        return cls(keys, tuple(sorted(found, key=lambda cell: [(str(type(v)), v) for v in cell])))


def _is_scalar(value: object) -> bool:
    return isinstance(value, int | float | str)


def workspace(
    entity: str, project: str, groups: Groups, sweep: str | None, own: Sequence[str] = ()
) -> ws.Workspace:
    """The saved view of the project, with a panel for each field of somebody's ``own`` metrics.

    W&B colours groups, not values: every group gets the colour of its last key's value.
    """
    import wandb_workspaces.workspaces as ws

    panels = _panels(own)
    levels = dict.fromkeys(cell[-1] for cell in groups.cells if cell)
    colours = dict(zip(levels, cycle(COLOURS), strict=False))
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name_of(sweep),
        sections=[
            ws.Section(
                name="Stage transition",
                panels=panels,
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=2, rows=-(-len(panels) // 2)),
            )
        ],
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=_wanted(sweep),
            groupby=[ws.Config(key) for key in groups.keys],
            group_colors={
                ws.GroupPath(*map(as_in_json, cell)): colours[cell[-1]] for cell in groups.cells if cell
            },
        ),
    )


def report(
    entity: str, project: str, made: Report, groups: Groups, sweep: str | None, figures_run: str | None
) -> wr.Report:
    """The W&B Report: what became of the runs, the live panels, the tables, the figures.

    Args:
        figures_run: id of the run that has the figures, if there are any.
    """
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    runs = wr.Runset(
        entity=entity,
        project=project,
        name=sweep or "all runs",
        filters=_wanted(sweep),
        groupby=[f"config.{key}" for key in groups.keys],
    )
    panels = wr.PanelGrid(runsets=[runs], panels=_panels(own_fields_of(made.study.arms)))
    told = chapters(made.summary, made.tables, figures=())
    tables = [wr.MarkdownBlock(text=chapter.removeprefix("# ").strip()) for chapter in told]
    figures: list[Any] = []
    if figures_run is not None:
        only = [expr.Metric("ID") == figures_run]
        run = wr.Runset(entity=entity, project=project, name="figures", filters=only)
        figures = [
            wr.MarkdownBlock(text="## Figures"),
            wr.PanelGrid(runsets=[run], panels=_images(made.figures)),
        ]
    return wr.Report(
        entity=entity,
        project=project,
        title=name_of(sweep),
        description="Made by python -m bitnet_sweep.dashboard; changes by hand are written over.",
        blocks=[*tables[:1], panels, *tables[1:], *figures],
        width="fluid",
    )


def _wanted(sweep: str | None) -> Any:
    """The filter for the runs that the sweep asked for, or for all but those that hold figures.

    A run is in the group of the sweep that trained it, and has a tag of each sweep that asked for it.
    """
    from wandb_workspaces import expr

    if sweep is None:
        return [expr.Metric("Group") != REPORT_GROUP]
    return expr.Or(expr.Metric("Group") == sweep, expr.Tags().isin([sweep_tag(sweep)]))


def _images(figures: Sequence[Figure]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.MediaBrowser(
            title=figure.title,
            media_keys=[key_of(figure)],
            num_columns=1,
            layout=wr.Layout(x=0, y=16 * place, w=24, h=16),
        )
        for place, figure in enumerate(figures)
    ]


def _panels(own: Sequence[str]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.LinePlot(
            title=title,
            x="step",
            y=[metric],
            log_y=True if metric in LOGARITHMIC else None,
            layout=wr.Layout(x=12 * (place % 2), y=8 * (place // 2), w=12, h=8),
        )
        for place, (metric, title) in enumerate([*PANELS.items(), *((field, field) for field in own)])
    ]


def name_of(sweep: str | None) -> str:
    """What both views are called."""
    return f"{NAME} ({sweep})"[:MAX_NAME_LENGTH] if sweep else NAME


def as_in_json(value: float | str) -> str:
    """0.05, 0, 0.00001: a value as a web page writes it, which is how W&B names a group (assumed)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
