"""What SLURM refuses, on a made-up submitit: SLURM itself is met in tests/system."""

import importlib
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from bitnet_sweep.app import config_folder
from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep.cluster import run_on_cluster
from bitnet_sweep.sweep.exits import EXIT_FAILED
from bitnet_sweep.sweep.signals import StopRequest
from hydra_plugins.slurm_launcher import SlurmLauncher

NAME = "bitnet_sweep.sweep.on_slurm"


class RefusedError(Exception):
    """What submitit makes of an sbatch that exits with an error."""


class MadeUpExecutor:
    """Takes so many arrays, whose jobs end well at once, and refuses all others."""

    takes = 0
    ctrl_c: StopRequest | None = None
    """What refuses is a Ctrl-C, which this process hears, too."""

    def __init__(self, folder):
        pass

    def update_parameters(self, **_):
        pass

    def map_array(self, function, *arguments):
        if not MadeUpExecutor.takes:
            if MadeUpExecutor.ctrl_c is not None:
                MadeUpExecutor.ctrl_c.ask()
                raise RefusedError("")
            raise RefusedError("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job failed")
        MadeUpExecutor.takes -= 1
        result = SimpleNamespace(exists=lambda: True)
        paths = SimpleNamespace(result_pickle=result)
        return [SimpleNamespace(job_id=str(i), paths=paths) for i in range(len(arguments[0]))]


@pytest.fixture
def on_slurm(monkeypatch):
    submitit, utils = ModuleType("submitit"), ModuleType("submitit.core.utils")
    vars(submitit).update(SlurmExecutor=MadeUpExecutor, Job=SimpleNamespace)
    vars(utils).update(FailedJobError=RefusedError, pickle_load=lambda path: ("success", 0))
    modules = {"submitit": submitit, "submitit.core": ModuleType("submitit.core"), utils.__name__: utils}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    kept = sys.modules.pop(NAME, None)
    module = importlib.import_module(NAME)
    monkeypatch.setattr(module, "_listed_jobs", set)
    yield module
    del sys.modules[NAME]
    if kept is not None:
        sys.modules[NAME] = kept


@pytest.fixture
def scancels(on_slurm, monkeypatch):
    """What is told to SLURM."""
    commands: list[list[str]] = []
    monkeypatch.setattr(on_slurm.subprocess, "run", lambda command, **_: commands.append(command))
    return commands


def _cluster(on_slurm, tmp_path, takes):
    MadeUpExecutor.takes = takes
    return on_slurm.SlurmCluster([(0,), (1,), (2,)], tmp_path, 0.0, {})


def _run(on_slurm, tmp_path, takes, stop=None):
    cluster = _cluster(on_slurm, tmp_path, takes)
    return run_on_cluster(cluster, [None, 0, 1], StopRequest() if stop is None else stop)


def test_what_slurm_refuses_at_once_is_a_wrong_command(on_slurm, tmp_path):
    with pytest.raises(ConfigError, match="QOSMaxSubmitJobPerUserLimit"):
        _run(on_slurm, tmp_path, takes=0)


def test_what_slurm_refuses_later_has_failed(on_slurm, tmp_path, capsys):
    """Though nothing of the sweep runs at that moment: the trunk has ended."""
    assert _run(on_slurm, tmp_path, takes=1) == [0, EXIT_FAILED, None]
    assert "SLURM refuses 1 job: sbatch: error: QOSMaxSubmitJobPerUserLimit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("takes", "statuses"),
    [(0, [None, None, None]), (1, [0, EXIT_FAILED, None])],
    ids=["first submission", "second"],
)
def test_ctrl_c_that_ends_a_submission_cancels_nothing(
    on_slurm, scancels, tmp_path, takes, statuses, monkeypatch
):
    """``scancel --state=PENDING`` without a job's id cancels all that the user has in the queue."""
    stop = StopRequest()
    monkeypatch.setattr(MadeUpExecutor, "ctrl_c", stop)
    assert _run(on_slurm, tmp_path, takes, stop) == statuses
    assert scancels == []


def test_ctrl_c_asks_the_jobs_of_the_sweep(on_slurm, scancels, tmp_path):
    cluster = _cluster(on_slurm, tmp_path, takes=1)
    cluster.submit([0, 1])
    cluster.interrupt()
    assert scancels == [
        ["scancel", "--quiet", "--state=PENDING", "0", "1"],
        ["scancel", "--quiet", "--signal=TERM", "0", "1"],
    ]


def test_a_machine_without_slurm_is_refused_before_anything_is_written(on_slurm, monkeypatch):
    def no_srun(self, folder):
        raise RuntimeError('Could not detect "srun"')

    monkeypatch.setattr(MadeUpExecutor, "__init__", no_srun)
    launcher: Any = SlurmLauncher("slurm", 5.0)
    with pytest.raises(ConfigError, match="sbatch and srun are not on this machine"):
        launcher.require_backend()


LEFT_BEHIND = [
    "SLURM_MEM_PER_CPU",
    "SLURM_CPU_BIND",
    "SLURM_CPUS_PER_TASK",
    "SLURM_NTASKS",
    "SLURM_JOB_ID",
    "SLURM_EXPORT_ENV",
    "SRUN_CPUS_PER_TASK",
    "SQUEUE_STATES",
    "SQUEUE_PARTITION",
    "SCANCEL_INTERACTIVE",
]
OF_A_USER = ["SBATCH_TIMELIMIT", "SBATCH_ARRAY_INX", "SBATCH_MEM_PER_CPU", "SBATCH_OUTPUT", "SBATCH_EXPORT"]


def test_no_job_hears_of_the_allocation_that_submits_it(on_slurm, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SLURM_CONF", "here")
    for name in [*LEFT_BEHIND, *OF_A_USER, "SBATCH_ACCOUNT"]:
        monkeypatch.setenv(name, "1")
    seen = []
    monkeypatch.setattr(
        MadeUpExecutor, "update_parameters", lambda *_, **__: seen.append({n for n in os.environ if "S" in n})
    )
    _cluster(on_slurm, tmp_path, takes=1)
    assert not seen[0] & {*LEFT_BEHIND, *OF_A_USER, "SBATCH_ACCOUNT"}
    assert os.environ["SLURM_CONF"] == "here"
    (record,) = caplog.records
    assert record.getMessage().startswith(f"SLURM: left out: {', '.join(sorted(OF_A_USER))};")


@pytest.mark.parametrize(("value", "account"), [("physics", "physics"), ("", None)])
def test_the_account_of_a_user_is_the_launchers(monkeypatch, value, account):
    """As SLURM's own variable says it; on the command line `hydra.launcher.account` comes first."""
    monkeypatch.setenv("SBATCH_ACCOUNT", value)
    text = (config_folder() / "hydra" / "launcher" / "slurm.yaml").read_text()
    assert OmegaConf.create(text).account == account
