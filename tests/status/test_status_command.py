"""The ledger beside real sweeps, in processes of their own, and what it costs on many runs."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from bitnet_sweep.status import Ledger
from bitnet_sweep.status.__main__ import main
from bitnet_sweep.store import FINISHED, Store
from tests.status.conftest import StoreWriter, asked
from tests.sweep.command import PATIENCE_SECONDS, start, wait_for
from tests.work import grew_faster, work

pytestmark = pytest.mark.slow

GRID = ["-m", "model.hidden=16,32", "wd2=0.0,0.05", "hydra.launcher.n_jobs=2"]
TINY = [
    "model.num_layers=2",
    "model.num_heads=2",
    "sequence_length=8",
    "batch_size=2",
    "probe_every_steps=20",
]
TINY += ["tokenizer.vocab_size=300", "data=text", "track=none", "steps=600", "sweep.name=s"]
STATUS = [sys.executable, "-m", "bitnet_sweep.status"]


def sweep(folder, corpus_file, *arguments):
    return start(folder, *GRID, *TINY, f"data.path={corpus_file}", *arguments, stderr=subprocess.STDOUT)


@pytest.mark.system
def test_a_sweep_watched_from_its_first_step_to_its_last(corpus_file, tmp_path):
    """Asked again and again while it runs: states only go forward, steps never back, nobody dies."""
    store = Store(tmp_path / "runs")
    process = sweep(tmp_path, corpus_file)
    wait_for((store.root / "sweeps" / "s.json").exists)
    watch = subprocess.Popen(
        [*STATUS, "runs", "--sweep", "s", "--watch"], cwd=tmp_path, stdout=subprocess.PIPE
    )
    reader = Ledger(store, "s")
    forward = ["waiting", "running", "finished"]
    reached: dict[str, tuple[int, int]] = {}
    seen, paces = set(), set()
    while process.poll() is None:
        for entry in reader.entries():
            assert entry.state in forward, entry
            here = (forward.index(entry.state), entry.step)
            assert here >= reached.get(entry.id, here), entry
            reached[entry.id] = here
            seen.add((entry.is_run, entry.state))
            if entry.state == "running" and entry.seconds_left is not None:
                paces.add(entry.id)
                assert 0 <= entry.step <= (entry.steps or 0)
        time.sleep(0.02)
    assert process.communicate()[0].count("finished") == 4
    assert {(True, "waiting"), (True, "running"), (True, "finished"), (False, "running")} <= seen
    assert len(paces) == 6
    out, _ = watch.communicate(timeout=PATIENCE_SECONDS)  # it ends by itself
    tables = out.decode().strip().split("\n\n")
    assert len(tables) >= 2, "redrawn while it ran"
    assert "4 runs: 4 finished; 2 trunks: 2 finished" in tables[-1]
    rows = [line.split() for line in tables[-1].splitlines()[2:-1]]
    assert [row[0] for row in rows] == ["trunk", "run", "run"] * 2
    assert {tuple(row[1:3]) for row in rows if row[0] == "trunk"} == {
        ("h16", "lr=1.5e-3"),
        ("h32", "lr=1.5e-3"),
    }
    assert all("600/600" in row for row in rows if row[0] == "run")
    assert all("300/300" in row and "1/1" in row for row in rows if row[0] == "trunk")


def test_a_killed_sweep_is_shown_dead_at_once_and_cleaned(corpus_file, tmp_path):
    store = Store(tmp_path / "runs")
    process = sweep(tmp_path, corpus_file, "steps=5000")
    wait_for(lambda: any(e.state == "running" and e.step > 1 for e in Ledger(store).entries()))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: {e.state for e in Ledger(store).entries()} == {"died", "waiting"})
    cleaned = subprocess.run(
        [*STATUS, "runs", "--clean", "--yes"], cwd=tmp_path, capture_output=True, text=True
    )
    assert cleaned.returncode == 0, cleaned.stderr
    assert not list(store.root.rglob("*/*/.*.tmp"))


@pytest.mark.system
def test_keep_stages_false_frees_trunks_and_changes_nothing_else(corpus_file, tmp_path):
    store = Store(tmp_path / "runs")
    for _ in range(2):
        out, _ = sweep(tmp_path, corpus_file, "steps=40", "sweep.keep_stages=false").communicate(
            timeout=PATIENCE_SECONDS
        )
        assert out.count("finished") == 4
        assert not list(store.root.glob("stages/*/boundary*"))
        assert [folder.records()[-1]["step"] for folder in store.stages()] == [20, 20]
    assert "0 to train in 0 jobs" in out
    assert len(list(store.root.glob("runs/*/final.safetensors"))) == 4


@pytest.mark.system
def test_the_plan_foretells_disk_and_time(corpus_file, tmp_path):
    """Nothing is known at first; after the sweep a grid of other seeds is foretold from its paces."""
    first, _ = sweep(tmp_path, corpus_file, "steps=200", "sweep.dry_run=true").communicate(
        timeout=PATIENCE_SECONDS
    )
    assert "no estimate yet" in first
    sweep(tmp_path, corpus_file, "steps=200").communicate(timeout=PATIENCE_SECONDS)
    trained = [
        json.loads(path.read_text())["train_seconds"] for path in tmp_path.glob("runs/*/*/status.json")
    ]
    again, _ = sweep(tmp_path, corpus_file, "steps=200", "seed=1", "sweep.dry_run=true").communicate(
        timeout=PATIENCE_SECONDS
    )
    found = re.search(
        r"about (\d+):(\d+) of training, longest chain \d+:\d+, (\d+):(\d+) with 2 at once", again
    )
    assert found, again
    work, wall = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    assert wall <= work <= 2 * wall + 2
    assert work < 10 * sum(trained), "of that kind, whatever else the machine did"


def test_a_watched_screen_is_redrawn_in_place(writer, tmp_path):
    """On a terminal of 8 lines: 3 rows, no scrolling, and Ctrl-C leaves well."""
    for i in range(5):
        writer.run(f"r{i}", FINISHED)
    writer.sweep("s", asked("waits"))
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "LINES": "8"}
    process = subprocess.Popen([*STATUS, str(tmp_path), "--watch"], stdout=slave, env=environment)
    os.close(slave)
    drawn = b""
    while drawn.count(b"\x1b[J") < 2:
        drawn += os.read(master, 65536)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE_SECONDS) == 0
    os.close(master)
    assert drawn.startswith(b"\x1b[2J\x1b[H")
    screen = drawn.split(b"\x1b[J")[0].split(b"\x1b[H")[1].decode()
    lines = [line.removesuffix("\x1b[K") for line in screen.splitlines()]
    assert len(lines) == 7, "and the cursor's own"
    assert max(map(len, lines)) == 60
    assert lines[2].split()[:3] == ["run", "waits", "waiting"]
    assert lines[-2:] == ["... and 3 more", "6 runs: 1 waiting, 5 finished"]


def many_runs(writer, count):
    """Real-sized records, each run's own files."""
    records = [{"step": step, "val/loss": 5.0, "perf/tokens_per_s": 80.0} for step in range(10, 101, 10)]
    padded = [record | {f"ternary/absmean/{i}": 0.123456789 for i in range(60)} for record in records]
    runs = [asked(f"{i:016x}", f"trunk{i // 2}", f"h256 wd2={i} lr=1.5e-3 s0") for i in range(count)]
    for run in runs:
        writer.run(run.run_id, FINISHED, *padded)
    writer.sweep("big", *runs)
    return writer.store


@pytest.mark.system
def test_the_cost_of_a_finished_run_does_not_grow(tmp_path, capsys):
    """The whole command, the table included; bench.large times it on 10,000 runs."""
    few, many = (many_runs(StoreWriter(Store(tmp_path / str(count))), count) for count in (50, 500))
    less, more = work(lambda: main([str(few.root)])), work(lambda: main([str(many.root)]))
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "500 runs: 500 finished"
    assert out.count("100/100") == 550
    assert less["open"] > 50
    assert grew_faster(less, more, 10) == {}
