"""hydra/launcher=slurm on a real SLURM of one node with two CPUs."""

import os
import re
import subprocess

import pytest

from tests.sweep.command import PATIENCE_SECONDS, science, wait_for
from tests.system.conftest import EIGHT, LONG, cluster, run, start
from tests.system.disturb import attempts, check_ctrl_c, check_killed_job, training

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ON_SLURM = ["hydra/launcher=slurm", "hydra.launcher.poll_seconds=0.5"]


@pytest.fixture(scope="module", autouse=True)
def one_node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    with cluster("slurm.sh", folder):
        yield
    del os.environ["SLURM_CONF"]


def test_eight_runs_equal_the_local_launchers(eight, arguments, tmp_path):
    status, out, err = run(tmp_path, *arguments, *EIGHT, *ON_SLURM)
    assert status == 0, err
    assert "8 runs sharing 4 trunks" in out
    assert science(tmp_path / "runs") == eight


def test_killed_job_takes_no_other_with_it(long, arguments, tmp_path):
    check_killed_job(tmp_path, [*arguments, *LONG, *ON_SLURM], long)


def test_ctrl_c_checkpoints_and_goes_on(long, arguments, tmp_path):
    check_ctrl_c(tmp_path, [*arguments, *LONG, *ON_SLURM], long)
    assert subprocess.check_output(["squeue", "--noheader"]) == b"", "nothing is left in the queue"


def test_preempted_job_goes_on(long, arguments, tmp_path):
    """A job with priority takes the node; ours save, and go on afterwards."""
    store = tmp_path / "runs"
    process = start(tmp_path, *arguments, *LONG, *ON_SLURM, "hydra.launcher.partition=gentle")
    wait_for(lambda: training(store, beyond=100))
    subprocess.run(
        ["sbatch", "--partition=high", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 2"],
        check=True,
    )
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert science(store) == long
    assert max(attempts(store)) >= 2, "a job was interrupted"


@pytest.mark.every
def test_requeued_job_goes_on(long, arguments, tmp_path):
    """SLURM ends the job and starts it again itself, two minutes later."""
    store = tmp_path / "runs"
    process = start(tmp_path, *arguments, *LONG, *ON_SLURM)
    wait_for(lambda: training(store, beyond=100))
    running = subprocess.check_output(
        ["squeue", "--noheader", "--array", "--states=R", "--format=%i"], text=True
    )
    subprocess.run(["scontrol", "requeue", running.split()[0]], check=True)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert science(store) == long
    assert max(attempts(store)) == 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [("hydra.launcher.partition=nowhere", "nowhere"), ("+hydra.launcher.colour=red", "colour")],
    ids=["partition", "parameter"],
)
def test_what_slurm_refuses(arguments, tmp_path, wrong, says):
    status, _, err = run(tmp_path, *arguments, *EIGHT, *ON_SLURM, wrong)
    assert status == 2, err
    assert err.strip().splitlines()[-1].startswith("bitnet_sweep: hydra.launcher=?"), err
    assert says in err.strip().splitlines()[-1]


def test_the_jobs_inherit_nothing_of_an_allocation(arguments, tmp_path):
    """The command as typed in an `salloc` of other sizes, with options of the user's own."""
    left = {
        "SLURM_MEM_PER_CPU": "100000000",
        "SLURM_CPU_BIND": "rank_ldom",
        "SLURM_NTASKS": "7",
        "SLURM_JOB_ID": "1",
    }
    left |= {"SBATCH_TIMELIMIT": "1", "SBATCH_ARRAY_INX": "3-4", "SBATCH_OUTPUT": "/nowhere/out"}
    left |= {"SBATCH_PARTITION": "gentle", "SQUEUE_STATES": "SUSPENDED", "SLURM_EXPORT_ENV": "NONE"}
    seen = tmp_path / "seen"
    dump = f"+hydra.launcher.setup=['env >> {seen}', 'scontrol show job $SLURM_JOB_ID >> {seen}']"
    grid = [*arguments, "model.hidden=16", "seed=0,1", "steps=20", *ON_SLURM, dump]
    status, _, err = run(tmp_path, *grid, env=os.environ | left)
    assert status == 0, err
    text = seen.read_text()
    assert not re.findall("100000000|rank_ldom|SLURM_NTASKS=7|SQUEUE_|SLURM_EXPORT_ENV|SBATCH_", text)
    assert set(re.findall(r"Partition=(\S+)", text)) == {"gentle"}
    assert set(re.findall(r"TimeLimit=(\S+)", text)) == {"01:00:00"}
    (line,) = (line for line in err.splitlines() if line.startswith("SLURM: "))
    assert "left out: SBATCH_ARRAY_INX, SBATCH_OUTPUT, SBATCH_TIMELIMIT; " in line
