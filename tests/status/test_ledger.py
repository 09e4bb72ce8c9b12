"""The ledger on stores written by hand: states, numbers, names, order."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from bitnet_sweep.config import ConfigError
from bitnet_sweep.status import Entry, Ledger, render
from bitnet_sweep.status.__main__ import main
from bitnet_sweep.store import FAILED, FINISHED, INTERRUPTED, RUNNING, Status, liveness
from bitnet_sweep.store.asked_runs import AskedRun
from tests.status.conftest import asked

# 8 tokens a step at 80 tokens/s: 0.1 s a step; a probe of 1 s every 10 steps: 0.1 s a step more.
RECORD = {
    "step": 60,
    "stage": 2,
    "tokens_seen": 480,
    "val/loss": 5.125,
    "probe/unique_tokens": 7,
    "ternary/window_steps": 10,
    "perf/tokens_per_s": 80.0,
    "perf/probe_ms": 1000.0,
}


def by_id(store, sweep=None):
    return {entry.id: entry for entry in Ledger(store, sweep).entries()}


def test_a_running_run_in_full(writer):
    folder = writer.run("r", RUNNING, {"step": 1, "val/loss": 9.0}, RECORD)
    writer.owner(folder, step=70, steps=100, loss=5.0)
    writer.sweep("s", asked("r", name="h16 wd2=0"))
    (entry,) = Ledger(writer.store).entries()
    assert replace(entry, seconds_left=None) == Entry(
        "r", True, "h16 wd2=0", RUNNING, 2, 2, 70, 100, 5.125, 7, 80
    )
    assert entry.seconds_left == pytest.approx(30 * 0.2)
    lines = render([entry]).splitlines()
    assert lines[2].split() == [
        "run",
        "h16",
        "wd2=0",
        "r",
        "running",
        "2/2",
        "70/100",
        "5.12",
        "7",
        "80",
        "00:06",
    ]
    assert lines[3] == "1 runs: 1 running"


def test_a_run_that_is_a_trunk_of_another_sweeps_runs(writer):
    """The same stage has two folders; the sweep that asked for the run has no such trunk."""
    writer.run("b", FINISHED, trunk="a")
    writer.trunk("b", RUNNING)
    writer.sweep("short", asked("b", "a"))
    writer.sweep("long", AskedRun("c", "", ("a", "b", "c"), (20, 50, 100)))
    assert [(entry.id, entry.is_run) for entry in Ledger(writer.store, "short").entries()] == [("b", True)]
    states = {(entry.id, entry.is_run): entry.state for entry in Ledger(writer.store).entries()}
    assert states["b", True] == FINISHED
    assert states["b", False] != FINISHED


def test_what_went_wrong_stands_in_a_column_of_its_own(writer):
    writer.run("f", FAILED).write_status(
        Status(FAILED, ["t", "f"], error="Traceback ...\nOSError: no space left\n")
    )
    writer.run("g", FINISHED)
    writer.sweep("s", asked("f"), asked("g"))
    failed, fine = Ledger(writer.store).entries()
    assert (failed.error, fine.error) == ("OSError: no space left", None)
    table = render([failed, fine])
    assert "error" in table.splitlines()[0]
    assert "OSError: no space left" in table
    assert "error" not in render([fine])


def test_time_left_without_a_known_probe_interval(writer):
    """Full-precision weights have no window: the probes are left out."""
    folder = writer.run("r", RUNNING, RECORD | {"ternary/window_steps": None})
    writer.owner(folder, step=70, steps=100)
    assert by_id(writer.store)["r"].seconds_left == pytest.approx(30 * 0.1)


@pytest.mark.slow
def test_every_state(writer, dead_pid):
    for state in (FINISHED, FAILED, INTERRUPTED):
        writer.run(state, state, RECORD)
    writer.owner(writer.run("lives", RUNNING))
    writer.owner(writer.run("killed", RUNNING, RECORD), pid=dead_pid, step=70)
    writer.run("silent", RUNNING)
    writer.owner(writer.run("far", RUNNING), host="elsewhere", heartbeat=time.time() - 10)
    writer.owner(writer.run("far and old", RUNNING), host="elsewhere", heartbeat=time.time() - 70)
    writer.store.run("begins").path.mkdir()
    (writer.run("broken", FINISHED).path / "status.json").write_text("{")
    (writer.run("newer", FINISHED).path / "status.json").write_text('{"schema": 99}')
    (writer.run("half a record", FINISHED).path / "records.jsonl").write_text("[1]\n")
    writer.sweep("s", asked("asked for"))
    found = by_id(writer.store)
    assert {key: entry.state for key, entry in found.items()} == {
        "finished": "finished",
        "failed": "failed",
        "interrupted": "interrupted",
        "lives": "running",
        "killed": "died",
        "silent": "died",
        "far": "running",
        "far and old": "died",
        "begins": "waiting",
        "broken": "unreadable",
        "newer": "unreadable",
        "half a record": "unreadable",
        "asked for": "waiting",
    }
    assert found["killed"].step == 60, "what the dead process did behind its last record is not known"
    assert found["killed"].seconds_left is None
    assert (found["finished"].step, found["finished"].steps) == (60, 60)
    assert found["lives"].steps is None
    assert "0/?" in render([found["lives"]])


def test_a_run_that_finishes_while_it_is_read_has_not_died(writer, monkeypatch):
    folder = writer.run("r", RUNNING, RECORD)
    writer.owner(folder)

    def finishes_now(path):
        writer.run("r", FINISHED, RECORD | {"step": 100})
        (path / "lease.json").unlink()

    monkeypatch.setattr(liveness, "read_lease", finishes_now)
    assert by_id(writer.store)["r"].state == FINISHED


def test_order_names_and_stages(writer):
    """Older sweeps first, trunks before their first run; a trunk is called by what its runs share."""
    first = [asked("a", "t1", "h16 wd2=0 s0 adamw"), asked("b", "t1", "h16 wd2=0.05 s0 adamw")]
    writer.sweep("new", asked("c", "t2", "h32 wd2=0 s0"), first[0], created="2026-02-01")
    writer.sweep("old", *first, created="2026-01-01")
    for trunk in ("t1", "t2", "t3"):
        writer.trunk(trunk, FINISHED, RECORD | {"step": 50})
    writer.run("b", INTERRUPTED, RECORD)
    writer.run("d", FINISHED, RECORD)
    entries = Ledger(writer.store).entries()
    assert [entry.id for entry in entries] == ["t1", "a", "b", "t2", "c", "t3", "d"]
    found = {entry.id: entry for entry in entries}
    assert (found["t1"].name, found["t2"].name, found["t3"].name) == ("h16 s0 adamw", "h32 wd2=0 s0", "")
    assert (found["t1"].stage, found["t1"].num_stages, found["t1"].steps) == (1, 1, 50)
    assert (found["b"].stage, found["b"].num_stages, found["b"].step, found["b"].steps) == (2, 2, 60, 100)
    assert (found["d"].name, found["d"].num_stages, found["d"].steps) == ("", 2, 60)
    assert (found["a"].state, found["a"].steps) == ("waiting", 100)
    assert list(by_id(writer.store, "new")) == ["t2", "c", "t1", "a"]
    assert render(entries).splitlines()[-1] == (
        "4 runs: 1 interrupted, 2 waiting, 1 finished; 3 trunks: 3 finished"
    )


@pytest.mark.parametrize(("step", "stage"), [(0, 1), (1, 1), (50, 1), (51, 2), (100, 2)])
def test_the_boundary_step_belongs_to_the_stage_that_ends_there(writer, step, stage):
    writer.owner(writer.run("r", RUNNING), step=step)
    writer.sweep("s", asked("r"))
    assert by_id(writer.store)["r"].stage == stage


def test_a_trunk_does_not_count_to_the_end_of_its_run(writer):
    """Its owner's heartbeat does, for that is the run it trains."""
    writer.owner(writer.trunk("t", RUNNING, RECORD), step=40, steps=100)
    assert by_id(writer.store)["t"].steps is None
    writer.sweep("s", asked("r"))
    assert by_id(writer.store)["t"].steps == 50


