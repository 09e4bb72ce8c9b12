"""What the engine says of jobs whose process died, and of those it only believed to be dead."""

import shutil
from contextlib import contextmanager
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus

from bitnet_sweep.config import ConfigError, Device
from bitnet_sweep.store import FAILED, FINISHED, RUNNING, Status, Store, liveness
from bitnet_sweep.store import lease as lease_module
from bitnet_sweep.store.asked_runs import read_sweeps
from bitnet_sweep.store.liveness import WITHOUT_A_WORD
from bitnet_sweep.sweep import orchestrate
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.plan import PlannedRun
from bitnet_sweep.sweep.register import register, set_aside
from bitnet_sweep.sweep.results import state_table
from hydra_plugins._launcher import read_once
from hydra_plugins.stage_tree_sweeper import warn_if_failed


def standing(store):
    status = store.run("b").status()
    assert status is not None
    return status.state, status.error


def test_a_device_is_asked_for_where_jobs_run(tiny, monkeypatch):
    """A cluster's submit node needs none."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    grid = [((), tiny(device=Device.cuda))]
    with pytest.raises(ConfigError, match="device=cuda: no CUDA device is visible here"):
        orchestrate.plan_runs(grid)
    _, (run,) = orchestrate.plan_runs(grid, trains_here=False)
    assert run.config.device is Device.cuda


def test_a_config_is_read_once(tmp_path):
    """Jobs are composed when they start: an edit while others run does not reach them."""
    (tmp_path / "config.yaml").write_text("defaults: [model: a, _self_]\nlr: 1\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.yaml").write_text("width: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        loader: Any = GlobalHydra.instance().config_loader()
        read_once(loader)
        first = compose("config", overrides=["lr=2"])
        (tmp_path / "config.yaml").write_text("defaults: [model: a, _self_]\nlr: 10\nmore: 1\n")
        shutil.rmtree(tmp_path / "model")
        assert compose("config", overrides=["lr=2"]) == first == {"model": {"width": 1}, "lr": 2}
        assert compose("config") == {"model": {"width": 1}, "lr": 1}


def test_why_a_job_failed_is_told(caplog):
    """Hydra's own launcher returns it and says nothing; of a stopped one there is nothing to say."""
    for error in (OSError("no space left"), InterruptedRunError()):
        warn_if_failed(JobReturn(status=JobStatus.FAILED, _return_value=error))
    warn_if_failed(JobReturn(status=JobStatus.COMPLETED, _return_value=None))
    assert caplog.messages == ["a job ended with OSError: no space left"]


def test_a_name_that_another_grid_has_is_taken_from_it(tiny, tmp_path, caplog):
    """Its register lives on under a number; a grid that only grows keeps its name."""
    store = Store(tmp_path)

    def registered(*run_ids):
        runs = [PlannedRun((), tiny(), ("trunk", run_id)) for run_id in run_ids]
        set_aside(store, runs, "mine")
        register(store, runs, "mine", [], [])

    def run_ids(name):
        return {sweep.name: sweep.run_ids for sweep in read_sweeps(store)}.get(name)

    registered("a", "b")
    registered("a", "b", "c")
    assert caplog.messages == []
    registered("a")
    registered("d")
    assert caplog.messages == [
        "sweep.name=mine: the sweep that had this name and other runs is now called mine.1",
        "sweep.name=mine: the sweep that had this name and other runs is now called mine.2",
    ]
    assert [run_ids(name) for name in ("mine", "mine.1", "mine.2", "mine.3")] == [
        ["d"],
        ["a", "b", "c"],
        ["a"],
        None,
    ]


def test_a_job_that_died_without_a_word_has_failed(job, tmp_path):
    store = Store(tmp_path)
    store.run("b").write_status(Status(state=RUNNING, stage_ids=["a", "b"]))
    orchestrate.bury([job], FAILED)
    assert standing(store) == (FAILED, WITHOUT_A_WORD)


def test_a_run_that_another_sweep_trains_is_let_be(job, tmp_path):
    store = Store(tmp_path)
    store.run("b").write_status(Status(state=RUNNING, stage_ids=["a", "b"]))
    with lease_module.lease(store.run("b").path):
        orchestrate.bury([job], FAILED)
    assert standing(store) == (RUNNING, None)


def test_a_run_that_another_sweep_finishes_just_then_stays_finished(job, tmp_path, monkeypatch):
    """Running when it was looked at, finished by the time its lease was free."""
    store = Store(tmp_path)
    store.run("b").write_status(Status(state=RUNNING, stage_ids=["a", "b"]))

    @contextmanager
    def lease_after_the_end(folder):
        store.run("b").write_status(Status(state=FINISHED, stage_ids=["a", "b"]))
        with lease_module.lease(folder) as held:
            yield held

    monkeypatch.setattr(orchestrate, "lease", lease_after_the_end)
    orchestrate.bury([job], FAILED)
    assert standing(store) == (FINISHED, None)


def test_a_run_that_another_sweep_finishes_while_the_table_is_made_has_not_failed(job, tmp_path, monkeypatch):
    """Running by its status, and nobody's by the time its owner is looked for: it is through."""
    store = Store(tmp_path)
    store.run("b").write_status(Status(state=RUNNING, stage_ids=["a", "b"]))

    def finishes_now(path):
        store.run("b").write_status(Status(state=FINISHED, stage_ids=["a", "b"], outcome="stuck"))

    monkeypatch.setattr(liveness, "read_lease", finishes_now)
    last = state_table(store, [job.run]).splitlines()[-1]
    assert "finished" in last
    assert "stuck" in last


def test_a_run_that_could_not_write_that_it_failed_has_failed(job, tmp_path):
    """On a full disk, for example."""
    store = Store(tmp_path)
    store.run("b").write_status(Status(state=RUNNING, stage_ids=["a", "b"]))
    last = state_table(store, [job.run]).splitlines()[-1]
    assert "failed" in last
    assert WITHOUT_A_WORD in last
