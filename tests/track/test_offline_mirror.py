"""The real client without a server: what its files hold, read back with its own tool."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from bitnet_sweep.config import RunConfig, plain
from bitnet_sweep.identity import SCIENCE_VERSION

if TYPE_CHECKING:
    from tests.track.conftest import MirrorStore

pytestmark = pytest.mark.slow


def of_type(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in records if record["type"] == kind]


def test_the_files_hold_the_run(store: MirrorStore, config: RunConfig, home: Path) -> None:
    tracker = store.train(config, [1, 5, 10], samples_at=[10], state=None)
    tracker.log({"step": 15, "val/loss": math.nan})
    tracker.finish("failed", {"outcome": "diverged", "transition/loss_drop": math.inf})
    assert store.wandb_dirs() == [f"offline-run-{store.run_id}"]
    records = store.inspect()
    (run,) = of_type(records, "run")
    assert run["run_id"] == store.run_id
    assert run["display_name"] == "h256 wd2=0.05 lr=1.5e-3 s3"
    assert run["run_group"] == "my-sweep"
    told = {
        key: value for key, value in run["config"]["update"].items() if key not in ("_wandb", "provenance")
    }
    assert told == plain(config) | {"science_version": SCIENCE_VERSION}
    rows = [row["item"] for row in of_type(records, "history")]
    assert [(row["_step"], row["step"], row["val/loss"]) for row in rows] == [
        (1, 1, 8),
        (5, 5, 1.6),
        (10, 10, 0.8),
        (15, 15, None),
    ]
    assert ["samples.path" in row for row in rows] == [False, False, True, False]
    summary = {
        key: value for update in of_type(records, "summary") for key, value in update["update"].items()
    }
    assert summary["outcome"] == "diverged"
    assert summary["transition/loss_drop"] is None
    assert {"glob_name": "*", "step_metric": "step"}.items() <= of_type(records, "metric")[1].items()
    assert [exit_["exit_code"] for exit_ in of_type(records, "exit")] == [1]
    # The table is a file of the run; nothing of it lies outside the store.
    assert len(list(store.wandb.glob("offline-run-*/files/media/table/*.json"))) == 1
    assert not (home / "data").exists()


def test_the_training_log_stands_between_the_records(store: MirrorStore, config: RunConfig) -> None:
    """A step has one row, whatever of record, texts and log it has, in a mirror that is rebuilt too."""
    store.train(config, [1, 5], samples_at=[5], log_at=[1, 2, 4, 5], state="interrupted")
    store.train(config, [10], log_at=[6, 8, 10])
    rows = [row["item"] for row in of_type(store.inspect(), "history")]
    assert [(row["_step"], row.get("val/loss"), row.get("log/train_loss")) for row in rows] == [
        *((1, 8, 9), (2, None, 4.5), (4, None, 2.25), (5, 1.6, 1.8)),
        *((6, None, 1.5), (8, None, 1.125), (10, 0.8, 0.9)),
    ]
    assert [row["_step"] for row in rows if "samples.path" in row] == [5]
    assert {row["log/lr"] for row in rows} == {0.001}
    assert [row["step"] for row in rows] == [row["_step"] for row in rows]


def test_after_a_kill_it_is_rebuilt(store: MirrorStore, config: RunConfig) -> None:
    store.train_and_be_killed(config)
    store.train(config, [15, 20], samples_at=[20])
    assert store.wandb_dirs() == [f"offline-run-{store.run_id}"]
    records = store.inspect()
    rows = [row["item"] for row in of_type(records, "history")]
    assert [row["step"] for row in rows] == [1, 5, 10, 15, 20]
    assert [row["step"] for row in rows if "samples.path" in row] == [5, 20]
    assert [exit_.get("exit_code", 0) for exit_ in of_type(records, "exit")] == [0]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What this project says; the client logs its own troubles as well."""
    ours = (record for record in caplog.records if record.name.startswith("bitnet_sweep"))
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


@pytest.mark.usefixtures("reaped")
def test_an_offline_mirror_that_fails_does_not_become_offline(
    store: MirrorStore, config: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = store.train(config, [1, 5], state=None)
    for child in psutil.Process().children():
        if child.name() == "wandb-core":
            child.kill()
    tracker.log(store.record(10))
    tracker.finish("finished", {})
    (message,) = warnings(caplog)
    assert "is mirrored offline still" in message
    assert "from here" not in message
    assert [row["item"]["step"] for row in of_type(store.inspect(), "history")] == [1, 5, 10]


def test_a_mirror_that_cannot_be_written_fails_nothing(
    store: MirrorStore, config: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    store.root.mkdir()
    store.wandb.write_text("a file where the folder should be")
    store.train(config, [1, 5], samples_at=[5])
    (message,) = warnings(caplog)
    assert "no longer mirrored" in message
    assert "offline" not in message
    assert store.wandb.read_text() == "a file where the folder should be"
