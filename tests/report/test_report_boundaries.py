"""Schedules of three and more stages: every boundary is told, each where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from bitnet_sweep.config import RunConfig, ScheduleConfig, plain
from bitnet_sweep.report import make_report
from bitnet_sweep.report.boundaries import changes_at
from bitnet_sweep.stages import resolve
from tests.report.conftest import as_read

LOSSES: dict[int, float | None] = {1: 9.0, 20: 8.0, 30: 6.0, 50: 8.0, 60: 4.0, 70: 3.0, 80: 3.0, 100: 2.0}
TOKENS = {1: 20, 20: 2, 30: 4, 50: 3, 60: 9, 70: 9, 80: 9, 100: 10}


def stages(*parts: tuple[int, float, float, float]) -> list[dict[str, Any]]:
    """Of steps, decay, and the learning rate at the start and at the end."""
    return [
        {"steps": steps, "weight_decay": decay, "lr": [{"step": 0, "lr": start}, {"step": steps, "lr": end}]}
        for steps, decay, start, end in parts
    ]


THREE = stages((20, 0.1, 1e-3, 1e-3), (30, 0.1, 5e-4, 5e-4), (50, 0.0, 5e-4, 0.0))


def rows_of(store: Any, table: str = "boundaries") -> list[dict[str, str]]:
    return [dict(row) for _, row in as_read(make_report([store.root]), table).iterrows()]


def test_every_boundary_has_its_row(store: Any) -> None:
    """At 20 the learning rate drops, 8 to 6 by step 30; at 50 decay ends, 8 to 4 by step 60."""
    store.run("a", LOSSES, TOKENS, stages=THREE)
    names = ("Boundary", "Stage", "Change", "Loss before", "Loss after", "Drop", "% Improvement")
    assert [
        tuple(row[name] for name in (*names, "Tokens before", "Tokens after")) for row in rows_of(store)
    ] == [
        ("20", "2", "LR 0.001→0.0005", "8.00", "6.00", "-2.00", "-25.0%", "2", "4"),
        ("50", "3", "WD 0.1→0.0, LR bends at 0.0005", "8.00", "4.00", "-4.00", "-50.0%", "3", "9"),
    ]
    (transition,) = rows_of(store, "loss_transition")
    assert (transition["Loss before"], transition["Loss after"]) == ("8.00", "4.00")


def test_replicates_have_their_mean_at_each_boundary(store: Any) -> None:
    for seed, end in enumerate((4.0, 6.0)):
        store.run(f"a{seed}", LOSSES | {60: end}, TOKENS, seed=seed, stages=THREE)
    told = [(row["Boundary"], row["seed"], row["Loss after"]) for row in rows_of(store)]
    assert told == [
        *[("20", seed, "6.00") for seed in ("0", "1", "mean")],
        *[("50", "0", "4.00"), ("50", "1", "6.00"), ("50", "mean", "5.00")],
    ]
    assert rows_of(store)[-1]["% Improvement, 95%"] == "[-196.3%, 121.3%] (t, df = 1)"


def test_what_is_not_on_record_is_told_so(store: Any) -> None:
    store.run("a", {1: 9.0, 20: 8.0}, stages=THREE, state="running")
    store.run("b", {1: 9.0, 20: 8.0, 50: 8.0, 100: 2.0}, stages=THREE, seed=1, probe_every_steps=50)
    rows = rows_of(store)
    assert {row["Loss after"] for row in rows if row["run_id"] == "a"} == {"running"}
    assert {row["Loss after"] for row in rows if row["run_id"] == "b"} == {"not probed"}


def test_two_stages_are_read_in_the_older_tables_alone(store: Any) -> None:
    store.run("a", LOSSES, TOKENS)
    table = make_report([store.root]).table("boundaries")
    assert (len(table.rows), table.parts) == (1, [])
    store.run("b", LOSSES, TOKENS, stages=THREE)
    assert len(make_report([store.root]).table("boundaries").parts) == 1


def test_each_change_of_decay_stands_in_its_place(store: Any) -> None:
    """Decay changes at 20, 50 and 75 of 100 steps."""
    decays = stages((20, 0.1, 1.0, 1.0), (30, 0.05, 1.0, 1.0), (25, 0.01, 1.0, 1.0), (25, 0.0, 1.0, 1.0))
    store.run("a", LOSSES, TOKENS, stages=decays)
    columns = list(as_read(make_report([store.root]), "results"))
    start = columns.index("Step 10")
    assert columns[start : start + 11] == [
        *("Step 10", "Step 20", "Stage 2→", "Step 30", "Step 40", "Step 50", "Stage 3→"),
        *("Step 60", "Step 70", "Stage 4→", "Step 100"),
    ]


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        pytest.param(RunConfig(), ["WD 0.1→0.0, LR bends at 0.001"], id="two stages"),
        pytest.param(RunConfig(wd2=0.1), ["LR bends at 0.001"], id="only the learning rate"),
        pytest.param(RunConfig(boundary=0.7), ["LR bends at 0.001", "WD 0.1→0.0"], id="decay later"),
        pytest.param(RunConfig(boundary=0.3), ["WD 0.1→0.0", "LR bends at 0.001"], id="decay earlier"),
        pytest.param(
            RunConfig(
                boundary=2 / 3,
                schedule=ScheduleConfig("trilm", lr_bend_from=0.5, lr_bend_to=0.3, lr_final=0.0),
            ),
            ["LR 0.00075→0.00045", "WD 0.1→0.0"],
            id="trilm",
        ),
    ],
)
def test_what_changes_at_the_boundaries_of_a_schedule(config: RunConfig, changes: list[str]) -> None:
    assert changes_at({"stages": plain(resolve(config).stages)}) == changes


@pytest.mark.parametrize("stages", [None, "?", [], [None, 3], [{"lr": 1}, {"lr": [1, 2]}]])
def test_stages_of_any_form_break_nothing(store: Any, stages: Any) -> None:
    store.run("a", LOSSES, TOKENS, stages=stages)
    for table in ("boundaries", "results", "contrasts"):
        rows_of(store, table)
