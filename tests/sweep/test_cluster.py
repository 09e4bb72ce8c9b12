"""The loop over a cluster's jobs, on a made-up cluster that ends jobs as it is told; and the launchers."""

import math
import os
import sys
from dataclasses import dataclass, field
from types import NoneType, SimpleNamespace
from typing import Any

import pytest
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from bitnet_sweep.config import ConfigError
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.store import Store
from bitnet_sweep.sweep import cluster, pool
from bitnet_sweep.sweep.cluster import run_on_cluster
from bitnet_sweep.sweep.exits import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    FailedRunError,
    InterruptedRunError,
)
from bitnet_sweep.sweep.plan import PlannedRun, make_plan
from bitnet_sweep.sweep.signals import StopRequest
from hydra_plugins._launcher import TreeLauncher
from hydra_plugins.local_launcher import LocalLauncher
from hydra_plugins.ray_launcher import RayLauncher
from hydra_plugins.slurm_launcher import SlurmLauncher
from hydra_plugins.stage_tree_sweeper import StageTreeSweeper


@dataclass
class MadeUpCluster:
    """Ends the oldest job at each poll, with the next of its exit statuses, else well."""

    statuses: dict[int, list[int]] = field(default_factory=dict)
    stop_after: tuple[StopRequest, int] | None = None
    """Ask to stop once that many polls have been made."""
    poll_seconds: float = 0.0
    max_batch: int = 1000
    log: list[str] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    polls: int = 0
    interrupted: bool = False

    def submit(self, jobs):
        self.log.append("submit " + " ".join(map(str, jobs)))
        self.running.extend(jobs)

    def ended(self):
        self.polls += 1
        if self.stop_after and self.polls == self.stop_after[1]:
            self.stop_after[0].ask()
        if self.interrupted:
            ended, self.running = self.running, []
            return dict.fromkeys(ended, EXIT_INTERRUPTED)
        job = self.running.pop(0)
        told = self.statuses.get(job, [])
        return {job: told.pop(0) if told else 0}

    def interrupt(self):
        self.log.append("interrupt")
        self.interrupted = True


def test_arms_start_once_their_own_trunk_is_ready():
    made_up = MadeUpCluster()
    assert run_on_cluster(made_up, [None, None, 0, 0, 1], StopRequest()) == [0] * 5
    assert made_up.log == ["submit 0 1", "submit 2 3", "submit 4"]


def test_arms_of_a_failed_trunk_are_not_started():
    made_up = MadeUpCluster({0: [EXIT_FAILED]})
    assert run_on_cluster(made_up, [None, None, 0, 1], StopRequest()) == [EXIT_FAILED, 0, None, 0]


def test_preempted_job_is_handed_over_again():
    made_up = MadeUpCluster({0: [EXIT_INTERRUPTED, EXIT_INTERRUPTED]})
    assert run_on_cluster(made_up, [None, 0], StopRequest()) == [0, 0]
    assert made_up.log == ["submit 0", "submit 0", "submit 0", "submit 1"]


def test_preempted_for_ever_is_failed(monkeypatch):
    monkeypatch.setattr(cluster, "MAX_PREEMPTIONS", 3)
    made_up = MadeUpCluster({0: [EXIT_INTERRUPTED] * 100})
    assert run_on_cluster(made_up, [None, 0], StopRequest()) == [EXIT_FAILED, None]
    assert made_up.log == ["submit 0"] * 4


def test_stop_starts_nothing_and_asks_all():
    stop = StopRequest()
    made_up = MadeUpCluster(stop_after=(stop, 1))
    assert run_on_cluster(made_up, [None, None, 0], stop) == [0, EXIT_INTERRUPTED, None]
    assert made_up.log == ["submit 0 1", "interrupt"]


def test_stop_is_heard_between_two_batches():
    stop = StopRequest()

    class AskedAtOnce(MadeUpCluster):
        def submit(self, jobs):
            super().submit(jobs)
            stop.ask()

    made_up = AskedAtOnce(max_batch=2)
    assert run_on_cluster(made_up, [None] * 5, stop) == [EXIT_INTERRUPTED] * 2 + [None] * 3
    assert made_up.log == ["submit 0 1", "interrupt"]


