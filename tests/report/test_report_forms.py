"""A table is typed rows; a new one reaches every form of the report without a line in any of them."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

import bitnet_sweep as bs
from bitnet_sweep.report import make_report, write_report
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.latex import escaped
from bitnet_sweep.report.markdown import chapters
from bitnet_sweep.report.rows import found, mean_of
from bitnet_sweep.report.summary import Study
from bitnet_sweep.report.table import Cell, Column, Part, Row, Table
from bitnet_sweep.report.write import TABLES

HEAT = Column("heat", "{:.1f}".format, "kelvin", interval_prefix="heat_")
HOSTILE = r"<b> 50 % of $x_1 & \ [a](b)"


def odd_table(study: Study) -> Table:
    """Heat of each run: 300.25, 301.75, none of a third, which diverged; their mean is 301."""

    def heat(arm: Arm) -> Cell:
        return found({"aaaa": 300.25, "bbbb": 301.75}.get(arm.run_id, "diverged"))

    rows = [Row({"heat": heat(arm), "note": Cell(HOSTILE)}, run_ids=(arm.run_id,)) for arm in study.arms]
    ids = tuple(arm.run_id for arm in study.arms)
    rows.append(Row({"heat": mean_of([row["heat"] for row in rows], has_interval=True)}, "mean", ids))
    columns = [HEAT, Column("note")]
    return Table("odd", "Odd ones", "Heat.", columns, rows, [Part(None, "", [*columns, HEAT.bounds], rows)])


@pytest.fixture
def out(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(TABLES, "odd", odd_table)
    for seed, run_id in enumerate(("aaaa", "bbbb", "cccc")):
        store.run(run_id, {1: 9.0, 50: 8.0, 100: 4.0}, seed=seed)
    write_report(make_report([store.root]), tmp_path / "out")
    return tmp_path / "out"


def test_numbers_stay_numbers_in_csv(out: Path) -> None:
    """Of two values apart by 1.5 the interval is their mean -+ 12.706 * 0.75."""
    with (out / "tables" / "odd.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["heat"] for row in rows] == ["300.25", "301.75", "", "301"]
    assert [row["heat_why"] for row in rows] == ["", "", "diverged", ""]
    assert [row["heat_n"] for row in rows] == ["", "", "", "2"]
    bounds = [[row[f"heat_{name}"] for name in ("low", "high", "interval")] for row in rows]
    assert bounds == [["", "", ""]] * 3 + [["291.4703", "310.5297", "t, df = 1"]]


def test_markdown_and_the_blocks_of_the_dashboard_have_texts(out: Path, store: Any) -> None:
    report = make_report([store.root])
    (chapter,) = [text for text in chapters(report.summary, report.tables, ()) if "Odd ones" in text]
    assert chapter in (out / "report.md").read_text()
    assert chapter.startswith("## Odd ones\n\nHeat.\n\n| heat")
    last = [cell.strip() for cell in chapter.splitlines()[-1].split("|")[1:-1]]
    assert last == ["301.0 (2/3)", "", r"\[291.5, 310.5\] (t, df = 1)"]
    assert "\n## " not in chapter


def test_the_page_marks_gaps_means_and_numbers_and_links_runs(out: Path) -> None:
    page = (out / "report.html").read_text()
    section = page[page.index('<section id="odd">') :]
    section = section[: section.index("</section>")]
    assert '<th scope="col" class="num" title="kelvin">heat</th>' in section
    assert '<td class="num">300.2</td>' in section
    assert '<td class="num gap">diverged</td>' in section
    assert '<tr class="mean"><td class="num" data-value="301">301.0 (2/3)</td>' in section
    assert '<a href="#run-0">aaaa</a>' in section
    assert "<summary>3 runs</summary>" in section
    assert '<a href="#odd">Odd ones</a>' in page


def test_latex_prints_texts_as_they_stand(out: Path) -> None:
    text = (out / "tables" / "odd.tex").read_text()
    lines = text.splitlines()
    start, end = lines.index(r"\begin{tabular}{rll}"), lines.index(r"\end{tabular}")
    assert [lines[start + 1], lines[start + 3], lines[end - 1]] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert lines[start + 2] == r"{}heat & note & heat, 95\% \\"
    assert lines[end - 2] == r"{}301.0 (2/3) &  & [291.5, 310.5] (t, df = 1) \\"
    assert r"\textless{}b\textgreater{} 50 \% of \$x\_1 \& \textbackslash{} [a](b)" in text
    assert all(line.startswith("%") for line in lines[:start] if line)


@pytest.mark.parametrize("text", ["a\nb", "\x00\x1b[", "}\\end{tabular}", "#1~^`|", "WD 0.1→0.0"])
def test_no_text_is_a_command_of_latex(text: str) -> None:
    told = escaped(text)
    for known in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", r"\textbar{}", r"$\to$"):
        told = told.replace(known, "")
    assert not re.search(r"(?<!\\)[&%$#_{}~^\n\x00-\x1f]", told.replace(r"\textasciigrave{}", ""))
    assert not re.search(r"\\[a-z]", told.replace(r"\textasciigrave{}", ""))


def test_a_frame_has_numbers(out: Path, store: Any) -> None:
    odd = bs.report(store.root).odd
    assert odd.frame["heat"].dropna().tolist() == [300.25, 301.75, 301.0]
    assert odd.frame["heat_high"].max() == pytest.approx(301 + 12.7062 * 0.75)
    assert "301.0 (2/3)" in odd._repr_html_()
