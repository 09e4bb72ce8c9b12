"""The real client against a loopback server: what arrives, and what happens when the server does not."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from bitnet_sweep.config import RunConfig, TrackMode, plain
from bitnet_sweep.identity import SCIENCE_VERSION
from bitnet_sweep.store import Store
from bitnet_sweep.track import open_tracker
from tests.track.conftest import without_empty

if TYPE_CHECKING:
    from tests.track.conftest import MirrorStore
    from tests.track.wandb_server import WandbServer

pytestmark = pytest.mark.slow

RUN = "0123456789abcdef"


def steps(server: WandbServer, run_id: str = RUN) -> list[int]:
    return [row["step"] for row in server.runs[run_id].history]


def test_every_record_arrives_once_with_config_name_and_group(
    server: WandbServer, store: MirrorStore, online: RunConfig
) -> None:
    store.train(online, [1, 5, 10], samples_at=[5, 10])
    run = server.runs[RUN]
    assert [{key: row[key] for key in store.record(1)} for row in run.history] == [
        {"step": 1, "val/loss": 8.0, "ternary/absmean": None, "margin/mean": 0.25},
        {"step": 5, "val/loss": 1.6, "ternary/absmean": None, "margin/mean": 1.25},
        {"step": 10, "val/loss": 0.8, "ternary/absmean": None, "margin/mean": 2.5},
    ]
    assert [row["_step"] for row in run.history] == [1, 5, 10]
    assert run.fields["displayName"] == "h256 wd2=0.05 lr=1.5e-3 s3"
    assert run.fields["groupName"] == "my-sweep"
    assert run.fields["project"] == "bitnet_sweep"
    assert run.fields["tags"] == ["small", "adam_l2", "ternary", "sweep:my-sweep", "mine"]
    config = {key: value for key, value in run.config.items() if key not in ("_wandb", "provenance")}
    assert config == without_empty(plain(online)) | {"science_version": SCIENCE_VERSION}
    assert run.summary["outcome"] == "stuck"
    assert run.summary["transition/loss_drop"] == -0.5
    assert run.exit_code == 0


def test_samples_are_a_table_of_all_text_so_far(
    server: WandbServer, store: MirrorStore, online: RunConfig
) -> None:
    store.train(online, [1, 5, 10], samples_at=[5, 10])
    run = server.runs[RUN]
    tables = [row["samples"]["path"] for row in run.history if "samples" in row]
    assert [json.loads(run.files[path]) for path in tables] == [
        {"columns": ["step", "prompt", "continuation"], "data": [[5, "The <b>", " after 5 é"]]},
        {
            "columns": ["step", "prompt", "continuation"],
            "data": [[5, "The <b>", " after 5 é"], [10, "The <b>", " after 10 é"]],
        },
    ]


def test_resuming_sends_only_what_the_server_lacks(
    server: WandbServer, store: MirrorStore, online: RunConfig
) -> None:
    store.train(online, [1, 5, 10], samples_at=[5], state="interrupted")
    online.threads = 2  # what is not science may change
    store.train(online, [15, 20], samples_at=[20])
    run = server.runs[RUN]
    assert steps(server) == [1, 5, 10, 15, 20]
    assert run.received["wandb-history.jsonl"] == 5
    assert run.config["threads"] == 2
    assert run.exit_code == 0
    assert store.wandb_dirs() == [f"run-{RUN}"]


def test_a_step_trained_again_after_a_crash_is_not_sent_again(
    server: WandbServer, store: MirrorStore, online: RunConfig
) -> None:
    store.train(online, [1, 5, 10], state="interrupted")
    tracker = open_tracker(
        online, run_id=RUN, group="my-sweep", store=store.root, past=[store.record(1)], past_samples=[]
    )
    for step in (5, 10, 15):
        tracker.log(store.record(step))
    tracker.finish("finished", {})
    assert steps(server) == [1, 5, 10, 15]


def test_no_key_is_left_behind(
    server: WandbServer, store: MirrorStore, online: RunConfig, home: Path, api_key: str
) -> None:
    store.train(online, [1, 5], samples_at=[5])
    assert server.runs[RUN].exit_code == 0
    written = [path for root in (store.root, home) for path in root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in written)
    assert [path for path in written if api_key.encode() in path.read_bytes()] == []


def test_runs_of_one_process_keep_to_themselves(
    server: WandbServer, store: MirrorStore, online: RunConfig
) -> None:
    store.train(online, [1, 5], run_id="a" * 16, state="failed")
    store.train(online, [2], run_id="b" * 16, state=None)  # left open
    store.train(online, [3, 7], run_id="c" * 16)
    assert {run_id[0]: (steps(server, run_id), run.exit_code) for run_id, run in server.runs.items()} == {
        "a": ([1, 5], 1),
        "b": ([2], 0),
        "c": ([3, 7], 0),
    }


def offline_steps(store: MirrorStore) -> list[int]:
    """The steps in the one offline file of the store."""
    return [record["history"]["item"]["step"] for record in store.inspect() if record["type"] == "history"]


def fell_back(caplog: pytest.LogCaptureFixture, store: MirrorStore, reason: str) -> None:
    """One warning, one line, naming the reason; the whole run is there offline, ready for upload."""
    ours = [record for record in caplog.records if record.name.startswith("bitnet_sweep")]
    warnings = [record.getMessage() for record in ours if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert reason in warnings[0]
    assert "offline" in warnings[0]
    assert "\n" not in warnings[0]
    assert store.wandb_dirs() == [f"offline-run-{RUN}"]
    mirror = json.loads((store.wandb / f"{RUN}.mirror.json").read_text())
    assert mirror["uploaded"] is False
    assert mirror["state"] == "finished"


def test_without_a_key_it_goes_offline_and_says_so(
    server: WandbServer,
    store: MirrorStore,
    online: RunConfig,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    store.train(online, [1, 5])
    fell_back(caplog, store, f"no API key for {server.url}")
    assert server.runs == {}


@pytest.fixture
def impatient(online: RunConfig) -> RunConfig:
    """Online, with a short wait for a server that does not answer."""
    online.track.timeout_seconds = 2.0
    return online


@pytest.fixture
def opened(online: RunConfig) -> RunConfig:
    """The same for a server that answers at first, on a busy machine too."""
    online.track.timeout_seconds = 5.0
    return online


ENOUGH_SECONDS = 60.0
"""Ten times what it takes to give a server up and go on offline; left alone, the client takes 90 s."""


@pytest.mark.parametrize(
    "ailment",
    [pytest.param("stop", marks=pytest.mark.slow), pytest.param("hang", marks=pytest.mark.slow), "refuse"],
)
def test_no_server_at_all(
    server: WandbServer,
    store: MirrorStore,
    impatient: RunConfig,
    caplog: pytest.LogCaptureFixture,
    ailment: str,
) -> None:
    server.fall_ill(ailment)
    started = time.monotonic()
    store.train(impatient, [1, 5])
    assert time.monotonic() - started < ENOUGH_SECONDS
    fell_back(caplog, store, "401" if ailment == "refuse" else "deadline exceeded")


@pytest.mark.parametrize(
    "ailment",
    [pytest.param("stop", marks=pytest.mark.slow), pytest.param("hang", marks=pytest.mark.slow), "refuse"],
)
@pytest.mark.system
def test_server_lost_in_mid_run(
    server: WandbServer,
    store: MirrorStore,
    opened: RunConfig,
    caplog: pytest.LogCaptureFixture,
    ailment: str,
) -> None:
    tracker = store.train(opened, [1, 5], state=None)
    server.fall_ill(ailment)
    started = time.monotonic()
    tracker.log(store.record(10))
    tracker.finish("finished", {})
    assert time.monotonic() - started < ENOUGH_SECONDS
    fell_back(caplog, store, "refused" if ailment == "refuse" else "Timed out finishing run")
    assert offline_steps(store) == [1, 5, 10]


def wandb_core() -> psutil.Process:
    """The client's own process."""
    children = [child for child in psutil.Process().children() if child.name() == "wandb-core"]
    (core,) = (child for child in children if child.status() != psutil.STATUS_ZOMBIE)
    return core