def test_a_sweep_that_tells_no_more_than_its_run_ids(writer):
    writer.store.write_sweep("s", {"run_ids": ["a", "b"]})
    writer.run("b", FINISHED, RECORD)
    assert [(entry.id, entry.state, entry.name) for entry in Ledger(writer.store, "s").entries()] == [
        ("a", "waiting", ""),
        ("b", "finished", ""),
    ]


@pytest.mark.parametrize("content", ["{", "3", '{"run_ids": 3}'])
def test_a_sweep_file_that_cannot_be_read_asks_for_nothing(writer, content):
    writer.run("b", FINISHED, RECORD)
    writer.sweep("good", AskedRun("a"))
    (writer.store.root / "sweeps" / "bad.json").write_text(content)
    assert list(by_id(writer.store)) == ["a", "b"]


def test_a_run_is_asked_for_whatever_its_sweep_notes_of_it(writer):
    (writer.store.root / "sweeps").mkdir()
    (writer.store.root / "sweeps" / "bad.json").write_text('{"run_ids": ["c"], "runs": [{}]}')
    assert list(by_id(writer.store)) == ["c"]


def test_what_has_finished_is_read_once_and_again_when_it_changes(writer):
    reader = Ledger(writer.store)
    folder = writer.run("r", FINISHED, RECORD)
    before = reader.entries()
    folder.records_path.unlink()
    assert reader.entries() == before
    time.sleep(0.01)
    writer.run("r", INTERRUPTED, RECORD)
    assert reader.entries()[0].state == INTERRUPTED


