"""Stores → report: read, sort, make every table, draw, write to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bitnet_sweep import files
from bitnet_sweep.report.claims import claims_table
from bitnet_sweep.report.contrast import stage2_contrast
from bitnet_sweep.report.figures import Figure, figures_of
from bitnet_sweep.report.listing import model_sizes, records, trajectory
from bitnet_sweep.report.markdown import markdown
from bitnet_sweep.report.page import page
from bitnet_sweep.report.read import read_stores
from bitnet_sweep.report.summary import Study, Summary, summary_of
from bitnet_sweep.report.table import Table
from bitnet_sweep.report.transitions import loss_transition, results, token_transition


@dataclass(frozen=True)
class Report:
    """A report in memory."""

    study: Study
    summary: Summary
    tables: list[Table]

    def table(self, name: str) -> Table:
        """A table by its file name without ``.csv``.

        Raises:
            KeyError: there is no such table.
        """
        return {table.name: table for table in self.tables}[name]

    @cached_property
    def figures(self) -> list[Figure]:
        """Drawn when first asked for: drawing takes longer than all else."""
        return figures_of(self.study.sections)


def make_report(stores: Sequence[Path], sweep: str | None = None) -> Report:
    """Read stores and make every table.

    Args:
        stores: the store folders (or W&B projects, ``wandb:ENTITY/PROJECT``), merged by run_id.
        sweep: report on this sweep alone.

    Raises:
        ConfigError: a store is not there, or no store records ``sweep``.
    """
    study = Study.of(read_stores(stores, sweep))
    sections = study.sections
    tables = [
        results(sections),
        loss_transition(sections),
        token_transition(sections),
        stage2_contrast(sections),
        claims_table(sections),
        model_sizes(sections),
        trajectory(sections),
        records(study.arms),
    ]
    return Report(study, summary_of(study), tables)


def write_report(report: Report, out: Path) -> list[Path]:
    """Write ``report.md``, ``report.html``, ``tables/*.csv`` and ``figures/*.svg``; each whole or not at all.

    Raises:
        OSError: ``out`` cannot be written.
    """
    texts = {
        out / "report.md": markdown(report.summary, report.tables, report.figures),
        out / "report.html": page(report.study, report.summary, report.tables, report.figures),
        **{out / "tables" / f"{table.name}.csv": table.csv.to_csv(index=False) for table in report.tables},
        **{out / "figures" / f"{figure.name}.svg": figure.svg for figure in report.figures},
    }
    for path, text in texts.items():
        files.write_text(path, text)
    return list(texts)