@pytest.mark.usefixtures("reaped")
def test_client_that_hangs_is_ended(
    server: WandbServer,
    store: MirrorStore,
    opened: RunConfig,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bitnet_sweep.track.wandb_run.GRACE_SECONDS", 2.0)
    tracker = store.train(opened, [1, 5], state=None)
    wandb_core().suspend()
    started = time.monotonic()
    tracker.finish("finished", {})
    assert time.monotonic() - started < ENOUGH_SECONDS
    fell_back(caplog, store, "no answer within 7 s")


@pytest.mark.usefixtures("reaped")
@pytest.mark.parametrize(
    "mode",
    [pytest.param(TrackMode.online, marks=pytest.mark.slow), TrackMode.offline],
    ids=lambda mode: mode.name,
)
def test_client_that_dies_is_replaced(
    server: WandbServer,
    store: MirrorStore,
    online: RunConfig,
    caplog: pytest.LogCaptureFixture,
    mode: TrackMode,
) -> None:
    online.track.mode = mode
    tracker = store.train(online, [1, 5], state=None)
    wandb_core().kill()
    tracker.log(store.record(10))
    tracker.finish("finished", {})
    fell_back(caplog, store, "")
    assert offline_steps(store) == [1, 5, 10]


def test_the_config_says_what_trained_the_run_and_the_tags_every_sweep(
    server: WandbServer, store: MirrorStore, online: RunConfig
) -> None:
    Store(store.root).write_sweep("earlier", {"run_ids": [RUN], "created": "2026-01-01T00:00:00Z"})
    origin = {"commit": "c" * 40, "cpu_class": "AMX", "code": "0123", "versions": {"torch": "2"}}
    tracker = open_tracker(
        online, run_id=RUN, group="my-sweep", store=store.root, past=[], past_samples=[], origin=origin
    )
    tracker.finish("finished", {})
    assert server.runs[RUN].config["provenance"] == origin
    assert server.runs[RUN].fields["tags"][3:] == ["sweep:my-sweep", "sweep:earlier", "mine"]
