"""The loop over a cluster's jobs, on a made-up cluster that ends jobs as it is told."""

from dataclasses import dataclass, field

import pytest
from hydra.plugins.launcher import Launcher

from bitnet_sweep.config import ConfigError
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.store import Store
from bitnet_sweep.sweep import cluster
from bitnet_sweep.sweep.cluster import run_on_cluster
from bitnet_sweep.sweep.ending import EXIT_FAILED, EXIT_INTERRUPTED
from bitnet_sweep.sweep.plan import PlannedRun, make_plan
from bitnet_sweep.sweep.signals import StopRequest
from hydra_plugins.stage_tree_sweeper import StageTreeSweeper


@dataclass
class MadeUpCluster:
    """Ends the oldest job at each poll, with the next of its exit statuses, else well."""

    statuses: dict[int, list[int]] = field(default_factory=dict)
    stop_after: tuple[StopRequest, int] | None = None
    """Ask to stop once that many polls have been made."""
    poll_seconds: float = 0.0
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
    sweeper._launch(_two_arms(tiny, tmp_path), "name")
    assert launcher.batches == [1, 2], "one trunk, then its two arms"
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
        sweeper._launch(plan, "name")
    launcher.takes = True
    sweeper._launch(plan, "name")
    launcher.takes = False
    sweeper._launch(plan, "name")
    assert launcher.batches == [3]
    assert caplog.messages == ["the launcher ended with ConfigError: hydra.launcher=?: no more jobs"]
