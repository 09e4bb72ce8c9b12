"""The accounting of a sweep's time, on a store made by hand."""

import sys

import pytest

from bench import share
from bitnet_sweep.store import FAILED, FINISHED, Status, Store
from bitnet_sweep.store.asked_runs import AskedRun, read_sweeps

RUNS = [
    AskedRun("a", "h8 wd2=0", ("t", "a"), (10, 20)),
    AskedRun("b", "h8 wd2=0.1", ("t", "b"), (10, 20)),
]
SWEEP = {
    "created": "2026-11-22T10:00:00Z",
    "command": "python",
    "run_ids": ["a", "b"],
    "runs": [run.document() for run in RUNS],
}


@pytest.fixture
def store(tmp_path):
    """A trunk of 10 steps at 100 ms with two runs of 10 more at 200 ms; each probes for half a second."""
    store = Store(tmp_path)
    trunk = [(1, 100.0), (10, 100.0)]
    for folder, steps, wall_s in (
        (store.stage("t"), trunk, 2.5),
        (store.run("a"), [*trunk, (20, 200.0)], 3.0),
        (store.run("b"), [*trunk, (20, 200.0)], 4.0),
    ):
        folder.path.mkdir(parents=True)
        for step, milliseconds in steps:
            folder.append({"step": step, "perf/step_ms": milliseconds, "perf/probe_ms": 500.0})
        folder.write_status(Status(FINISHED, ["t"], attempts=1, train_seconds=wall_s))
    store.write_sweep("s", SWEEP)
    return store


def test_every_second_is_accounted_for(store):
    rows = share.account(store, RUNS)
    figures = [[row[key] for key in share.COLUMNS] for row in rows]
    assert figures == [
        ["trunk of h8 wd2=0", 10, 2.5, 100.0, 1.0, 1.0, 0.5, 60.0],
        ["h8 wd2=0", 10, 3.0, 200.0, 2.0, 0.5, 0.5, 33.3],
        ["h8 wd2=0.1", 10, 4.0, 200.0, 2.0, 0.5, 1.5, 50.0],
        ["the longest chain", 20, 6.5, 150.0, 3.0, 1.5, 2.0, 53.8],
        ["all jobs", 30, 9.5, 166.7, 5.0, 2.0, 2.5, 47.4],
    ]


def test_elapsed_ends_with_the_last_status(store):
    for run, minute in (("a", 7), ("b", 5)):
        path = store.run(run).path / "status.json"
        updated = store.run(run).status().updated
        path.write_text(path.read_text().replace(updated, f"2026-11-22T10:0{minute}:00Z"))
    assert share.elapsed(store, read_sweeps(store)[0]) == 7 * 60


@pytest.mark.parametrize("status", [Status(FINISHED, ["t"], attempts=2), Status(FAILED, ["t"], attempts=1)])
def test_only_whole_attempts_count(store, status):
    store.run("b").write_status(status)
    with pytest.raises(ValueError, match="one attempt"):
        share.account(store, RUNS)


def test_the_program_writes_its_table(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["share", str(store.root), "s", "--out", str(tmp_path), "--name", "x"])
    share.main()
    assert "Elapsed from the plan" in capsys.readouterr().out
    assert "| the longest chain" in (tmp_path / "share_x.md").read_text()


def test_the_program_takes_some_runs(store, monkeypatch, capsys):
    store.run("b").write_status(Status(FAILED, ["t"], attempts=1))
    monkeypatch.setattr(sys, "argv", ["share", str(store.root), "s", "--runs", "a"])
    share.main()
    told = capsys.readouterr().out
    assert "h8 wd2=0 " in told
    assert "wd2=0.1" not in told
    assert "Elapsed" not in told, "of a part of a sweep that says nothing"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["other"], "holds no sweep other"),
        (["s"], "b has not finished in one attempt"),
        (["s", "--runs", "c"], "sweep s has none of these runs; it has a b"),
    ],
)
def test_the_program_says_what_it_cannot_account_for(store, monkeypatch, asked, why):
    store.run("b").write_status(Status(FAILED, ["t"], attempts=1))
    monkeypatch.setattr(sys, "argv", ["share", str(store.root), *asked])
    with pytest.raises(SystemExit, match=why):
        share.main()
