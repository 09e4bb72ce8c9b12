"""Evaluations become columns of the leaderboard: means of a cell, versions of a task file apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import bitnet_sweep as bs
from bitnet_sweep.report import make_report
from bitnet_sweep.report.markdown import markdown
from bitnet_sweep.store import Store
from tests.report.conftest import in_file


def evaluated(
    root: Path, run_id: str, name: str, results: dict[str, dict[str, float | None]], content: str = "a" * 64
) -> None:
    """A record, as ``bitnet-sweep evaluate`` writes it."""
    found = {
        task: {metric: {"value": value, "stderr": 0.01} for metric, value in metrics.items()}
        for task, metrics in results.items()
    }
    document = {"schema": 1, "tasks_file": f"{name}.json", "content": content, "results": found}
    document["samples"] = dict.fromkeys(results, 4)
    Store(root).write_evaluation(run_id, f"{name}.{content[:8]}", document)


@pytest.fixture
def cells(store: Any) -> Any:
    """Two cells of two seeds; wd2=0 ends at 3, wd2=0.05 at 4."""
    for seed in (0, 1):
        store.run(f"a{seed}", {1: 9.0, 50: 8.0, 100: 3.0}, seed=seed, wd2=0.0)
        store.run(f"b{seed}", {1: 9.0, 50: 8.0, 100: 4.0}, seed=seed, wd2=0.05)
    return store


def rows_of(*roots: Path) -> list[dict[str, str]]:
    return [dict(row) for _, row in in_file(make_report(list(roots)), "leaderboard").iterrows()]


def shown_of(*roots: Path) -> list[dict[str, str]]:
    (part,) = make_report(list(roots)).table("leaderboard").parts
    return [dict(zip(part.headings, texts, strict=True)) for texts in part.texts]


def test_a_cell_has_the_mean_of_its_runs(cells: Any) -> None:
    evaluated(cells.root, "a0", "quiz", {"quiz": {"acc": 0.25}, "last": {"perplexity": 100.0}})
    evaluated(cells.root, "a1", "quiz", {"quiz": {"acc": 0.75}, "last": {"perplexity": None}})
    evaluated(cells.root, "b0", "quiz", {"quiz": {"acc": 0.125}})
    first, second = rows_of(cells.root)
    assert (first["cell"], first["quiz/quiz/acc"], first["quiz/quiz/acc_n"]) == ("wd2=0", "0.5", "2")
    assert (first["quiz/last/perplexity"], first["quiz/last/perplexity_n"]) == ("100", "1")
    assert (second["quiz/quiz/acc"], second["quiz/quiz/acc_n"]) == ("0.125", "1")
    assert (second["quiz/last/perplexity"], second["quiz/last/perplexity_n"]) == ("", "0")
    shown = shown_of(cells.root)
    assert [row["quiz/quiz/acc"] for row in shown] == ["0.5", "0.125 (1/2)"]
    assert [row["quiz/last/perplexity"] for row in shown] == ["100 (1/2)", ""]
    assert not [name for name in shown[0] if name.endswith("_n")]


def test_without_evaluations_nothing_changes(cells: Any) -> None:
    before = make_report([cells.root])
    (cells.root / "evaluations" / "a0").mkdir(parents=True)
    after = make_report([cells.root])
    text = [markdown(report.summary, report.tables, []) for report in (before, after)]
    assert text[0] == text[1]
    assert "evaluations" not in text[0]
    assert list(rows_of(cells.root)[0])[-1] == "run_ids"


def test_versions_of_a_task_file_are_not_averaged(cells: Any) -> None:
    evaluated(cells.root, "a0", "quiz", {"quiz": {"acc": 0.25}}, "a" * 64)
    evaluated(cells.root, "a1", "quiz", {"quiz": {"acc": 0.75}}, "b" * 64)
    evaluated(cells.root, "a1", "other", {"quiz": {"acc": 1.0}}, "c" * 64)
    first, _ = rows_of(cells.root)
    columns = {name: value for name, value in first.items() if "/" in name and not name.endswith("_n")}
    assert columns == {
        "other/quiz/acc": "1",
        "quiz@aaaaaaaa/quiz/acc": "0.25",
        "quiz@bbbbbbbb/quiz/acc": "0.75",
    }


def test_stores_merge_and_the_first_counts(cells: Any, other_store: Any) -> None:
    other_store.run("a0", {1: 9.0, 50: 8.0, 100: 3.0}, seed=0, wd2=0.0)
    evaluated(cells.root, "a0", "quiz", {"quiz": {"acc": 0.25}})
    evaluated(other_store.root, "a0", "quiz", {"quiz": {"acc": 0.75}})
    evaluated(other_store.root, "a1", "quiz", {"quiz": {"acc": 0.5}})
    evaluated(other_store.root, "unknown", "quiz", {"quiz": {"acc": 0.5}})
    first, _ = rows_of(cells.root, other_store.root)
    assert (first["quiz/quiz/acc"], first["quiz/quiz/acc_n"]) == ("0.375", "2")


def test_those_of_one_run_in_python(cells: Any) -> None:
    evaluated(cells.root, "a0", "quiz", {"quiz": {"acc": 0.25}, "last": {"perplexity": None}})
    frame = bs.open_run(cells.root, "a0").evaluations
    assert list(frame) == ["tasks", "content", "task", "metric", "value", "stderr", "n"]
    quiz, last = frame.itertuples(index=False, name=None)
    assert quiz == ("quiz", "aaaaaaaa", "quiz", "acc", 0.25, 0.01, 4)
    assert (last[2], math.isnan(last[4])) == ("last", True)
    assert list(bs.open_run(cells.root, "a1").evaluations) == list(frame)
    assert len(bs.open_run(cells.root, "a1").evaluations) == 0


BROKEN = {
    "no JSON": "{",
    "another schema": json.dumps({"schema": 2}),
    "a list": "[]",
    "no results": json.dumps({"schema": 1, "tasks_file": "q.json", "content": "a", "results": 3}),
    "a task without results": json.dumps(
        {"schema": 1, "tasks_file": "q.json", "content": "a", "results": {"q": 1}}
    ),
    "a metric without a number": json.dumps(
        {"schema": 1, "tasks_file": "q.json", "content": "a", "results": {"q": {"acc": 1}}}
    ),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_record_that_cannot_be_read_is_told_and_left_out(cells: Any, text: str) -> None:
    folder = cells.root / "evaluations" / "a0"
    folder.mkdir(parents=True)
    (folder / "q.aaaa.json").write_text(text)
    report = make_report([cells.root])
    assert (
        len([note for note in report.study.evidence.notes if note.startswith("evaluation q.aaaa of a0")]) == 1
    )
    with pytest.raises(bs.ConfigError, match=r"RUN=a0: evaluation q\.aaaa: "):
        _ = bs.open_run(cells.root, "a0").evaluations
    assert "run_ids" in in_file(report, "leaderboard")
    assert not [name for name in in_file(report, "leaderboard") if "/" in str(name)]
