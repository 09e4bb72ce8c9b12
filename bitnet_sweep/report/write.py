"""Stores → report: read, sort, make every table, draw, write to a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bitnet_sweep import files
from bitnet_sweep.report.boundaries import boundaries
from bitnet_sweep.report.claims import asked_claims, claims_table
from bitnet_sweep.report.compared import contrasts, leaderboard
from bitnet_sweep.report.contrast import stage2_contrast
from bitnet_sweep.report.csv_files import write_csv
from bitnet_sweep.report.figures import Figure, figures_of, is_ours
from bitnet_sweep.report.latex import latex
from bitnet_sweep.report.listing import model_sizes, records, trajectory
from bitnet_sweep.report.markdown import markdown
from bitnet_sweep.report.page import page, provenance
from bitnet_sweep.report.read import read_stores
from bitnet_sweep.report.summary import Study, Summary, summary_of
from bitnet_sweep.report.table import Table
from bitnet_sweep.report.transitions import loss_transition, results, token_transition

TABLES: dict[str, Callable[[Study], Table]] = {
    "leaderboard": lambda study: leaderboard(study.sections),
    "results": lambda study: results(study.sections),
    "contrasts": lambda study: contrasts(study.sections),
    "loss_transition": lambda study: loss_transition(study.sections),
    "token_transition": lambda study: token_transition(study.sections),
    "boundaries": lambda study: boundaries(study.sections),
    "stage2_contrast": lambda study: stage2_contrast(study.sections),
    "model_sizes": lambda study: model_sizes(study.sections),
    "trajectory": lambda study: trajectory(study.sections),
    "claims": lambda study: claims_table(study.sections, study.claims),
    "records": records,
    "provenance": provenance,
}
"""Every table by its file name without ``.csv``, in the order of the report: the user's own runs first."""


@dataclass(frozen=True)
class Report:
    """A report in memory; tables and figures are made when first asked for."""

    study: Study
    summary: Summary
    _made: dict[str, Table] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        """A table by its file name without ``.csv``.

        Raises:
            KeyError: there is no such table.
        """
        if name not in self._made:
            self._made[name] = TABLES[name](self.study)
        return self._made[name]

    @property
    def tables(self) -> list[Table]:
        return [self.table(name) for name in TABLES if name != "claims" or self.study.claims is not None]

    @cached_property
    def figures(self) -> list[Figure]:
        return figures_of(self.study.sections)


def make_report(
    stores: Sequence[Path], sweep: str | None = None, *, claims: str | Path | None = None
) -> Report:
    """Read stores and sort what they hold.

    Args:
        stores: the stores, as folders or ``.tar.gz`` archives (or W&B projects, ``wandb:ENTITY/PROJECT``),
            merged by run_id.
        sweep: report on this sweep alone.
        claims: ``"notes"`` to judge the claims of the notes as well, or a file of claims (docs/reports.md).

    Raises:
        ConfigError: a store is not there, no store records ``sweep``, or something in ``claims`` is wrong.
    """
    evidence = read_stores(stores, sweep)
    known = {key: None for run in evidence.runs.values() for key in run.config}
    study = Study.of(evidence, None if claims is None else asked_claims(claims, list(known)))
    return Report(study, summary_of(study))


def write_report(report: Report, out: Path) -> list[Path]:
    """Write ``report.md``, ``report.html``, ``tables/*.{csv,tex}`` and ``figures/*.{svg,png}``.

    Each file is whole or not at all. Figures of an earlier report that this one does not have are deleted.

    Returns:
        What was written.

    Raises:
        OSError: ``out`` cannot be written.
    """
    texts = {
        out / "report.md": markdown(report.summary, report.tables, report.figures),
        out / "report.html": page(report.study, report.summary, report.tables, report.figures),
        **{out / "figures" / f"{figure.name}.svg": figure.svg for figure in report.figures},
        **{out / "tables" / f"{t.name}.tex": latex(t) for t in report.tables if not t.is_data},
    }
    pictures = {out / "figures" / f"{figure.name}.png": figure.png for figure in report.figures}
    tables = {out / "tables" / f"{table.name}.csv": table for table in report.tables}
    for path, text in texts.items():
        files.write_text(path, text)
    for path, picture in pictures.items():
        with files.replacing(path) as temporary:
            temporary.write_bytes(picture)
    for path, table in tables.items():
        write_csv(path, table)
    if report.study.claims is None:
        for form in ("csv", "tex"):
            (out / "tables" / f"claims.{form}").unlink(missing_ok=True)  # of an earlier report
    for path in (out / "figures").glob("*"):
        if is_ours(path.name) and path not in texts and path not in pictures:
            path.unlink()
    return [*texts, *pictures, *tables]
