"""A report in memory: every table as an attribute, and ``save`` for the files."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bitnet_sweep.api.frames import Stores, stores_of
from bitnet_sweep.config import ConfigError
from bitnet_sweep.paths import expanded
from bitnet_sweep.report import Report, make_report, write_report
from bitnet_sweep.report.table import Table, shortened
from bitnet_sweep.report.write import TABLES


def report(store: Stores, sweep: str | None = None, *, claims: str | Path | None = None) -> ReportView:
    """The report on a store, as ``python -m bitnet_sweep.report`` writes it.

    Args:
        store: a store, or several, which merge by run_id.
        sweep: report on this sweep alone.
        claims: ``"notes"`` to judge the claims of the notes as well, or a YAML or TOML file of claims,
            or the name of one in an installed package.

    Raises:
        ConfigError: a store is not there, none records ``sweep``, or something in ``claims`` is wrong.
    """
    return ReportView(make_report(stores_of(store), sweep, claims=claims))


@dataclass(frozen=True)
class TableView:
    """One table of a report."""

    table: Table

    @property
    def frame(self) -> pd.DataFrame:
        """All of its rows, as ``tables/<name>.csv`` has them."""
        return self.table.frame

    @property
    def title(self) -> str:
        return self.table.title

    @property
    def about(self) -> str:
        """How to read it."""
        return self.table.about

    def __repr__(self) -> str:
        return f"{self.title}\n{self.frame}"

    def _repr_html_(self) -> str:
        table = shortened(self.table)
        frames = [pd.DataFrame(part.texts, columns=part.headings) for part in table.parts]
        frames = frames or [self.frame.head(_MOST_ROWS)]
        shown = "".join(frame.to_html(index=False) for frame in frames)
        return f"<h4>{html.escape(table.title)}</h4><p>{html.escape(table.about)}</p>{shown}"


_MOST_ROWS = 20
"""Rows that are shown of a table that is there to compute with."""


class ReportView:
    """A report: ``report.results.frame``, ``report.save("report")``; tables are made when asked for."""

    def __init__(self, made: Report) -> None:
        self._made = made

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``report.html``, ``report.md``, ``tables/`` and ``figures/``; the files.

        Raises:
            ConfigError: the folder cannot be written.
        """
        out = expanded(folder)
        try:
            return write_report(self._made, out)
        except OSError as error:
            raise ConfigError("folder", out, f"cannot be written ({error.strerror})") from error

    def __getattr__(self, name: str) -> TableView:
        if name.startswith("_") or name not in TABLES:
            raise AttributeError(f"a report has no table {name!r}; there are: {', '.join(TABLES)}")
        return TableView(self._made.table(name))

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *TABLES})

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {word}" for word, count in self._made.summary.counts)
        return f"<report of {self._made.summary.name}: {counts}>"

    def _repr_html_(self) -> str:
        summary = self._made.summary
        counts = ", ".join(f"{count} {word}" for word, count in summary.counts)
        gaps = "".join(f"<li>{html.escape(f'{name}: {why}')}</li>" for name, why in summary.gaps[:_MOST_ROWS])
        heading = f"<h3>{html.escape(summary.name)}</h3><p>{html.escape(counts)}</p><ul>{gaps}</ul>"
        return heading + self.results._repr_html_()
