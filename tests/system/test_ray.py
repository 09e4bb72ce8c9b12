"""hydra/launcher=ray on a cluster of two nodes, one CPU each."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from tests.sweep.command import PATIENCE_SECONDS, science, wait_for
from tests.system.conftest import EIGHT, LONG, cluster, run, start
from tests.system.disturb import check_ctrl_c, check_killed_job, training

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ON_RAY = ["hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:16379"]


@pytest.fixture(scope="module", autouse=True)
def two_nodes(tmp_path_factory):
    os.environ["RAY"] = str(Path(sys.executable).parent / "ray")
    with cluster("ray.sh", tmp_path_factory.mktemp("ray")):
        yield


def test_eight_runs_equal_the_local_launchers(eight, arguments, tmp_path):
    status, out, err = run(tmp_path, *arguments, *EIGHT, *ON_RAY)
    assert status == 0, err
    assert "8 runs sharing 4 trunks" in out
    assert science(tmp_path / "runs") == eight


def test_both_nodes_work(long, arguments, tmp_path):
    """Two jobs at once have different parents: a node's own raylet starts its workers."""
    process = start(tmp_path, *arguments, *LONG, *ON_RAY)
    jobs = wait_for(lambda: len(found := training(tmp_path / "runs")) == 2 and found)
    assert len({psutil.Process(pid).ppid() for pid in jobs}) == 2
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert science(tmp_path / "runs") == long


def test_killed_job_takes_no_other_with_it(long, arguments, tmp_path):
    check_killed_job(tmp_path, [*arguments, *LONG, *ON_RAY], long)


def test_ctrl_c_checkpoints_and_goes_on(long, arguments, tmp_path):
    check_ctrl_c(tmp_path, [*arguments, *LONG, *ON_RAY], long)


def test_no_cluster_at_the_address(arguments, tmp_path):
    status, _, err = run(
        tmp_path, *arguments, *EIGHT, "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:1"
    )
    assert status == 2, err
    assert err.strip().splitlines()[-1].startswith("bitnet_sweep: hydra.launcher.address=127.0.0.1:1"), err
