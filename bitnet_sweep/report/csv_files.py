"""``tables/*.csv``: a text that a spreadsheet would take for a formula has an apostrophe in front."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import pandas as pd

from bitnet_sweep import files
from bitnet_sweep.report.table import Table


def write_csv(path: Path, table: Table) -> None:
    """Write every row of a table.

    Raises:
        OSError: the file cannot be written.
    """
    if table.name == "records":
        _write_numbers(path, table.frame)
        return
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        _write(file, table)


def csv_text(table: Table) -> str:
    """What ``write_csv`` writes."""
    file = io.StringIO(newline="")
    _write(file, table)
    return file.getvalue()


def _write(file: TextIO, table: Table) -> None:
    """A piece at a time; a null is an empty cell."""
    frame = table.frame
    exact = {column.key for column in table.columns if column.is_exact}
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_no_formula, frame.columns))
    for start in range(0, len(frame), _ROWS_AT_ONCE):
        piece = frame.iloc[start : start + _ROWS_AT_ONCE]
        columns = [
            _texts(piece[name].to_numpy(dtype=object, na_value="").tolist(), name in exact) for name in piece
        ]
        writer.writerows(zip(*columns, strict=True))


def _texts(cells: Sequence[object], is_exact: bool) -> list[object]:
    """Seven digits of what was measured."""
    return [
        _no_formula(cell)
        if isinstance(cell, str)
        else f"{cell + 0.0:.7g}"  # no -0
        if isinstance(cell, float) and not is_exact
        else cell
        for cell in cells
    ]


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

_NUMBER = re.compile(r"-|[-+](\d+(\.\d*)?|\.\d+|inf|nan)(e[-+]?\d+)?", re.IGNORECASE | re.ASCII)
"""Settings as text, and the dash for none, may begin with a sign."""


def _no_formula(cell: str) -> str:
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")  # the csv module would not quote it before 3.13
    is_formula = cell[:1] in _FORMULA_STARTS and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell
