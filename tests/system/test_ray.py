"""hydra/launcher=ray on a cluster of two nodes, one CPU each."""

import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.sweep.command import PATIENCE_SECONDS, science, wait_for, workers_of
from tests.system.conftest import EIGHT, LONG, cluster, run, start
from tests.system.disturb import check_ctrl_c, check_killed_job, training

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ON_RAY = ["hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:16379"]


@pytest.fixture(scope="module", autouse=True)
def two_nodes(tmp_path_factory):
    os.environ["RAY"] = str(Path(sys.executable).parent / "ray")
    # Else a head would want the token that a local Ray once left in ~/.ray, and no other node would bring it
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    with cluster("ray.sh", tmp_path_factory.mktemp("ray")):
        yield


def test_eight_runs_equal_the_local_launchers(eight, arguments, tmp_path):
    status, out, err = run(tmp_path, *arguments, *EIGHT, *ON_RAY)
    assert status == 0, err
    assert "8 runs sharing 4 trunks" in out
    assert science(tmp_path / "runs") == eight


@pytest.mark.every
def test_both_nodes_work(long, arguments, tmp_path):
    """Two jobs at once have different parents: a node's own raylet starts its workers."""
    process = start(tmp_path, *arguments, *LONG, *ON_RAY)
    jobs = wait_for(lambda: len(found := training(tmp_path / "runs")) == 2 and found)
    assert len({psutil.Process(pid).ppid() for pid in jobs}) == 2
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert science(tmp_path / "runs") == long


@pytest.mark.every
def test_killed_job_takes_no_other_with_it(long, arguments, tmp_path):
    check_killed_job(tmp_path, [*arguments, *LONG, *ON_RAY], long)


def test_ctrl_c_checkpoints_and_goes_on(long, arguments, tmp_path):
    check_ctrl_c(tmp_path, [*arguments, *LONG, *ON_RAY], long)


def silent():
    """A port where something listens that never says a word: its queue takes what connects."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"127.0.0.1:{listener.getsockname()[1]}"


def environment(**variables):
    return {"env": os.environ | variables}


@pytest.mark.parametrize("key", ["hydra.launcher.address", "RAY_ADDRESS"])
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        "ray://127.0.0.1:1",
        "[::1]:1",
        "127.0.0.1:port",
        "nowhere.invalid:6379",
        "http://127.0.0.1:1",
    ],
)
def test_no_cluster_at_the_address(arguments, tmp_path, key, address):
    """Wherever the address comes from; nothing is registered."""
    on_ray, options = ["hydra/launcher=ray"], {}
    if key == "RAY_ADDRESS":
        options = environment(RAY_ADDRESS=address)
    else:
        on_ray.append(f'hydra.launcher.address="{address}"')
    status, _, err = run(tmp_path, *arguments, *EIGHT, *on_ray, **options)
    assert status == 2, err
    assert err.strip().splitlines()[-1].startswith(f"bitnet_sweep: {key}={address}: no Ray cluster"), err
    assert not [*(tmp_path / "runs").glob("sweeps/*"), *(tmp_path / "runs").glob("runs/*")]


def test_an_address_of_the_config_comes_before_the_variable(arguments, tmp_path):
    grid = [*arguments, "model.hidden=16", "steps=20", *ON_RAY]
    status, _, err = run(tmp_path, *grid, **environment(RAY_ADDRESS="127.0.0.1:1"))
    assert status == 0, err


def test_what_listens_and_says_nothing_is_no_cluster(arguments, tmp_path):
    listener, address = silent()
    with listener:
        options = environment(RAY_ADDRESS=address)
        status, _, err = run(tmp_path, *arguments, *EIGHT, "hydra/launcher=ray", **options)
    assert status == 2, err
    assert err.strip().splitlines()[-1].startswith(f"bitnet_sweep: RAY_ADDRESS={address}"), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_while_waiting_for_an_answer(arguments, tmp_path, number):
    listener, address = silent()
    with listener:
        process = start(
            tmp_path, *arguments, *EIGHT, "hydra/launcher=ray", **environment(RAY_ADDRESS=address)
        )
        wait_for(lambda: any("GcsClient" in " ".join(worker.cmdline()) for worker in workers_of(process)))
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err


def noted(short, address):
    """RAY_TMPDIR of a machine where ``ray start`` has begun a cluster at the address."""
    (Path(short) / "ray").mkdir()
    (Path(short) / "ray" / "ray_current_cluster").write_text(address)
    return {"RAY_TMPDIR": short}


def test_a_cluster_that_wants_a_token_says_so(arguments, tmp_path):
    """As Ray does it: an address that is named needs the mode named too, one that Ray finds does not."""
    untold = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    small = [*arguments, "model.hidden=16", "steps=20"]
    status, _, err = run(tmp_path, *small, *ON_RAY, env=untold)
    assert status == 2, err
    assert "RAY_AUTH_MODE=token" in err.strip().splitlines()[-1]
    found = [*small, "hydra/launcher=ray", "hydra.launcher.address=auto"]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:
        status, _, err = run(tmp_path, *found, env=untold | noted(short, "127.0.0.1:16379"))
    assert status == 0, err


def test_a_cluster_that_is_gone_is_passed_over(arguments, tmp_path):
    """`ray start` notes its address; a machine that crashed has the note still."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:  # a socket's path is short
        options = environment(**noted(short, "127.0.0.1:1"))
        small = [*arguments, "model.hidden=16", "steps=20", "hydra/launcher=ray"]
        status, out, err = run(tmp_path, *small, **options)
        assert status == 0, err
        assert "Ray at 127.0.0.1:1 is gone" in out
        status, _, err = run(tmp_path, *small, "seed=1", "hydra.launcher.address=auto", **options)
        assert status == 2, err
        assert "hydra.launcher.address=auto: no Ray cluster answers there" in err


def test_a_long_folder_for_temporary_files_holds_no_sockets(arguments, tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    small = [*arguments, "model.hidden=16", "steps=20", "hydra/launcher=ray", "hydra.launcher.address=local"]
    status, _, err = run(tmp_path, *small, **environment(TMPDIR=str(long)))
    assert status == 0, err