def test_after_a_stop_the_cluster_is_asked_no_more_often_than_before(monkeypatch):
    """A request to stop, 1 s into a pause of 5 s, ends that one; the jobs need three looks to end."""
    stop = StopRequest()
    looks: list[float] = []

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds
            if self.now > 0.9:
                stop.ask()

    class Slow(MadeUpCluster):
        def ended(self):
            looks.append(clock.now)
            return super().ended() if len(looks) == 3 else {}

    clock = Clock()
    monkeypatch.setattr(cluster, "time", clock)
    made_up = Slow(poll_seconds=5.0)
    assert run_on_cluster(made_up, [None], stop) == [EXIT_INTERRUPTED]
    assert looks == pytest.approx([1.0, 6.0, 11.0])
    assert made_up.log == ["submit 0", "interrupt", "interrupt"]


class RaisingLauncher(Launcher):
    """A launcher that raises as soon as one of its jobs died, as submitit's and Ray's do."""

    def __init__(self):
        self.batches: list[int] = []

    def setup(self, **_):
        pass

    def launch(self, job_overrides, initial_job_idx):
        self.batches.append(len(job_overrides))
        raise RuntimeError("a worker died")


def _two_arms(tiny, tmp_path):
    runs = []
    for wd2 in (0.0, 0.05):
        config = tiny(wd2=wd2)
        runs.append(PlannedRun((f"wd2={wd2}",), config, tuple(stage_ids(config, fingerprint(config)))))
    return make_plan(runs, Store(tmp_path / "store"))


def test_sweeper_outlives_a_launcher_that_raises(tiny, tmp_path, caplog):
    sweeper = StageTreeSweeper({})
    sweeper.launcher = launcher = RaisingLauncher()
    sweeper.launch(_two_arms(tiny, tmp_path), "name")
    assert launcher.batches == [1, 2], "one trunk, then its two arms"
    assert sweeper.num_stages == {0: 1}, "the trunk's job alone is told where to end"
    assert caplog.text.count("RuntimeError: a worker died") == 2


class RefusingLauncher(RaisingLauncher):
    """A cluster that takes jobs when it likes."""

    takes = False

    def launch_after(self, job_overrides, after):
        if not self.takes:
            raise ConfigError("hydra.launcher", "?", "no more jobs")
        self.batches.append(len(job_overrides))


def test_a_cluster_that_refuses_is_a_wrong_command_only_before_anything_has_started(tiny, tmp_path, caplog):
    """Later, at a retry or in the next round of a bisection, the sweep still has to be told how it stands."""
    sweeper, plan = StageTreeSweeper({}), _two_arms(tiny, tmp_path)
    sweeper.launcher = launcher = RefusingLauncher()
    with pytest.raises(ConfigError, match="no more jobs"):
        sweeper.launch(plan, "name")
    launcher.takes = True
    sweeper.launch(plan, "name")
    launcher.takes = False
    sweeper.launch(plan, "name")
    assert launcher.batches == [3]
    assert caplog.messages == ["the launcher ended with ConfigError: hydra.launcher=?: no more jobs"]


class StartingLauncher(TreeLauncher):
    """Starts some of its jobs, by their place in the list, and is told how all of them end."""

    def __init__(self, starts: list[int], statuses: list[int | None]):
        self.starts, self.statuses = starts, statuses

    def _run(self, jobs, after):
        self.number = len(jobs)
        self.started = [jobs[i] for i in self.starts]
        return self.statuses


def test_a_job_is_composed_when_it_starts():
    """Hydra takes 50 ms for each: composed at once, 10,000 of them would keep the first one waiting."""
    composed: list[list[str]] = []

    def load_sweep_config(master, overrides):
        composed.append(overrides)
        return OmegaConf.create({"hydra": {"job": {}}})

    launcher: Any = StartingLauncher([1], [0, 0, 0])
    loader = SimpleNamespace(load_sweep_config=load_sweep_config)
    launcher.setup(hydra_context=SimpleNamespace(config_loader=loader), task_function="task", config="all")
    launcher.launch_after([("wd2=0",), ("wd2=1",), ("wd2=2",)], [None, 0, 0], 5)
    assert launcher.number == 3
    assert composed == [["wd2=1"]]
    ((_, task, config),) = launcher.started
    assert (task, config.hydra.job) == ("task", {"id": "6", "num": 6})


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0, NoneType),
        (EXIT_INTERRUPTED, InterruptedRunError),
        (None, InterruptedRunError),
        (EXIT_FAILED, FailedRunError),
        (-9, FailedRunError),
    ],
)
def test_a_jobs_error_gives_the_command_its_exit_status(status, error):
    """Under Hydra's own sweeper, which raises what it finds."""
    launcher: Any = StartingLauncher([], [status])
    launcher.setup(hydra_context=SimpleNamespace(config_loader=None), task_function=None, config=None)
    (returned,) = launcher.launch([["wd2=0"]], 0)
    assert type(returned._return_value) is error


