"""Very many runs: quick readers that equal the slow ones, tables and charts that say they are cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bitnet_sweep.report import make_report
from bitnet_sweep.report.csv_files import write_csv
from bitnet_sweep.report.page.charts import MOST_ARMS, chart_data
from bitnet_sweep.report.page.html import as_json
from bitnet_sweep.report.table import SEED, Cell, Column, Part, Row, Table, shortened
from bitnet_sweep.store import codec
from bitnet_sweep.store.codec import plain_row, quick_yaml
from tests.report.conftest import as_read

DOCUMENTS = [
    pytest.param("a: 1\nb:\n  c: 2\nd:\n- 1\n- {e: 2}\n", id="blocks and lists"),
    pytest.param("a: &x {b: 1}\nc: *x\n", id="an anchor used in another block"),
    pytest.param('a: "one\nb: two"\nc: 3\n', id="quoted text over lines that look like keys"),
    pytest.param("a: |\n  x\n\n  b: 1\nc: 3\n", id="a literal block with an empty line"),
    pytest.param("a: {b: 1,\nc: 2}\n", id="a flow mapping over lines"),
    pytest.param("a: 1\na: 2\n", id="a key twice"),
    pytest.param("# note\na: 1\n", id="a comment first"),
    pytest.param("---\na: 1\n", id="a document mark"),
    pytest.param("a: 1e-3\nb: 1.0e-3\nc: null\nd: ~\ne:\n", id="scalars"),
    pytest.param("- 1\n- 2\n", id="a list"),
    pytest.param("", id="empty"),
    pytest.param("model.hidden: 64\n? x\n: y\n", id="a complex key"),
]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_a_config_read_by_blocks_equals_the_whole_one(text: str) -> None:
    for _ in range(2):  # the second time from what is remembered
        assert quick_yaml(text.encode()) == yaml.safe_load(text)


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), _values, max_size=5))
def test_any_config_that_yaml_writes_is_read_alike(document: dict[str, Any]) -> None:
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    assert quick_yaml(text.encode()) == yaml.safe_load(text)


LINES = [
    pytest.param(b'{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}], id="whole"),
    pytest.param(b'{"a": 1}\n\n{"a": 2', [{"a": 1}], id="an unfinished last line"),
    pytest.param(b'{"a": 1},{"b": 2}\n', None, id="two on a line"),
    pytest.param(b'{"a": 1}\n{oops}\n{"a": 2}\n', None, id="a broken line"),
    pytest.param(b'{"a": 1}\n[2]\n', None, id="no object"),
    pytest.param(b"", [], id="nothing"),
]


@pytest.mark.parametrize(("data", "rows"), LINES)
def test_lines_are_read_at_once_by_the_same_rules(data: bytes, rows: list[dict[str, int]] | None) -> None:
    if rows is not None:
        assert codec.json_lines(data, Path("x")) == rows
        return
    with pytest.raises(ValueError, match="not a JSON object"):
        codec.json_lines(data, Path("x"))


def test_only_finite_numbers_stay_numbers() -> None:
    row = {
        "step": 1,
        "a": 1.5,
        "b": float("inf"),
        "c": "x",
        "d": True,
        "e": None,
        "f": [1],
        "g": -float("inf"),
    }
    kept = {"step": 1, "a": 1.5, "b": None, "c": None, "d": None, "e": None, "f": None, "g": None}
    assert plain_row(row) == kept


def test_numbers_beyond_all_measure_are_null(store: Any) -> None:
    folder = store.run("a", {1: 9.0, 50: 5.0, 100: 4.0})
    lines = (folder / "records.jsonl").read_text().replace('"val/loss": 9.0', f'"val/loss": {"9" * 400}')
    (folder / "records.jsonl").write_text(lines.replace('"val/loss": 4.0', '"val/loss": 1e999'))
    report = make_report([store.root])
    assert report.table("records").frame["val/loss"].isna().tolist() == [True, False, True]


def test_numbers_whose_sum_no_float_holds_are_null(store: Any) -> None:
    for seed in (0, 1):
        store.run(f"a{seed}", {1: 9.0, 50: 1.7e308, 100: 4.0}, seed=seed)
    assert list(as_read(make_report([store.root]), "results")["loss 50"]) == ["unknown"] * 3


def test_a_table_file_is_what_pandas_would_write(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "text": ["a,b", 'say "so"', "", "é\nf"],
            "whole": pd.array([1, None, 3, 4], dtype="Int64"),
            "real": pd.array([1.0, 2.4817686835376662e-05, None, 1e22], dtype="Float64"),
            "empty": [None, None, None, None],
        }
    )
    write_csv(tmp_path / "x.csv", Table("x", "", "", [Column("real", is_exact=True)], data=frame))
    assert (tmp_path / "x.csv").read_bytes().decode() == frame.to_csv(index=False)


def test_a_long_table_shows_means_and_says_what_it_leaves_out() -> None:
    rows = [Row({SEED: Cell(seed)}, run_ids=(str(seed),), is_averaged=True) for seed in range(900)]
    rows += [Row({SEED: Cell(words="mean")}, "mean", ("all",)), Row({SEED: Cell(0)}, run_ids=("other",))]
    part = Part(None, "", [Column(SEED)], rows)
    cut = shortened(Table("results", "Results", "About.", parts=[part]))
    assert cut.parts[0].texts == [["mean"], ["0"]]
    assert [row.run_ids for row in cut.parts[0].rows] == [("all",), ("other",)]
    assert "Shown: 2 of 902 rows" in cut.about
    assert "tables/results.csv has all" in cut.about
    short = Table("results", "Results", "About.", parts=[replace(part, rows=rows[:600])])
    assert shortened(short) is short


def test_the_chart_holds_fewer_seeds_of_every_arm_and_says_so(store: Any) -> None:
    for number in range(MOST_ARMS + 4):
        wd2, hidden = (number % 2) * 0.05, 64 * (1 + number // 2 % 2)
        store.run(
            f"r{number:03}", {1: 9.0, 50: 8.0, 100: 4.0}, seed=number // 4, wd2=wd2, model__hidden=hidden
        )
    data = chart_data(make_report([store.root]).study.sections)
    assert [panel["name"] for panel in data["panels"]] == ["hidden 64", "hidden 128"]
    assert [len(panel["arms"]) for panel in data["panels"]] == [MOST_ARMS // 2, MOST_ARMS // 2]
    assert data["note"].startswith(f"The chart holds {MOST_ARMS} of {MOST_ARMS + 4} runs (50 of each arm)")
    first = data["panels"][0]["lines"][0]
    assert (first["arms"], first["steps"], first["values"][0]) == ([0, 50], [1, 50], [9, 8]), (
        "a trunk of two arms"
    )


def test_no_text_ends_the_data_of_the_page() -> None:
    document = {"name": "</script><script>alert(1)</script><!-- & >"}
    text = str(as_json(document))
    assert not set("<>&") & set(text)
    assert json.loads(text) == document
