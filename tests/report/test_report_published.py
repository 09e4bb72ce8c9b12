"""The notes' four runs as a store: the report gives back what they printed, typed here by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitnet_sweep.report import Report, make_report, write_report
from bitnet_sweep.report.__main__ import main
from tests.report.conftest import as_read, in_file


@pytest.fixture(scope="module")
def report(published_store: Path) -> Report:
    return make_report([published_store])


@pytest.fixture(scope="module")
def out(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(report, folder)
    return folder


COMPLETE_RESULTS = """
256  16 8 2 2 2   WD_0.1→0.0  10 14 13
512  14 8 4 2 2   WD_0.1→0.0  10 12 11
768  18 14 4 2 2  WD_0.1→0.0  8 11 12
1024 13 8 5 2 2   WD_0.1→0.0  11 11 11
"""

RESULT_COLUMNS = [
    *("Hidden Size", "Step 1k", "Step 2k", "Step 3k", "Step 4k", "Step 5k"),
    *("Stage 2→", "Step 6k", "Step 7k", "Step 10k"),
]


def test_complete_results_are_the_notes_table(report: Report) -> None:
    rows = as_read(report, "results")[RESULT_COLUMNS].to_numpy().tolist()
    expected = [line.replace("WD_", "WD ").split("  ") for line in COMPLETE_RESULTS.strip().splitlines()]
    assert [" ".join(row).split() for row in rows] == [" ".join(parts).split() for parts in expected]


@pytest.mark.slow
def test_the_tables_columns_stand_in_the_notes_order(report: Report, out: Path) -> None:
    names = list(as_read(report, "results"))
    assert [name for name in names if name in RESULT_COLUMNS] == RESULT_COLUMNS
    header = " | ".join(f"{name}" for name in RESULT_COLUMNS)
    lines = [" | ".join(part.strip() for part in line.strip("|").split("|")) for line in _lines(out)]
    assert header in lines


def test_loss_drop_at_the_transition(report: Report) -> None:
    """As printed, but for one cell: the notes say -29.2% at 512, and their own 10.19 → 7.22 is 29.15 %."""
    (part,) = report.table("loss_transition").parts
    assert part.headings == ["Model", "Loss at Step 5k", "Loss at Step 6k", "Drop", "% Improvement"]
    assert part.texts == [
        ["256", "10.34", "7.32", "-3.02", "-29.2%"],
        ["512", "10.19", "7.22", "-2.97", "-29.1%"],
        ["768", "10.08", "7.22", "-2.86", "-28.4%"],
        ["1024", "10.10", "7.15", "-2.95", "-29.2%"],
    ]


def test_token_recovery_at_the_transition(report: Report) -> None:
    (part,) = report.table("token_transition").parts
    assert part.texts == [
        ["256", "2", "10", "5.0x"],
        ["512", "2", "10", "5.0x"],
        ["768", "2", "8", "4.0x"],
        ["1024", "2", "11", "5.5x"],
    ]


def test_true_sizes_stand_beside_the_published_ones(report: Report, out: Path) -> None:
    """2 · 50257 · h + 40 h² + 29 h, worked out on paper."""
    rows = in_file(report, "model_sizes").to_dict("records")
    assert [(row["Hidden Size"], row["Params"], row["Published"], row["Published is"]) for row in rows] == [
        ("256", "28360448", "28000000", "right"),
        ("512", "61963776", "114000000", "wrong: 1.8x the true count"),
        ("768", "100809984", "257000000", "wrong: 2.5x the true count"),
        ("1024", "144899072", "458000000", "wrong: 3.2x the true count"),
    ]
    assert (rows[0]["Ternary"], rows[0]["Embedding"]) == ("2621440", "25731584")
    assert "28,360,448" in (out / "report.md").read_text(), "people read it with commas"
    assert "| 114M " in (out / "report.md").read_text()


def test_the_trajectory_of_256(report: Report) -> None:
    rows = [row for row in in_file(report, "trajectory").to_dict("records") if row["hidden"] == "256"]
    assert [(row["Step"], row["WD"], row["Tokens"], row["Loss"]) for row in rows] == [
        ("1", "0.1", "20", "11.08"),
        ("1000", "0.1", "16", "10.82"),
        ("2000", "0.1", "8", "10.82"),
        ("3000", "0.1", "2", "10.2"),
        ("4000", "0.1", "2", "10.27"),
        ("5000", "0.1", "2", "10.34"),
        ("6000", "0.0", "10", "7.32"),
        ("7000", "0.0", "14", "6.74"),
        ("8000", "0.0", "13", "7.25"),
        ("9000", "0.0", "17", "6.47"),
        ("10000", "0.0", "13", "6.61"),
    ]


def test_what_was_not_published_is_unknown_and_no_outcome_is_guessed(report: Report, out: Path) -> None:
    rows = {row["Hidden Size"]: row for row in as_read(report, "results").to_dict("records")}
    assert [rows["512"][f"loss {step}"] for step in ("1k", "5k", "6k", "10k")] == [
        *("unknown", "10.19", "7.22", "unknown")
    ]
    assert {row["outcome"] for row in rows.values()} == {"unknown"}
    assert "ref/unigram_loss is not on record" in (out / "report.md").read_text()


@pytest.mark.slow
def test_check_passes_and_the_screen_shows_the_transitions(
    published_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--check", "--claims", "notes"]
    assert main([str(published_store), "--out", str(tmp_path / "out"), *asked]) == 0
    screen = capsys.readouterr().out
    for figure in ("-29.2%", "-28.4%", "5.0x", "5.5x", "report.html"):
        assert figure in screen
    assert "The claims of the notes: 1 contradicted, 4 consistent, 3 inconclusive, 11 not tested" in screen


def _lines(out: Path) -> list[str]:
    return (out / "report.md").read_text().splitlines()
