"""The command as typed, in processes of its own: sweeps, bad input, kills and Ctrl-C."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from bitnet_sweep.store import Store
from tests.sweep.command import (
    GRID,
    LONG,
    PATIENCE_SECONDS,
    TINY,
    assert_gone,
    is_training,
    run,
    science,
    start,
    states,
    wait_for,
    workers_of,
)

pytestmark = pytest.mark.slow


def assert_trunks_came_first(store):
    """Each trunk was finished by a job of its own before one of its runs had begun."""
    for folder in Store(store).runs():
        status = folder.status()
        assert status is not None
        trunk = Store(store).stage(status.stage_ids[0])
        finished, begun = (path.stat().st_mtime_ns for path in (trunk.status_path, folder.config_path))
        assert finished <= begun


def test_sweep_leaves_what_it_should(calm):
    folder, out = calm
    store = folder / "runs"
    assert sorted(path.name for path in folder.iterdir()) == ["runs"], "nothing beside the store"
    (sweep,) = (store / "sweeps").iterdir()
    document = json.loads(sweep.read_text())
    assert set(document["run_ids"]) == {path.name for path in (store / "runs").iterdir()}
    assert document["command"].startswith("python -m bitnet_sweep -m model.hidden=16,32 wd2=0.0,0.05")
    assert states(store) == ["finished"] * 4
    assert len(list((store / "stages").iterdir())) == 2
    assert_trunks_came_first(store)
    assert not list(store.rglob("latest*"))
    assert "4 runs sharing 2 trunks: 120 steps instead of 160" in out
    assert "bitnet-sweep report runs --sweep " in out


def test_same_command_again_does_nothing(calm, arguments):
    folder, _ = calm
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs" / "runs").rglob("*")}
    status, out, _ = run(folder, *GRID, *arguments)
    assert status == 0
    assert "120 done, 0 to train in 0 jobs" in out
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "runs" / "runs").rglob("*")}


@pytest.mark.parametrize(
    "options",
    [
        ["hydra/launcher=basic"],
        ["sweep.share_stages=false"],
        ["hydra.launcher.n_jobs=4", "sweep.max_retries=1"],
    ],
    ids=["basic", "alone", "four at once"],
)
@pytest.mark.few(1)
def test_however_launched_the_result_is_the_same(calm, arguments, tmp_path, options):
    status, _, err = run(tmp_path, *GRID, *arguments, *options)
    assert status == 0, err
    assert science(tmp_path / "runs") == science(calm[0] / "runs")
    if "sweep.share_stages=false" not in options:
        assert_trunks_came_first(tmp_path / "runs")


def test_one_run_without_m(calm, arguments, tmp_path):
    status, out, err = run(tmp_path, "model.hidden=16", "wd2=0.05", *arguments)
    assert status == 0, err
    assert "finished" in out
    (run_id,) = (path.name for path in (tmp_path / "runs" / "runs").iterdir())
    assert science(tmp_path / "runs")[run_id] == science(calm[0] / "runs")[run_id]
    assert "40/40" in err, "the progress bar"
    status, out, err = run(tmp_path, "model.hidden=16", "wd2=0.05", *arguments)
    assert (status, "finished" in out, "/40" in err) == (0, True, False), "nothing is left to do"


@pytest.mark.parametrize(
    ("command", "told", "trunks"),
    [(GRID, "120 to train in 6 jobs", 2), (["model.hidden=16"], "40 to train in 1 job", 0)],
    ids=["sweep", "one run"],
)
def test_dry_run_trains_nothing(arguments, tmp_path, command, told, trunks):
    status, out, err = run(tmp_path, *command, *arguments, "sweep.dry_run=true")
    assert status == 0, err
    assert told in out
    assert "disk: " in out
    assert "  h16 wd2=0 lr=1.5e-3 s0" in out, "by its name, which status and report have, too"
    assert out.count("trunk ") == trunks
    assert "  1: steps 1 to 20, decay 0.1, learning rate 0 at 0, " in out
    assert not (tmp_path / "runs" / "runs").exists()
    assert not (tmp_path / "runs" / "sweeps").exists()


_STAGE = "{{steps:20,weight_decay:{},lr:[{{step:0,lr:0.001}},{{step:20,lr:0.001}}]}}"
STAGES = f"[{_STAGE.format('${wd1}')},{_STAGE.format('${wd2}')}]"


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (["model.hidden=16,abc"], "model.hidden"),
        (["wd2=0.0,-1"], "wd2"),
        (["lr=0.001,0.002", f"stages={STAGES}"], "lr"),
        (["+model.hiden=3"], "model.hiden"),
        (["optimizer=adamw,adagrad"], "optimizer"),
        (["data.path=/nowhere/*.txt"], "data.path"),
        (["data.path=empty.txt"], "data.path"),
        (["data.path=short.txt"], "data.path"),
        (["data.path=latin.txt"], "data.path"),
        (["tokenizer.vocab_size=300,60000"], "tokenizer.vocab_size"),
        (["store=short.txt"], "store"),
        (["store=newer"], "store"),
        (["device=cuda"], "device"),
        (["data=wikitext2", "data.path=null"], "data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
@pytest.mark.few(5)
def test_bad_input_stops_the_whole_grid(arguments, tmp_path, wrong, key):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1") * 100_000)
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "store.json").write_text('{"schema": 99}')
    status, _, err = run(tmp_path, "-m", "wd2=0.0,0.05", *arguments, *wrong)
    assert status == 2, err
    assert err.strip().splitlines()[-1].startswith(f"bitnet_sweep: {key}="), err
    assert not list(tmp_path.glob("*/runs")), "nothing started"


@pytest.mark.system
def test_killed_sweep_leaves_no_worker_and_goes_on(calm_long, arguments, tmp_path):
    store = tmp_path / "runs"
    process = start(tmp_path, *GRID, *arguments, *LONG)
    wait_for(lambda: is_training(store))
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert_gone(workers)
    assert run(tmp_path, *GRID, *arguments, *LONG)[0] == 0
    assert science(store) == calm_long


@pytest.mark.system
def test_killed_worker_takes_no_other_with_it(calm_long, arguments, tmp_path):
    store = tmp_path / "runs"
    process = start(tmp_path, *GRID, *arguments, *LONG)
    wait_for(lambda: is_training(store))
    for path in store.glob("*/*/lease.json"):
        os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
        break
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, err
    assert "ended without a word" in out or "not started" in out
    assert states(store).count("finished") >= 2
    assert run(tmp_path, *GRID, *arguments, *LONG)[0] == 0
    assert science(store) == calm_long


@pytest.mark.system
def test_failed_trunk_is_tried_again(calm_long, arguments, tmp_path):
    store = tmp_path / "runs"
    process = start(tmp_path, *GRID, *arguments, *LONG, "sweep.max_retries=1")
    wait_for(lambda: is_training(store))
    for path in store.glob("*/*/lease.json"):
        os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert science(store) == calm_long


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("grid", [["-m", "seed=0,1"], ["seed=1"]], ids=["sweep", "one run"])
def test_asked_to_stop_before_anything_is_trained(tmp_path, grid, number):
    """The text comes from a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "text.txt")
    process = start(tmp_path, *grid, *TINY, "data.path=text.txt", "store=runs")
    wait_for(lambda: (tmp_path / "runs" / "store.json").exists())
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    assert "interrupted" in err.strip().splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("many", [True, False], ids=["sweep", "one run"])
@pytest.mark.few(1)
def test_ctrl_c_checkpoints_and_goes_on(calm_long, arguments, tmp_path, many):
    grid = GRID if many else ["model.hidden=16", "wd2=0.05"]
    store = tmp_path / "runs"
    process = start(tmp_path, *grid, *arguments, *LONG)
    wait_for(lambda: is_training(store))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    assert "interrupted" in err.strip().splitlines()[-1]
    assert run(tmp_path, *grid, *arguments, *LONG)[0] == 0
    for run_id, result in science(store).items():
        assert result == calm_long[run_id]


