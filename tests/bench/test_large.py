"""The made-up stores are ones that the product reads, and what is timed is the whole command."""

import json
import subprocess

import pytest

from bench.large import FRAME, REPORT, SWEEP, finished_store, grid, timed, write_store

pytestmark = pytest.mark.slow

FACTS = {"wall_s", "cpu_s", "peak_mb"}


def test_the_frame_has_every_record(tmp_path):
    write_store(tmp_path, runs=6, records=4)
    facts = timed(f"{REPORT}assert len({FRAME}) == 24", ["report", str(tmp_path)])
    assert set(facts) == FACTS
    assert facts["peak_mb"] > 50
    with pytest.raises(subprocess.CalledProcessError):
        timed(f"{REPORT}assert len({FRAME}) == 23", ["report", str(tmp_path)])


@pytest.mark.system
def test_every_finished_run_is_skipped(tmp_path):
    """Were one of them trained, it would have records of its own."""
    store, runs = finished_store(grid(tmp_path, 1), records=1)
    assert len(runs) == 20
    facts = timed(SWEEP, ["bitnet_sweep", "-m", *grid(tmp_path, 1)])
    assert set(facts) == FACTS
    for run in runs:
        (record,) = store.run(run.run_id).records()
        assert "some/field0" in record
    (asked,) = (store.root / "sweeps").iterdir()
    assert len(json.loads(asked.read_text())["run_ids"]) == 20


def test_a_sweep_that_fails_is_not_timed(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        timed(SWEEP, ["bitnet_sweep", "-m", *grid(tmp_path, 1), "lr=nan"])
