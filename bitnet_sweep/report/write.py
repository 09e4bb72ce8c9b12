"""Stores → report: read, sort, make every table, draw, write to a folder."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from bitnet_sweep import files
from bitnet_sweep.report.boundaries import boundaries
from bitnet_sweep.report.claims import asked_claims, claims_table
from bitnet_sweep.report.compared import contrasts, leaderboard
from bitnet_sweep.report.contrast import stage2_contrast
from bitnet_sweep.report.figures import Figure, figures_of, is_ours
from bitnet_sweep.report.listing import model_sizes, records, trajectory
from bitnet_sweep.report.markdown import markdown
from bitnet_sweep.report.page import page, provenance
from bitnet_sweep.report.read import read_stores
from bitnet_sweep.report.summary import Study, Summary, summary_of
from bitnet_sweep.report.table import Table
from bitnet_sweep.report.transitions import loss_transition, results, token_transition

TABLES: dict[str, Callable[[Study], Table]] = {
    "results": lambda study: results(study.sections),
    "leaderboard": lambda study: leaderboard(study.sections),
    "loss_transition": lambda study: loss_transition(study.sections),
    "token_transition": lambda study: token_transition(study.sections),
    "boundaries": lambda study: boundaries(study.sections),
    "stage2_contrast": lambda study: stage2_contrast(study.sections),
    "contrasts": lambda study: contrasts(study.sections),
    "claims": lambda study: claims_table(study.sections, study.claims),
    "model_sizes": lambda study: model_sizes(study.sections),
    "trajectory": lambda study: trajectory(study.sections),
    "records": records,
    "provenance": provenance,
}
"""Every table by its file name without ``.csv``, in the order of the report."""


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
    """Write ``report.md``, ``report.html``, ``tables/*.csv`` and ``figures/*.{svg,png}``.

    Each file is whole or not at all. In CSV, a text that a spreadsheet would take for a formula has an
    apostrophe in front. Figures of an earlier report that this one does not have are deleted.

    Returns:
        What was written.

    Raises:
        OSError: ``out`` cannot be written.
    """
    texts = {
        out / "report.md": markdown(report.summary, report.tables, report.figures),
        out / "report.html": page(report.study, report.summary, report.tables, report.figures),
        **{out / "figures" / f"{figure.name}.svg": figure.svg for figure in report.figures},
    }
    pictures = {out / "figures" / f"{figure.name}.png": figure.png for figure in report.figures}
    tables = {out / "tables" / f"{table.name}.csv": table for table in report.tables}
    for path, text in texts.items():
        files.write_text(path, text)
    for path, picture in pictures.items():
        with files.replacing(path) as temporary:
            temporary.write_bytes(picture)
    for path, table in tables.items():
        (_write_numbers if table.name == "records" else _write_csv)(path, table.csv)
    if report.study.claims is None:
        (out / "tables" / "claims.csv").unlink(missing_ok=True)  # of an earlier report
    for path in (out / "figures").glob("*"):
        if is_ours(path.name) and path not in texts and path not in pictures:
            path.unlink()
    return [*texts, *pictures, *tables]


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    """As ``frame.to_csv(index=False)``, in half the time and a piece at a time."""
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(_no_formula, frame.columns))
        for start in range(0, len(frame), _ROWS_AT_ONCE):
            piece = frame.iloc[start : start + _ROWS_AT_ONCE]
            cells = (piece[name].to_numpy(dtype=object, na_value="").tolist() for name in piece)
            writer.writerows(zip(*map(_no_formulas, cells), strict=True))


_ROWS_AT_ONCE = 10_000


def _write_numbers(path: Path, frame: pd.DataFrame) -> None:
    """Columns of one type each, in a seventh of the time: 19 million numbers become text here."""
    import pyarrow as pa  # late: no other table needs it
    from pyarrow import csv as arrow_csv

    texts = [name for name in frame if pd.api.types.is_string_dtype(frame[name].dtype)]
    safe = frame.copy(deep=False)
    for name in texts:
        texts_once = {text: _no_formula(text) for text in frame[name].dropna().unique()}
        safe[name] = frame[name].map(texts_once).astype("string")
    safe = safe.rename(columns=_no_formula)
    with files.replacing(path) as temporary:
        arrow_csv.write_csv(pa.Table.from_pandas(safe, preserve_index=False), temporary)


_FORMULA_STARTS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What makes a cell a formula in spreadsheets (OWASP, CSV injection); the last four are full-width."""

_NUMBER = r"[-+]?(\d[\d,]*(\.\d*)?|\.\d+|inf|nan)(e[-+]?\d+)?"
_SHOWN_NUMBER = re.compile(rf"-|{_NUMBER}[%xkM]?( to {_NUMBER})?( \(\d+/\d+\))?", re.IGNORECASE | re.ASCII)
"""Numbers as tables show them, and the dash for none: these may begin with a sign."""


def _no_formula(cell: str) -> str:
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")  # the csv module would not quote it before 3.13
    is_formula = cell[:1] in _FORMULA_STARTS and not _SHOWN_NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def _no_formulas(cells: Sequence[object]) -> list[object]:
    return [_no_formula(cell) if isinstance(cell, str) else cell for cell in cells]
