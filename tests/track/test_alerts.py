"""Alerts: what is told of a run, and that the real client tells it to the loopback server once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitnet_sweep.config import RunConfig, TrackMode
from bitnet_sweep.records import Record
from bitnet_sweep.stages import resolve
from bitnet_sweep.track import open_tracker, sync
from bitnet_sweep.track.alerts import COLLAPSE, RECOVERY, alerts_of
from tests.track.conftest import MirrorStore

if TYPE_CHECKING:
    from tests.track.wandb_server import WandbServer

pytestmark = pytest.mark.slow

UNIGRAM = 6.0
BOUNDARY = 10


def record(step: int, loss: float | None) -> Record:
    return {"step": step, "val/loss": loss, "ref/unigram_loss": UNIGRAM}


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ({1: 8.0, 5: 5.0, 9: 7.0}, []),  # before the boundary nothing is decided
        ({1: 8.0, 10: 5.9, 20: 5.0}, []),  # healthy
        ({1: 8.0, 10: 6.0}, [(COLLAPSE, 10)]),  # at U is not below it, learned before or not
        ({1: 8.0, 5: 5.0, 10: 7.0, 15: 6.0, 20: 8.0}, [(COLLAPSE, 10)]),  # stuck
        ({10: 7.0, 15: 6.5, 20: 5.9, 25: 5.5}, [(COLLAPSE, 10), (RECOVERY, 20)]),
        ({10: 7.0, 15: 5.0, 20: 7.0, 25: 5.0}, [(COLLAPSE, 10), (RECOVERY, 15)]),  # once each
        ({10: 5.0, 15: 6.5, 20: 5.5}, [(COLLAPSE, 15), (RECOVERY, 20)]),  # a late one
        ({10: None, 15: 7.0, 20: None}, [(COLLAPSE, 15)]),  # not on record decides nothing
    ],
)
def test_what_is_told_and_when(losses: dict[int, float | None], told: list[tuple[str, int]]) -> None:
    records = [record(step, loss) for step, loss in losses.items()]
    assert [(alert.kind, alert.step) for alert in alerts_of(records, BOUNDARY)] == told
    for count in range(len(records)):  # and each by the record that established it
        now = alerts_of(records[: count + 1], BOUNDARY)
        assert [(alert.kind, alert.step) for alert in now] == [
            (kind, step) for kind, step in told if step <= list(losses)[count]
        ]


def test_without_a_unigram_loss_nothing_is_told() -> None:
    assert alerts_of([{"step": 10, "val/loss": 9.0}], BOUNDARY) == []
    assert alerts_of([], BOUNDARY) == []


def test_an_alert_names_the_marks_of_its_record() -> None:
    marked = [
        record(10, 7.0) | {"val/loss_tempered": 5.0, "ternary/zero_frac/a": 1.0},
        record(15, 5.95) | {"blocks/loss_without": 5.95, "ternary/zero_frac/a": 0.5},
    ]
    texts = [alert.text for alert in alerts_of(marked, BOUNDARY)]
    assert [text.partition(" Marks: ")[2] for text in texts] == [
        "partly dead, underconfident.",
        "at unigram, hollow.",
    ]


class CollapsingStore(MirrorStore):
    """Its runs collapse at the boundary, step 10, and recover at step 20."""

    @staticmethod
    def record(step: int) -> Record:
        return record(step, {1: 8.0, 5: 7.5, 10: 7.0, 15: 6.5, 20: 5.5, 25: 5.0}[step])


@pytest.fixture
def store(tmp_path: Path) -> CollapsingStore:
    return CollapsingStore(tmp_path / "store")


@pytest.fixture
def collapsing(online: RunConfig) -> RunConfig:
    """Online, with the boundary at step 10."""
    return resolve(RunConfig(seed=3, wd2=0.05, steps=20, boundary=0.5, track=online.track))


def kinds(server: WandbServer) -> list[str]:
    return [title.split(":")[0] for _, _, title, _ in server.alerts]


def test_both_are_told_once(server: WandbServer, store: CollapsingStore, collapsing: RunConfig) -> None:
    store.train(collapsing, [1, 5, 10, 15, 20, 25])
    assert server.alerts == [
        (
            store.run_id,
            "WARN",
            "collapse: h256 wd2=0.05 lr=1.5e-3 s3 steps=20",
            "Collapsed at step 10 (at the decay boundary): held-out loss 7.000, unigram loss 6.000.",
        ),
        (
            store.run_id,
            "INFO",
            "recovery: h256 wd2=0.05 lr=1.5e-3 s3 steps=20",
            "Below the unigram loss at step 20 (decay boundary: step 10): "
            "held-out loss 5.500, unigram loss 6.000.",
        ),
    ]
    assert server.runs[store.run_id].exit_code == 0


def test_a_resumed_run_tells_only_what_is_new(
    server: WandbServer, store: CollapsingStore, collapsing: RunConfig
) -> None:
    store.train(collapsing, [1, 5, 10], state="interrupted")
    assert kinds(server) == ["collapse"]
    store.train(collapsing, [15], state="interrupted")
    assert kinds(server) == ["collapse"]
    store.train(collapsing, [20, 25])
    assert kinds(server) == ["collapse", "recovery"]


def test_a_step_trained_again_after_a_crash_is_not_told_again(
    server: WandbServer, store: CollapsingStore, collapsing: RunConfig
) -> None:
    store.train(collapsing, [1, 5, 10], state="interrupted")
    past = [store.record(1), store.record(5)]  # up to the checkpoint before the crash
    tracker = open_tracker(
        collapsing, run_id=store.run_id, group="g", store=store.root, past=past, past_samples=[]
    )
    for step in (10, 15):
        tracker.log(store.record(step))
    tracker.finish("finished", {})
    assert kinds(server) == ["collapse"]


def test_what_happened_in_the_trunk_is_told_when_the_arm_begins(
    server: WandbServer, store: CollapsingStore, collapsing: RunConfig
) -> None:
    past = [store.record(step) for step in (1, 5, 10)]
    tracker = open_tracker(
        collapsing, run_id=store.run_id, group="g", store=store.root, past=past, past_samples=[]
    )
    tracker.finish("finished", {})
    assert kinds(server) == ["collapse"]


def test_offline_nothing_is_told_and_an_upload_tells_nothing(
    server: WandbServer, store: CollapsingStore, collapsing: RunConfig
) -> None:
    collapsing.track.mode = TrackMode.offline
    store.train(collapsing, [1, 5, 10, 15, 20])
    types = {item["type"] for item in store.inspect()}
    assert "history" in types
    assert "alert" not in types
    assert sync.main([str(store.root)]) == 0
    assert server.alerts == []
    assert server.runs[store.run_id].exit_code == 0


def test_an_alert_the_server_refuses_costs_nothing(
    server: WandbServer, store: CollapsingStore, collapsing: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    server.refused.add("NotifyScriptableRunAlert")
    store.train(collapsing, [1, 5, 10, 15, 20])
    run = server.runs[store.run_id]
    assert [row["step"] for row in run.history] == [1, 5, 10, 15, 20]
    assert run.exit_code == 0
    assert [entry for entry in caplog.records if entry.levelno >= logging.WARNING] == []
    mirror = json.loads((store.wandb / f"{store.run_id}.mirror.json").read_text())
    assert mirror["uploaded"]
    assert mirror["alerted"] == ["collapse", "recovery"]  # tried once; not again
