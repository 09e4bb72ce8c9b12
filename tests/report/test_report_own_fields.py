"""What somebody's own metric or task records is drawn wherever our own fields are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitnet_sweep.report import make_report, write_report
from bitnet_sweep.report.arms import MOST_OWN, own_fields_of
from bitnet_sweep.report.figures.drawing import is_ours
from bitnet_sweep.report.page.charts import chart_data

LOSSES: dict[int, float | None] = {1: 7.0, 50: 6.5, 100: 5.0}
HOSTILE = "../../<script>$x$</script>"


def run(store: Any, run_id: str, fields: dict[str, float | None], **config: Any) -> None:
    """A run whose records have these fields, each a little more at every step."""
    path = store.run(run_id, LOSSES, **config) / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    more = [{name: v if v is None else v + row["step"] for name, v in fields.items()} for row in rows]
    path.write_text("".join(json.dumps(row | own) + "\n" for row, own in zip(rows, more, strict=True)))


def test_an_own_metric_is_in_chart_figures_and_runs(store: Any, tmp_path: Any) -> None:
    run(store, "a", {"margin/mean": 0.25, "margin/least": None})
    run(store, "b", {"margin/mean": 0.5, "margin/least": None}, wd2=0.05)
    made = make_report([store.root])
    assert own_fields_of(made.study.arms) == ["margin/least", "margin/mean"]

    data = chart_data(made.study.sections)
    place = [metric["name"] for metric in data["metrics"]].index("margin/mean")
    (panel,) = data["panels"]
    values = {value for line in panel["lines"] for value in line["values"][place]}
    of_arms = {step + first for first in (0.25, 0.5) for step in (50, 100)}
    assert values == of_arms | {1.25}, "the trunk, by the first of them"

    titles = {figure.name: figure.title for figure in made.figures}
    assert {name: title for name, title in titles.items() if name.startswith("own")} == {
        "own_2": "margin/mean against step"
    }, "of the other there is nothing to draw"
    write_report(made, tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "own_2.svg").is_file()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('aria-label="margin/mean"') == 2, "a small curve for each run"


def test_a_field_of_any_name_is_text_and_names_no_file(store: Any, tmp_path: Any) -> None:
    run(store, "a", {HOSTILE: 1.0})
    write_report(make_report([store.root]), tmp_path / "out")
    names = [path.name for path in (tmp_path / "out" / "figures").iterdir()]
    assert "own_1.svg" in names
    assert all(map(is_ours, names))
    assert "<script>$x$" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("number", [MOST_OWN, MOST_OWN + 1])
def test_so_many_are_drawn_and_no_more(store: Any, number: int) -> None:
    run(store, "a", {f"many/{i:02}": 1.0 for i in range(number)})
    assert own_fields_of(make_report([store.root]).study.arms) == [f"many/{i:02}" for i in range(MOST_OWN)]


def test_fields_of_ours_and_of_layers_are_none(store: Any) -> None:
    layer = "blocks.0.qkv"
    run(store, "a", {f"ternary/absmean/{layer}": 1.0, f"ternary/zero_frac/{layer}": 0.5, "val/loss": 4.0})
    assert own_fields_of(make_report([store.root]).study.arms) == []


def test_the_read_table_of_a_run_has_them(store: Any) -> None:
    run(store, "a", {"margin/mean": 0.25, "margin/least": None})
    report = make_report([store.root])
    (part,) = report.table("trajectory").parts
    column = next(column for column in part.columns if column.key == "margin/mean")
    assert [column.text(row) for row in part.rows] == ["1.25", "50.25", "100.2"]
    assert "margin/least" not in part.headings
    assert "margin/mean" not in report.table("trajectory").frame, "records.csv has it"
