"""A real bisection through the command as typed: forked, killed, resumed, and held against a scan."""

import json
import os
import random
import signal

import pytest

from bitnet_sweep.store import Store
from bitnet_sweep.store.asked_runs import asked_runs
from tests.sweep.command import run, start, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """A text in which each letter follows from the one before: learned in 100 steps unless decay forbids.

    The first stage is too short to learn anything, so a run without decay recovers and one with much
    decay is stuck.
    """
    rng = random.Random(1)
    letters = "abcdefghijklmnop" * 9
    lines = [letters[(start := rng.randrange(16)) : start + rng.randint(40, 120)] for _ in range(1200)]
    path = tmp_path_factory.mktemp("letters") / "letters.txt"
    path.write_text("\n\n".join(lines))
    return [
        "model=full",
        "model.activations=full",
        "model.hidden=16",
        "model.num_layers=1",
        "model.num_heads=2",
        "batch_size=8",
        "sequence_length=8",
        "steps=120",
        "boundary=0.1",
        "lr_boundary=0.1",
        "schedule.lr_bend_from=1",
        "schedule.lr_bend_to=1",
        "lr=3e-2",
        "wd1=3.0",
        "probe_every_steps=12",
        "tokenizer.vocab_size=257",
        "data=text",
        f"data.path={path}",
        "track=none",
        "store=store",
    ]


def sweep(folder, *words):
    """What a sweep that ends well prints."""
    status, out, err = run(folder, "-m", *words)
    assert status == 0, err
    return out


def finished(store):
    statuses = {path.name: store.run(path.name).status() for path in (store.root / "runs").glob("*")}
    return {run_id: status for run_id, status in statuses.items() if status and status.state == "finished"}


@pytest.mark.system
def test_bisection_is_killed_resumed_and_right(arguments, tmp_path):
    search = [*arguments, "sweep.bisect=wd2:0.0..1.0", "sweep.tolerance=0.25", "sweep.name=search"]
    store = Store(tmp_path / "store")
    process = start(tmp_path, "-m", *search)
    wait_for(lambda: len(finished(store)) >= 3 or process.poll() is not None)  # both ends, a probe between
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {run_id: status.updated for run_id, status in finished(store).items()}
    out = sweep(tmp_path, *search)
    assert before.items() <= {run_id: status.updated for run_id, status in finished(store).items()}.items()
    assert [line.split()[-1] for line in out.splitlines() if "the only one" in line] == ["4"]

    document = json.loads((tmp_path / "store" / "bisections" / "search.json").read_text())
    (cell,) = document["cells"]
    assert cell["verdict"] == "found"
    assert cell["probes"][0]["outcome"] == "recovered"
    assert cell["probes"][-1]["outcome"] == "stuck"
    assert {probe["run_id"] for probe in cell["probes"]} == set(finished(store))
    assert set(asked_runs(store, "search")) == set(finished(store))
    assert len(list((tmp_path / "store" / "stages").iterdir())) == 1, "one trunk for all probes"

    assert "0 to train in 0 jobs" in sweep(tmp_path, *search)
    scan = [0.0, 0.25, 0.5, 0.75, 1.0]
    out = sweep(tmp_path, *arguments, f"wd2={','.join(map(str, scan))}", "sweep.name=scan")
    assert "108 to train in 1 job" in out, "the probes are runs like any other: only one value is new"
    run_ids = asked_runs(store, "scan")
    recovered = [finished(store)[run_id].outcome == "recovered" for run_id in run_ids]
    assert recovered == sorted(recovered, reverse=True), "one threshold, or the twin has nothing to say"
    assert cell["interval"] == [scan[recovered.count(True) - 1], scan[recovered.count(True)]]


def test_grid_expressions(arguments, tmp_path):
    """Zipped values, replicates and exclusions through the real command; nothing is trained."""
    words = [*arguments, "lr=1e-2,3e-2", "wd2=0.0,0.05", "seed=0,1,2", "sweep.dry_run=true"]
    assert "12 runs sharing 6 trunks" in sweep(tmp_path, *words)
    assert "6 runs" in sweep(tmp_path, *words, "sweep.zip=[lr,wd2]")
    out = sweep(tmp_path, *words, "sweep.exclude=[{lr:1e-2,seed:2},{wd2:0.05,seed:1}]")
    assert out.startswith("8 runs"), out
    assert "4 points excluded" in out.splitlines()[0]
    out = sweep(tmp_path, *arguments, "seed=0,1", "sweep.bisect=wd2:0..1", "sweep.dry_run=true")
    assert out.startswith("4 runs sharing 2 trunks"), out
    assert "disk: " in out


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (["sweep.exclude=[{model.hiden:3}]"], "sweep.exclude"),
        (["sweep.zip=[lr,seed]", "lr=1e-2,3e-2", "seed=0,1,2"], "sweep.zip"),
        (["sweep.bisect=wd2"], "sweep.bisect"),
        (["sweep.bisect=wd2:0..1", "sweep.until=fine"], "sweep.until"),
        (["sweep.bisect=wd2:0..1", "sweep.tolerance=0"], "sweep.tolerance"),
        (["sweep.bisect=wd2:0..1", "wd2=0.5"], "sweep.bisect"),
        (["sweep.bisect=wd2:-1..1"], "wd2"),
        (["sweep.bisect=track.timeout_seconds:1..2"], "sweep.bisect"),
        (["sweep.dry_run=true,false"], "sweep.dry_run"),
        (["experiment=003_precison"], "experiment"),
        (["hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs"),
        (["hydra.launcher.n_jobs=two"], "hydra.launcher.n_jobs"),
        (["hydra.launcher.njobs=2"], "hydra.launcher.njobs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
@pytest.mark.few(5)
def test_wrong_grid_expressions_start_nothing(arguments, tmp_path, wrong, key):
    status, _, err = run(tmp_path, "-m", *arguments, *wrong)
    assert status == 2, err
    assert err.strip().splitlines()[-1].startswith(f"bitnet_sweep: {key}="), err
    assert not (tmp_path / "store" / "runs").exists()


@pytest.mark.parametrize(
    ("grid", "key"),
    [
        ("sweep.bisect=wd2:0..1", "sweep.bisect=wd2:0..1"),
        ("experiment=001_small_stage2", "hydra.sweeper.params=model.hidden,wd2,optimizer,seed"),
        ("sweep.max_retries=1", "sweep.max_retries=1"),
    ],
)
def test_a_grid_needs_a_sweep(arguments, tmp_path, grid, key):
    status, _, err = run(tmp_path, *arguments, grid)
    assert status == 2
    assert "Error executing job" not in err
    assert err.strip().splitlines()[-1].startswith(f"bitnet_sweep: {key}: needs -m")
