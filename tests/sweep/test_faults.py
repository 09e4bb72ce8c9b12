"""Sweeps that are killed, starved, cut off and raced, as typed: nothing is lost, nothing trained twice."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.sweep.command import (
    GRID,
    LONG,
    PATIENCE_SECONDS,
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

KILLS = 10
WATCHED = Path(__file__).with_name("watched")


@pytest.fixture
def publications(tmp_path):
    """An environment in which every trunk and run that is published is noted, and what it noted."""
    log = tmp_path / "publications.log"
    path = os.pathsep.join([str(WATCHED), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "PUBLICATIONS_LOG": str(log)}
    return environment, lambda: Counter(log.read_text().splitlines())


def record_lines(store):
    return sum(path.read_bytes().count(b"\n") for path in store.glob("*/*/records.jsonl"))


def half_written(store):
    """Files of runs and trunks that no finished sweep leaves behind."""
    return [str(p) for p in store.glob("*/*/*") if p.name.endswith(".tmp") or p.name.startswith("latest")]


@pytest.mark.system
@pytest.mark.timeout(900)
def test_killed_at_random_moments(calm_long, arguments, tmp_path, publications):
    """SIGKILL to the whole process group, at start-up or up to four records later; then once more."""
    rng = random.Random(25)
    environment, published = publications
    store = tmp_path / "runs"
    for _ in range(KILLS):
        process = start(tmp_path, *GRID, *arguments, *LONG, env=environment, fresh=True)
        if rng.random() < 0.2:
            time.sleep(3 * rng.random())
        else:
            target = record_lines(store) + rng.randint(1, 4)
            wait_for(lambda process=process, target=target: process.poll() or record_lines(store) >= target)
            time.sleep(0.03 * rng.random())
        assert process.poll() is None, "the sweep ended before it could be killed"
        workers = workers_of(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if workers:
            assert_gone(workers)
    status, _, err = run(tmp_path, *GRID, *arguments, *LONG, env=environment, fresh=True)
    assert status == 0, err
    assert science(store) == calm_long
    assert half_written(store) == []
    assert sorted(published().values()) == [1] * 6, "two trunks and four runs, each trained once to its end"


@pytest.mark.system
def test_ctrl_c_twice_ends_at_once(calm_long, arguments, tmp_path):
    store = tmp_path / "runs"
    process = start(tmp_path, *GRID, *arguments, *LONG)
    wait_for(lambda: is_training(store))
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.1)  # two at the same instant would arrive as one
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert_gone(workers)
    assert run(tmp_path, *GRID, *arguments, *LONG)[0] == 0
    assert science(store) == calm_long
    assert half_written(store) == []


@pytest.mark.system
def test_sweeps_with_different_grids_share_trunks(arguments, tmp_path, publications):
    """Three commands at once on one trunk, two of them with an arm in common: each is trained once."""
    environment, published = publications
    grids = [["wd2=0.0,0.05"], ["wd2=0.05,0.1"], ["wd2=0.2"]]
    common = ["-m", "model.hidden=16", *arguments, *LONG]
    for process in [start(tmp_path, *common, *grid, env=environment, fresh=True) for grid in grids]:
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, err
    assert states(tmp_path / "runs") == ["finished"] * 4
    assert sorted(published().values()) == [1] * 5, "one trunk and four runs"


def address_space(extra_bytes):
    """Limits a child to what a worker has mapped before it trains, and so much more.

    What is freed stays mapped, and each thread's arena maps 64 MB. So the child should have one arena: the
    limit then means the same on any number of cores, and what was freed is used again.
    """
    code = "import bitnet_sweep.sweep.job; print(open('/proc/self/status').read())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    (peak,) = (int(line.split()[1]) for line in said.splitlines() if line.startswith("VmPeak"))
    limit = 1024 * peak + extra_bytes
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@pytest.mark.system
@pytest.mark.parametrize("launcher", ["local", "basic"])
def test_out_of_memory_stops_one_run(arguments, tmp_path, launcher):
    """The first one's weights take more than there is; the next needs 0.4 GB, and has its place again."""
    options = ["-m", "model.hidden=4096,1024,16", *arguments, "steps=2", "probe_every_steps=2"]
    options += [f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=1"] * (launcher == "local"))]
    assert run(tmp_path, *options, "sweep.dry_run=true")[0] == 0, "token files, built without a limit"
    limited = address_space(900_000_000)
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
    status, out, err = run(tmp_path, *options, preexec_fn=limited, fresh=True, env=environment)
    assert status == 1, err
    assert "1 of 3 runs are not finished" in err.strip().splitlines()[-1]
    assert states(tmp_path / "runs") == ["failed", "finished", "finished"]
    (failed,) = (line for line in out.splitlines() if " failed " in line)
    assert failed.startswith("h4096 ")
    told = "OutOfMemoryError: out of memory on cpu: lower model.hidden=4096 or batch_size=2"
    assert told in failed, "the table says why"
    assert sum(told in line for line in err.splitlines()) == 1, "and so does the job, in one line"
    assert "Traceback" not in err


@pytest.mark.system
@pytest.mark.parametrize("launcher", ["local", "basic"])
def test_files_that_cannot_be_written_stop_one_size(calm, arguments, tmp_path, launcher):
    """A limit on the size of files, as a full disk would: 16 wide has its checkpoints, 32 wide has not."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (350_000, 350_000))

    store = tmp_path / "runs"
    status, out, err = run(
        tmp_path, *GRID, *arguments, f"hydra/launcher={launcher}", preexec_fn=limited, fresh=True
    )
    assert status == 1, err
    assert "File too large" in out + err
    assert states(store).count("finished") == 2
    assert half_written(store) == []
    status, _, err = run(tmp_path, *GRID, *arguments)
    assert status == 0, err
    assert science(store) == science(calm[0] / "runs")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"only root may mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk):
    """Leave not one byte."""
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.system
def test_full_disk(calm_long, arguments, small_disk):
    """Full while it trains: a clear error, no half-written file; with room again it goes on."""
    store = small_disk / "runs"
    process = start(small_disk, *GRID, *arguments, *LONG)
    wait_for(lambda: is_training(store))
    fill(small_disk)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1, err
    assert "No space left on device" in out + err
    assert " failed " in out or " not started " in out
    assert not list(store.rglob("*.tmp"))
    fill(small_disk)  # what had been half written is free again
    status, _, err = run(small_disk, *GRID, *arguments, *LONG)
    assert (status, "No space left on device" in err) == (2, True), "still full: nothing starts"
    (small_disk / "ballast").unlink()
    status, _, err = run(small_disk, *GRID, *arguments, *LONG)
    assert status == 0, err
    assert science(store) == calm_long


@pytest.fixture(scope="module")
def killed_store(tmp_path_factory, arguments):
    """A store with a published trunk, one that is on its way, and arms that have begun."""
    folder = tmp_path_factory.mktemp("killed")
    store = folder / "runs"
    process = start(folder, *GRID, *arguments, *LONG)
    wait_for(lambda: list(store.glob("stages/*/boundary.json")) and list(store.glob("runs/*/latest.json")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return store


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.system
@pytest.mark.parametrize("damage", [flip, cut], ids=["flipped", "cut"])
@pytest.mark.parametrize(
    "patterns",
    [
        ["*/*/latest-*", "tokens/*.train.bin"],
        ["stages/*/boundary-*", "tokens/*.tokenizer.json"],
        ["*/*/status.json"],
    ],
    ids=" ".join,
)
@pytest.mark.few(4)
def test_damage_between_runs_is_found_and_mended(
    killed_store, calm_long, arguments, tmp_path, patterns, damage
):
    """Two kinds of files at a time, of which neither hides the other."""
    store = tmp_path / "runs"
    shutil.copytree(killed_store, store)
    for pattern in patterns:
        struck = list(store.glob(pattern))
        assert struck
        for path in struck:
            damage(path)
    status, _, err = run(tmp_path, *GRID, *arguments, *LONG)
    assert status == 0, err
    assert science(store) == calm_long
    assert half_written(store) == []


@pytest.mark.system
def test_lost_records_are_trained_again(killed_store, calm_long, arguments, tmp_path):
    """A machine that loses power may have the checkpoint and not the records before it."""
    store = tmp_path / "runs"
    shutil.copytree(killed_store, store)
    for path in store.glob("*/*/records.jsonl"):
        cut(path)
    status, _, err = run(tmp_path, *GRID, *arguments, *LONG)
    assert status == 0, err
    assert science(store) == calm_long
