"""What a plan says it will cost, by hand and against what a real run leaves behind."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bitnet_sweep.config import ModelConfig, RunConfig, SweepConfig, TokenizerConfig, Weights, plain
from bitnet_sweep.counts import predicted_counts
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import FINISHED, Status, Store
from bitnet_sweep.sweep.forecast import (
    Disk,
    Time,
    disk_needed,
    forecast_lines,
    job_seconds,
    measured_paces,
    time_needed,
)
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.sweep.node import node_of
from bitnet_sweep.sweep.plan import PlannedJob, PlannedRun, make_plan
from bitnet_sweep.sweep.register import register
from bitnet_sweep.sweep.results import tidy

# Embeddings and head 300 x 16 each; 2 blocks of attention (4 matrices of 16 x 16), feed-forward (3 of
# 16 x 32) and 5 x 16 + 32 gains; 16 gains at the end.
MODEL = ModelConfig(hidden=16, num_layers=2, num_heads=2)
TERNARY = 2 * (4 * 16 * 16 + 3 * 16 * 32)
TOTAL = 2 * 300 * 16 + TERNARY + 2 * (5 * 16 + 32) + 16


def planned(**fields):
    base = {"steps": 100, "model": MODEL, "tokenizer": TokenizerConfig(vocab_size=300)}
    config = resolve(RunConfig(**{**base, **fields}))
    return PlannedRun((), config, tuple(stage_ids(config, "corpus")))


def finish(folder, config, **record):
    """60 steps of 128 tokens at 1,280 tokens/s: 0.1 s a step; a probe takes 0.5 s."""
    folder.write_status(Status(FINISHED, []))
    folder.write_config(plain(config))
    perf = {"perf/tokens_per_s": 1280.0, "perf/probe_ms": 500.0}
    folder.rewrite([{"step": 60, "tokens_seen": 60 * 128} | perf | record], [])


def disk_of(plan, store, jobs_at_once):
    disk = disk_needed(plan, store, jobs_at_once)
    assert disk is not None
    return disk


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_disk_of_two_arms(store):
    """One trunk: weights, two moments, a byte a code. Each job's checkpoint may hold three sets of codes."""
    plan = make_plan([planned(wd2=0.0), planned(wd2=0.05)], store)
    trunk, final, resumed = 12 * TOTAL + TERNARY, 4 * TOTAL, 2 * (12 * TOTAL + 3 * TERNARY)
    assert disk_of(plan, store, 1) == Disk(trunk, 2 * final, resumed)
    assert disk_of(plan, store, 2) == Disk(trunk, 2 * final, 2 * resumed)
    assert disk_of(plan, store, 99) == Disk(trunk, 2 * final, 3 * resumed)


@pytest.mark.parametrize(
    ("fields", "trunks", "finals"),
    [
        ({"model": ModelConfig(16, 2, 2, weights=Weights.full)}, 12 * TOTAL, 4 * TOTAL),
        ({"sweep": SweepConfig(share_stages=False)}, 0, 4 * TOTAL),
        ({"sweep": SweepConfig(keep_final=False)}, 12 * TOTAL + TERNARY, 0),
        ({"boundary": 0.7}, 2 * (12 * TOTAL + TERNARY), 4 * TOTAL),
    ],
    ids=["full weights", "alone", "no final weights", "three stages"],
)
def test_disk_of_one_run(store, fields, trunks, finals):
    disk = disk_of(make_plan([planned(**fields)], store), store, 1)
    assert (disk.trunks, disk.finals) == (trunks, finals)


def test_a_trunk_that_is_there_needs_no_disk(store):
    run = planned()
    (job,) = make_plan([run], store).todo
    trunk = store.stage(run.stage_ids[0])
    trunk.write_status(Status(FINISHED, []))
    (trunk.path / "boundary.json").write_text("{}")
    assert disk_of(make_plan([run], store), store, 1).trunks == 0
    assert job.steps == 100


@pytest.mark.slow
def test_disk_and_time_against_a_real_run(tiny):
    """The tensors on disk have the predicted bytes, names and shapes apart; the pace is the records' own."""
    config = tiny(seed=3)
    store = Store(Path(config.store))
    run = PlannedRun((), config, tuple(stage_ids(config, fingerprint(config))))
    plan = make_plan([run], store)
    disk = disk_of(plan, store, 1)
    Job(config, "group", [], Hooks()).complete()
    (trunk,) = store.stage(run.stage_ids[0]).path.glob("*.safetensors")
    final = store.run(run.run_id).final_path
    for path, predicted in ((trunk, disk.trunks), (final, disk.finals)):
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        assert path.stat().st_size - header == predicted
    record = store.run(run.run_id).last_record()
    assert record is not None
    (pace, _) = measured_paces(store)
    assert 1e3 * pace.step_seconds == pytest.approx(record["perf/step_ms"])
    assert 1e3 * pace.probe_seconds == record["perf/probe_ms"]
    assert forecast_lines(make_plan([run], store), store, 1) == [], "nothing left"


def test_pace_of_the_same_kind_of_run(store):
    """The median of 0.1, 0.2 and 0.4 s a step, and a probe of 0.5 s every 5 steps; other seeds count."""
    for i, rate in enumerate((1280.0, 640.0, 320.0)):
        finish(store.run(f"r{i}"), planned(seed=i).config, **{"perf/tokens_per_s": rate})
    finish(store.stage("other"), planned(model=ModelConfig(32, 2, 2)).config, **{"perf/tokens_per_s": 1.0})
    finish(store.stage("warms up"), planned().config, step=1, tokens_seen=128, **{"perf/tokens_per_s": 1.0})
    store.run("empty").path.mkdir()
    finish(store.run("foreign"), planned().config)
    (store.run("foreign").path / "config.yaml").write_text("model: 3")
    (job,) = make_plan([planned(seed=9, probe_every_steps=5)], store).todo
    paces = measured_paces(store)
    assert len(paces) == 4
    assert job_seconds(job, paces) == pytest.approx(100 * (0.2 + 0.5 / 5))


