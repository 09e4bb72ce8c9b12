"""The bar over a sweep, drawn from heartbeats written by hand."""

import json
import os
import socket
import time

import pytest

from bitnet_sweep.store import RUNNING, Status, Store
from bitnet_sweep.sweep.display import progress_bar


@pytest.mark.parametrize(("loss", "shown"), [(5.126, "5.13"), (None, "not finite")])
def test_losses_of_running_jobs(job, tmp_path, capsys, loss, shown):
    folder = Store(tmp_path).run("b")
    folder.write_status(Status(state=RUNNING, stage_ids=["a", "b"]))
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time(), "step": 7}
    (folder.path / "lease.json").write_text(json.dumps(owner | {"loss": loss}))
    with progress_bar([job]):
        pass
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"0/1 jobs, losses {shown}" in last


def test_a_job_that_was_killed_runs_no_more(job, tmp_path, capsys):
    """Its last heartbeat stays behind: no process has had this number since then."""
    folder = Store(tmp_path).run("b")
    folder.write_status(Status(state=RUNNING, stage_ids=["a", "b"]))
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": 0.0, "step": 7, "loss": 5.0}
    (folder.path / "lease.json").write_text(json.dumps(owner))
    with progress_bar([job]):
        pass
    last = capsys.readouterr().err.splitlines()[-1]
    assert "0/20" in last
    assert "5.00" not in last