@pytest.mark.system
def test_two_sweeps_on_one_store(calm_long, arguments, tmp_path):
    """Each stage is trained once, whoever comes first."""
    store = tmp_path / "runs"
    both = [start(tmp_path, *GRID, *arguments, *LONG) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, err
    assert science(store) == calm_long
    attempts = [json.loads(path.read_text())["attempts"] for path in store.glob("*/*/status.json")]
    assert attempts == [1] * 6


def test_help_imports_nothing_heavy_and_reads_well(tmp_path):
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    status, out, imported = run(tmp_path, "--help", env=environment, fresh=True)
    assert status == 0
    assert "python -m bitnet_sweep -m model.hidden=256,512 wd2=0.0,0.05" in out
    assert "optimizer: adam_l2, adamw" in out
    assert "| hydra\n" in imported
    for heavy in ("torch", "datasets", "wandb", "pandas"):
        assert f"| {heavy}\n" not in imported, f"--help imports {heavy}"


@pytest.mark.parametrize("many", [True, False], ids=["sweep", "one run"])
def test_nobody_reading_stops_no_training(arguments, tmp_path, many):
    """As in ``2>&1 | head``: what counts is in the store, and the exit status tells of the runs."""
    process = start(tmp_path, *(["-m", "wd2=0.0,0.05"] if many else []), "model.hidden=16", *arguments)
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=PATIENCE_SECONDS) == 0
    assert states(tmp_path / "runs") == ["finished"] * (2 if many else 1)


@pytest.mark.system
def test_nobody_reading_does_not_hide_that_a_run_failed(arguments, tmp_path):
    store = tmp_path / "runs"
    process = start(tmp_path, *GRID, *arguments, *LONG)
    process.stdout.close()
    process.stderr.close()
    wait_for(lambda: is_training(store))
    for path in store.glob("*/*/lease.json"):
        os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
        break
    assert process.wait(timeout=PATIENCE_SECONDS) == 1


def test_store_path_with_an_equals_sign(arguments, tmp_path):
    status, _, err = run(tmp_path, "-m", "wd2=0.0", "model.hidden=16", *arguments, "store='a=b c'")
    assert status == 0, err
    assert states(Path(tmp_path / "a=b c")) == ["finished"]