@pytest.mark.parametrize(
    "named",
    [{"task": "mine", "plugins": ["planted"]}, {"model": replace(MODEL, quantiser="planted")}],
    ids=["task", "quantiser"],
)
def test_nothing_that_a_store_names_is_imported(store, tmp_path, monkeypatch, named):
    """Neither a module nor an installed package: a store may come from anywhere."""
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    installed = tmp_path / "planted-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[bitnet_sweep.parts]\nplanted = planted\n")
    monkeypatch.syspath_prepend(tmp_path)
    finish(store.run("ab"), resolve(RunConfig(**named)))
    assert measured_paces(store) == []
    assert "planted" not in sys.modules


def test_pace_of_another_kind_is_scaled(store):
    """By the planner's cost model: parameters times (1 + tokens/64)."""
    finish(store.run("r"), planned().config)
    big = ModelConfig(hidden=64, num_layers=2, num_heads=2)
    (job,) = make_plan([planned(model=big, batch_size=12)], store).todo
    ratio = predicted_counts(big, 300).total / TOTAL * (1 + 12 * 32 / 64) / (1 + 4 * 32 / 64)
    assert job_seconds(job, measured_paces(store)) == pytest.approx(100 * ratio * (0.1 + 0.5 / 5))
    (job,) = make_plan([planned(threads=2)], store).todo
    assert job_seconds(job, measured_paces(store)) is None, "with two threads nothing was measured"


def _job(name, parent=None):
    run = PlannedRun((), RunConfig(), (name, f"{name}'s run"))
    node = node_of(resolve(run.config), Store(Path("nowhere")), run.stage_ids, num_stages=1)
    return PlannedJob(run, node, parent and f"stages/{parent}", steps=1, left=1, rank=0.0)


@pytest.mark.parametrize(("slots", "wall"), [(1, 19.0), (2, 10.0), (3, 9.0), (50, 9.0)])
def test_time_with_so_many_at_once(slots, wall):
    """Trunk a (3) before b (5) and c (6), and d (4) and e (1) alone, in this order.

    Two slots: a from 0, d from 0, b from 3, c from 4 to 10, e from 8. Three: e from 0, b and c from 3.
    """
    todo = [_job("a"), _job("b", "a"), _job("c", "a"), _job("d"), _job("e")]
    times = {"a": 3.0, "b": 5.0, "c": 6.0, "d": 4.0, "e": 1.0}
    seconds = {f"stages/{name}": time for name, time in times.items()}
    assert time_needed(todo, seconds, slots) == Time(19.0, 9.0, wall)


def test_a_trunk_that_is_done_keeps_nobody_waiting():
    seconds = {"stages/b": 5.0, "stages/c": 2.0}
    assert time_needed([_job("b", "a"), _job("c", "a")], seconds, 2) == Time(7.0, 5.0, 5.0)


def test_lines(store):
    grid = [planned(wd2=wd2, probe_every_steps=5) for wd2 in (0.0, 0.05)]
    plan = make_plan(grid, store)
    disk, time = forecast_lines(plan, store, 2)
    assert disk.startswith(
        "disk: 185kB of trunks, 120kB of final weights, up to 780kB more while it trains; "
    )
    assert disk.endswith(" free")
    assert time == "time: no estimate yet (nothing comparable has been trained in this store)"
    finish(store.run("r"), planned().config)
    assert forecast_lines(plan, store, 2)[1] == (  # 0.2 s a step: 10 s of trunk, then two arms of 10 s
        "time: about 00:30 of training, longest chain 00:20, 00:20 with 2 at once"
    )
    assert forecast_lines(plan, store, None)[1] == "time: about 00:30 of training, longest chain 00:20"


@pytest.mark.slow
def test_trunks_go_with_keep_stages_false(tiny):
    """Only those of runs that say so, and only once no recorded run needs them any more."""
    runs = []
    for wd2, keep in ((0.0, False), (0.05, False), (0.02, True)):
        config = tiny(wd2=wd2, sweep=SweepConfig(keep_stages=keep))
        runs.append(PlannedRun((), config, tuple(stage_ids(config, fingerprint(config)))))
    first, second, keeps = runs
    store = Store(Path(first.config.store))
    trunk = store.stage(first.stage_ids[0]).path
    register(store, runs, "s", [], [])
    for run in runs:
        tidy(store, runs)
        assert (trunk / "boundary.json").exists() == (run is not first)
        Job(run.config, "s", [], Hooks()).complete()
    tidy(store, [keeps])
    assert (trunk / "boundary.json").exists()
    records = (trunk / "records.jsonl").read_bytes()
    tidy(store, [first, second])
    assert not list(trunk.glob("boundary*"))
    assert (trunk / "records.jsonl").read_bytes() == records
    assert make_plan(runs, store).todo == [], "the same command again does nothing"
    shutil.rmtree(store.run(second.run_id).path)
    Job(second.config, "s", [], Hooks()).complete()
    assert (trunk / "boundary.json").exists(), "a trunk that is needed again is trained again"
