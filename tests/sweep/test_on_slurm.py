"""What SLURM refuses, on a made-up submitit: SLURM itself is met in tests/system."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep.cluster import run_on_cluster
from bitnet_sweep.sweep.ending import EXIT_FAILED
from bitnet_sweep.sweep.signals import StopRequest

NAME = "bitnet_sweep.sweep.on_slurm"


class RefusedError(Exception):
    """What submitit makes of an sbatch that exits with an error."""


class MadeUpExecutor:
    """Takes so many arrays, whose jobs end well at once, and refuses all others."""

    takes = 0

    def __init__(self, folder):
        pass

    def update_parameters(self, **_):
        pass

    def map_array(self, function, *arguments):
        if not MadeUpExecutor.takes:
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


def _run(on_slurm, tmp_path, takes):
    MadeUpExecutor.takes = takes
    cluster = on_slurm.SlurmCluster([(0,), (1,), (2,)], tmp_path, 0.0, {})
    return run_on_cluster(cluster, [None, 0, 1], StopRequest())


def test_what_slurm_refuses_at_once_is_a_wrong_command(on_slurm, tmp_path):
    with pytest.raises(ConfigError, match="QOSMaxSubmitJobPerUserLimit"):
        _run(on_slurm, tmp_path, takes=0)


def test_what_slurm_refuses_later_has_failed(on_slurm, tmp_path, capsys):
    """Though nothing of the sweep runs at that moment: the trunk has ended."""
    assert _run(on_slurm, tmp_path, takes=1) == [0, EXIT_FAILED, None]
    assert "SLURM refuses 1 jobs: sbatch: error: QOSMaxSubmitJobPerUserLimit" in capsys.readouterr().out
