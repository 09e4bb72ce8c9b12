"""Numbers in a report are those of the store, with every digit; equal ones are equal everywhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep.report import make_report, write_report
from bitnet_sweep.report.grid import grid_of, points_of
from bitnet_sweep.report.pairs import Pair, Refusal, pair_of
from bitnet_sweep.report.settings import shown
from bitnet_sweep.store.asked_runs import Sweep

LOSSES: dict[int, float | None] = {1: 9.0, 50: 8.0, 60: 7.0, 100: 4.0}
SEEDS = (1764331200123456789, 1764331200123456790)


def tables_of(root: Path, out: Path) -> dict[str, list[dict[str, str]]]:
    write_report(make_report([root]), out)
    found = {}
    for path in (out / "tables").glob("*.csv"):
        with path.open(newline="") as file:
            found[path.stem] = list(csv.DictReader(file))
    return found


@pytest.mark.parametrize("as_text", [False, True], ids=["as numbers", "as text"])
@pytest.mark.parametrize("seeds", [SEEDS, (2**53, 2**53 + 1), (2**63, 2**64 - 1)], ids=str)
@pytest.mark.few(2)
@pytest.mark.slow
def test_seeds_past_a_float(store: Any, tmp_path: Path, seeds: tuple[int, int], as_text: bool) -> None:
    for i, seed in enumerate(seeds):
        for wd2 in (0.0, 0.05):
            store.run(f"r{i}{wd2}", LOSSES, seed=str(seed) if as_text else seed, wd2=wd2)
    store.run("no seed", LOSSES, seed=None, wd2=0.0)
    tables = tables_of(store.root, tmp_path / "out")
    told = {str(seed) for seed in seeds}
    assert {row["seed"] for row in tables["records"]} == told | {""}
    for name in ("results", "trajectory"):
        assert told <= {row["seed"] for row in tables[name]}, name
    pairs = [row for row in tables["stage2_contrast"] if row["row"] == "run"]
    assert sorted(row["seed"] for row in pairs) == sorted(told)
    assert {(row["old run"][:2], row["new run"][:2]) for row in pairs} == {("r0", "r0"), ("r1", "r1")}


def test_runs_of_near_seeds_are_no_pair(store: Any) -> None:
    for name, seed, lr in (("a", SEEDS[0], 1e-3), ("b", SEEDS[1], 2e-3), ("c", SEEDS[0], 2e-3)):
        store.run(name, LOSSES, seed=seed, lr=lr, status={"stage_ids": [], "parent_stage_id": None})
    arms = {arm.run_id: arm for arm in make_report([store.root]).study.arms}
    assert pair_of(arms["a"], arms["b"]) == Refusal("the seeds differ")
    assert pair_of(arms["a"], arms["c"]) == Pair("matched", "lr")


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"wd2": 0.0}, {"wd2": -0.0}, True),
        ({"wd2": 0}, {"wd2": 0.0}, True),
        ({"lr": "1e-3"}, {"lr": 0.001}, True),
        ({"lr": 1}, {"lr": 1.0}, True),
        ({"lr": 0.3}, {"lr": 0.1 + 0.2}, False),
        ({"model__ffn": 10**7}, {"model__ffn": 10**7 + 1}, False),
        ({"data__text_field": "01"}, {"data__text_field": "1"}, False),
        ({"data__text_field": "1e3"}, {"data__text_field": "1000"}, False),
    ],
    ids=str,
)
def test_equal_values_are_one_cell(store: Any, one: Any, other: Any, equal: bool) -> None:
    store.run("a", LOSSES, seed=1, **one)
    store.run("b", LOSSES, seed=2, **other)
    (first, *more) = make_report([store.root]).study.sections
    assert bool(more) is not equal
    if equal:
        assert len(first.cells()) == 1


def test_no_table_has_a_negative_zero(store: Any, tmp_path: Path) -> None:
    store.run("a", LOSSES, wd2=-0.0)
    store.run("b", LOSSES, wd2=0.05)
    for name, rows in tables_of(store.root, tmp_path / "out").items():
        assert not [row for row in rows if "-0.0" in row.values() or "-0" in row.values()], name


def test_whole_numbers_in_records(store: Any, tmp_path: Path) -> None:
    path = store.run("a", LOSSES) / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    large = {"tokens_seen": 2**53 + 1, "x/huge": 2**64 + 1, "x/mixed": 2**53 + 1}
    rows[1] |= large
    rows[2] |= {"tokens_seen": 3, "x/mixed": 0.5}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = tables_of(store.root, tmp_path / "out")["records"]
    assert [row["tokens_seen"] for row in records] == ["", str(2**53 + 1), "3", ""]
    assert [row["x/huge"] for row in records] == ["", str(2**64 + 1), "", ""]
    assert float(records[2]["x/mixed"]) == 0.5
    assert {row["seed"] for row in records} == {"0"}


@pytest.mark.parametrize("seed", ["1" + "0" * 400, 10**400, "1" * 5000], ids=["text", "number", "too long"])
@pytest.mark.slow
def test_a_seed_of_many_digits_stops_no_report(store: Any, tmp_path: Path, seed: Any) -> None:
    store.run("a", LOSSES, seed=seed)
    assert tables_of(store.root, tmp_path / "out")["results"]


def test_a_missing_run_is_placed_by_its_exact_seed() -> None:
    sweep = Sweep("s", ["a", "b"], overrides=[f"seed={SEEDS[0]},{SEEDS[1]}"])
    config = {"seed": SEEDS[1], "wd2": 0.0}
    assert points_of(sweep, {"a": {}, "b": config})["a"]["seed"] == SEEDS[0]
    assert points_of(sweep, {"a": config, "b": {}}) == {}  # the grid says another seed of it


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("010,1_000", [10, 1000]),
        ("1e-3,-0.0", [0.001, 0.0]),
        ("null,true", [None, True]),
        ("adamw, 0x10", ["adamw", "0x10"]),
    ],
)
def test_choices_are_read_as_hydra_reads_them(text: str, values: list[object]) -> None:
    points = grid_of(Sweep("s", [str(i) for i in range(len(values))], overrides=[f"k={text}"]))
    assert points == [{"k": value} for value in values]


def test_what_is_shown() -> None:
    assert [shown(value) for value in (SEEDS[0], str(SEEDS[0]), 0.1 + 0.2, "1e-3", -0.0, None, True)] == [
        str(SEEDS[0]),
        str(SEEDS[0]),
        "0.30000000000000004",
        "0.001",
        "0",
        "unknown",
        "True",
    ]