def test_a_short_screen_shows_what_is_urgent():
    states = ["finished", "waiting", "died", "finished", "running"]
    entries = [Entry(f"id{i}", True, "", state) for i, state in enumerate(states)]
    text = render(entries, max_rows=3)
    assert [line.split()[1] for line in text.splitlines()[2:5]] == ["id1", "id2", "id4"]
    assert text.splitlines()[5] == "... and 2 more"
    assert render(entries, max_rows=5) == render(entries)


def test_an_empty_store(writer, capsys):
    assert main([str(writer.store.root)]) == 0
    assert capsys.readouterr().out.strip() == "0 runs"


def test_a_sweep_that_is_not_recorded(writer):
    writer.sweep("known", AskedRun("a"))
    with pytest.raises(ConfigError, match="recorded: known"):
        Ledger(writer.store, "other").entries()


@pytest.mark.parametrize(
    "arguments",
    [
        ["{root}/nowhere"],
        ["{root}/runs"],
        ["{root}", "--sweep", "other"],
        ["{root}", "--yes"],
        ["{root}", "--clean", "--watch"],
    ],
    ids=["no folder", "no store", "no sweep", "yes to nothing", "two at once"],
)
def test_wrong_commands_exit_2(writer, arguments):
    (writer.store.root / "runs" / "a").mkdir(parents=True)
    command = [argument.format(root=writer.store.root) for argument in arguments]
    ended = subprocess.run(
        [sys.executable, "-m", "bitnet_sweep.status", *command], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_it_imports_nothing_heavy(writer):
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bitnet_sweep.status", str(writer.store.root)],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    names = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
    assert "bitnet_sweep.status.ledger" in names
    assert not names & {"torch", "numpy", "pandas", "hydra", "datasets", "wandb"}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"outcome": "recovered", "marks": ["at unigram", "hollow"]}, "recovered, at unigram, hollow"),
        ({"outcome": "stuck", "marks": []}, "stuck"),
        ({"outcome": "stuck"}, "stuck, marks unknown"),
        ({"outcome": "diverged", "marks": []}, "diverged"),
    ],
)
def test_a_finished_run_tells_its_outcome_and_marks(writer, status, told):
    """A trunk has none, and a table without a finished run has no such column."""
    writer.run("f", FINISHED).write_status(Status(FINISHED, ["t", "f"], **status))
    writer.trunk("t", FINISHED)
    writer.run("r", RUNNING)
    writer.sweep("s", asked("f"))
    entries = by_id(writer.store)
    assert [entries[id_].outcome for id_ in "ftr"] == [told, None, None]
    header, _, row, *_ = render([entries["f"], entries["r"]]).splitlines()
    assert row[header.index("outcome") :].strip() == told
    assert "outcome" not in render([entries["r"]])
