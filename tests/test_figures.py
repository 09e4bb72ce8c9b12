"""The figures of the studies' pages, each looked up in the cell that is meant (experiments/cells.csv).

A row of that file quotes a line of a page with one figure in brackets, and names a table, its rows, a column
and what to take of the cells: ``only`` (they are equal), ``low`` and ``high`` (of all, signs left out) or
``all`` (each rounds to it); with ``%`` a share is told as a percentage.
"""

import csv
import re
from collections import defaultdict
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def holds(row, condition):
    """``column == text``, ``column != text`` or ``column has text``."""
    column, operator, text = re.fullmatch(r"(.+?) (==|!=|has) (.*)", condition).groups()
    return {"==": row[column] == text.strip(), "!=": row[column] != text.strip(), "has": text in row[column]}[
        operator
    ]


def values(cell, rows):
    """The numbers of the cells that a row of cells.csv names, without their signs."""
    conditions = [condition for condition in cell["rows"].split(" & ") if condition]
    meant = [row for row in rows if all(holds(row, condition) for condition in conditions)]
    found = [abs(float(number)) for row in meant for number in NUMBER.findall(row[cell["column"]])]
    return [100 * value for value in found] if cell["take"].endswith("%") else found


def agrees(figure, cell, rows):
    found = values(cell, rows)
    if not found:
        return False
    take = cell["take"].removesuffix("%").strip()
    if take == "only" and len(set(found)) > 1:
        return False
    told = {"low": [min(found)], "high": [max(found)], "only": found[:1], "all": found}[take]
    slack = 0.5001 * 10.0 ** -len(figure.partition(".")[2])
    return all(abs(value - float(figure)) <= slack for value in told)


CELLS = defaultdict(list)
for _cell in read(EXPERIMENTS / "cells.csv"):
    CELLS[_cell["page"]].append(_cell)


def figure_of(cell):
    (figure,) = re.findall(r"(?<!\w)\[(\d+(?:\.\d+)?)\](?!\()", cell["quote"])
    return figure


@pytest.mark.parametrize("page", CELLS)
def test_each_figure_is_that_of_its_cell(page):
    lines = (EXPERIMENTS / page).read_text().splitlines()
    for cell in CELLS[page]:
        figure = figure_of(cell)
        assert lines.count(cell["quote"].replace(f"[{figure}]", figure)) == 1, cell["quote"]
        study, _, table = cell["table"].partition("/")
        rows = read(EXPERIMENTS / study / "tables" / f"{table}.csv")
        assert agrees(figure, cell, rows), (cell, values(cell, rows))


@pytest.mark.parametrize("page", CELLS)
def test_a_neighbouring_figure_is_not_taken_for_it(page):
    """Two off in its last digit (one may be the other way to round a half), no figure agrees with its cell."""
    for cell in CELLS[page]:
        figure = figure_of(cell)
        study, _, table = cell["table"].partition("/")
        rows = read(EXPERIMENTS / study / "tables" / f"{table}.csv")
        digits = len(figure.partition(".")[2])
        for step in (-2, 2):
            assert not agrees(f"{float(figure) + step * 10.0**-digits:.{digits}f}", cell, rows), cell