VALUES: dict[type[TreeLauncher], dict[str, Any]] = {
    SlurmLauncher: {"folder": "slurm", "poll_seconds": 5.0},
    RayLauncher: {"address": None, "num_cpus": 1, "num_gpus": None},
}
"""Arguments that are right, where the machine is."""


def _set_up(launcher, **values):
    made = launcher(**(VALUES[launcher] | values))
    made.setup(hydra_context=SimpleNamespace(config_loader=None), task_function=None, config=None)
    return made


@pytest.mark.parametrize(
    ("launcher", "name", "value"),
    [
        *(
            (SlurmLauncher, "poll_seconds", value)
            for value in ("abc", None, True, 0, -1.0, math.inf, math.nan)
        ),
        *((RayLauncher, "address", value) for value in (6379, True)),
        *((RayLauncher, "num_cpus", value) for value in ("abc", None, True, -1, 1e-5, math.inf, math.nan)),
        *((RayLauncher, "num_gpus", value) for value in ("abc", True, -1, 1e-5, 1.5, math.inf)),
    ],
)
def test_a_wrong_value_is_refused_before_anything_starts(launcher, name, value):
    with pytest.raises(ConfigError, match=rf"^hydra\.launcher\.{name}={value}: must be "):
        _set_up(launcher, **{name: value})


@pytest.mark.parametrize(
    ("launcher", "values", "missing"),
    [
        (SlurmLauncher, {"poll_seconds": 1}, "submitit"),
        (RayLauncher, {"address": "127.0.0.1:6379", "num_cpus": 1.5, "num_gpus": 2}, "ray"),
        (RayLauncher, {"num_cpus": 0, "num_gpus": 0.25}, "ray"),
    ],
)
def test_what_is_not_installed_is_missed_before_anything_is_written(launcher, values, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    for name in ("on_slurm", "on_ray"):
        monkeypatch.delitem(sys.modules, f"bitnet_sweep.sweep.{name}", raising=False)
    with pytest.raises(ConfigError, match=r"^hydra/launcher=(slurm|ray): needs (submitit|Ray): pip install"):
        _set_up(launcher, **values).require_backend()


def test_clusters_train_elsewhere():
    assert LocalLauncher.trains_here
    assert not SlurmLauncher.trains_here
    assert not RayLauncher.trains_here


@pytest.mark.parametrize(("device", "at_once"), [("cpu", len(os.sched_getaffinity(0))), ("auto", 300)])
def test_as_many_jobs_as_devices_else_cores(device, at_once, monkeypatch):
    """``threads=0`` is wrong, but that is for the config's own check to say."""
    monkeypatch.setattr(pool, "cuda_devices", lambda: ["0"] * 300)
    launcher: Any = LocalLauncher(None)
    launcher.config = SimpleNamespace(threads=0, device=SimpleNamespace(name=device))
    assert launcher.jobs_at_once() == at_once


@pytest.mark.parametrize(
    ("torch", "visible", "devices"),
    [
        ("2.13.0", "0,1", ["0", "1"]),
        ("2.13.0+cu130", "GPU-8a", ["GPU-8a"]),
        ("2.13.0", "", []),
        ("2.13.0", "-1", []),
        ("2.13.0", "1,-1,0", ["1"]),
        ("2.13.0+cpu", "0,1", []),
    ],
)
def test_cuda_devices(torch, visible, devices, monkeypatch):
    monkeypatch.setattr(pool, "version", {"torch": torch}.__getitem__)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert pool.cuda_devices() == devices
