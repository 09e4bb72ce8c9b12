"""Uploading what was tracked offline, to the loopback server: each step once, whatever came before."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from bitnet_sweep.config import RunConfig, TrackMode
from bitnet_sweep.store import Store
from bitnet_sweep.store.lease import lease
from bitnet_sweep.track import sync

if TYPE_CHECKING:
    from tests.track.conftest import MirrorStore
    from tests.track.wandb_server import WandbServer


def steps(server: WandbServer, run_id: str) -> list[int]:
    return [row["step"] for row in server.runs[run_id].history]


def test_offline_runs_are_uploaded_once(
    server: WandbServer,
    store: MirrorStore,
    config: RunConfig,
    api_key: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.train(config, [1, 5, 10], run_id="a" * 16, samples_at=[5])
    store.train(config, [1, 5], run_id="b" * 16, state="failed")
    (store.wandb / ".wandb-leet.json").write_text("{}")  # W&B's viewer leaves this behind
    assert server.runs == {}
    assert sync.main([str(store.root)]) == 0
    assert "2 of 2 runs are uploaded" in capsys.readouterr().out
    first, second = server.runs["a" * 16], server.runs["b" * 16]
    assert (steps(server, "a" * 16), first.exit_code) == ([1, 5, 10], 0)
    assert (steps(server, "b" * 16), second.exit_code) == ([1, 5], 1)
    assert first.fields["groupName"] == "my-sweep"
    assert first.summary["outcome"] == "stuck"
    (table,) = (row["samples"]["path"] for row in first.history if "samples" in row)
    assert json.loads(first.files[table])["data"] == [[5, "The <b>", " after 5 é"]]
    assert len(list(store.wandb.glob("offline-run-*/*.wandb.synced"))) == 2

    requests = server.requests
    assert sync.main([str(store.root)]) == 0
    assert "2 of 2 runs are uploaded" in capsys.readouterr().out
    assert server.requests == requests


def test_the_training_log_is_uploaded_once_too(
    server: WandbServer, store: MirrorStore, config: RunConfig, api_key: str
) -> None:
    store.train(config, [1, 5], samples_at=[5], log_at=[1, 2, 4], state="interrupted")
    assert sync.main([str(store.root)]) == 0
    store.train(config, [10], log_at=[6, 10])
    assert sync.main([str(store.root)]) == 0
    run = server.runs[store.run_id]
    assert steps(server, store.run_id) == [1, 2, 4, 5, 6, 10]
    assert run.received["wandb-history.jsonl"] == 6
    told = {row["step"]: row["log/train_loss"] for row in run.history if "log/train_loss" in row}
    assert told == {1: 9, 2: 4.5, 4: 2.25, 6: 1.5, 10: 0.9}


def test_uploaded_resumed_and_uploaded_again(
    server: WandbServer, store: MirrorStore, config: RunConfig, api_key: str
) -> None:
    store.train(config, [1, 5], state="interrupted")
    assert sync.main([str(store.root)]) == 0
    assert server.runs[store.run_id].exit_code == 130
    store.train(config, [10, 15])
    assert sync.main([str(store.root)]) == 0
    run = server.runs[store.run_id]
    assert steps(server, store.run_id) == [1, 5, 10, 15]
    assert run.received["wandb-history.jsonl"] == 4
    assert run.exit_code == 0


@pytest.mark.slow
def test_online_then_offline_then_uploaded(
    server: WandbServer, store: MirrorStore, online: RunConfig
) -> None:
    store.train(online, [1, 5], state="interrupted")
    online.track.timeout_seconds = 1.0
    server.hang()
    store.train(online, [10, 15])
    assert store.wandb_dirs() == [f"offline-run-{store.run_id}"]
    assert steps(server, store.run_id) == [1, 5]
    server.recover()
    assert sync.main([str(store.root)]) == 0
    assert steps(server, store.run_id) == [1, 5, 10, 15]
    assert server.runs[store.run_id].exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", [TrackMode.online, TrackMode.offline], ids=lambda mode: mode.name)
def test_killed_then_uploaded_then_resumed(
    server: WandbServer, store: MirrorStore, online: RunConfig, mode: TrackMode
) -> None:
    online.track.mode = mode
    store.train_and_be_killed(online)
    assert sync.main([str(store.root)]) == 0
    assert steps(server, store.run_id) == [1, 5, 10]
    assert server.runs[store.run_id].exit_code == 130
    assert server.runs[store.run_id].summary["state"] == "interrupted", "W&B alone would call it failed"
    store.train(online, [15])
    assert sync.main([str(store.root)]) == 0
    assert steps(server, store.run_id) == [1, 5, 10, 15]
    assert server.runs[store.run_id].exit_code == 0


@pytest.mark.parametrize("down", ["stop", "hang"])
def test_without_a_server_it_ends_soon_and_says_so(
    server: WandbServer,
    store: MirrorStore,
    config: RunConfig,
    api_key: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    reaped: None,
    down: str,
) -> None:
    """Though a run may take a minute; and the server is asked once, not for each run."""
    for letter in "abcd":
        store.train(config, [1], run_id=letter * 16)
    getattr(server, down)()
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "0.5")
    started = time.monotonic()
    assert sync.main([str(store.root)]) == 1
    assert time.monotonic() - started < 60, "four runs would take four minutes"
    printed = capsys.readouterr()
    why = "no answer within 0.5 s, a limit that WANDB_HTTP_TIMEOUT sets"
    assert printed.err == f"aaaaaaaaaaaaaaaa: not uploaded: {server.url}: {why}\n"
    assert "0 of 4 runs are uploaded" in printed.out
    assert [json.loads(path.read_text())["uploaded"] for path in store.wandb.glob("*.mirror.json")] == [
        False
    ] * 4


def test_a_run_in_training_is_left_alone(
    server: WandbServer,
    store: MirrorStore,
    config: RunConfig,
    api_key: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.train(config, [1])
    with lease(Store(store.root).run(store.run_id).path):
        assert sync.main([str(store.root)]) == 0
    assert "1 still in training" in capsys.readouterr().out
    assert server.runs == {}


def test_without_a_key_it_says_what_to_do(
    server: WandbServer, store: MirrorStore, config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    store.train(config, [1])
    assert sync.main([str(store.root)]) == 1
    assert "WANDB_API_KEY" in capsys.readouterr().err


def test_the_environment_can_name_another_server(
    server: WandbServer,
    store: MirrorStore,
    config: RunConfig,
    api_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config.track.base_url = "http://127.0.0.1:9"  # discard: nobody answers there
    store.train(config, [1])
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    assert sync.main([str(store.root)]) == 0
    assert steps(server, store.run_id) == [1]


def test_no_such_store(store: MirrorStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync.main([str(store.root)]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_folder_that_holds_a_store_is_not_one(
    store: MirrorStore, config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    store.train(config, [1])
    (store.root / "store.json").write_text("{}")
    assert sync.main([str(store.root.parent)]) == 2
    assert f"is no store, but {store.root} is one" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "1e12", "nan"])
def test_a_timeout_that_no_timer_takes(store: MirrorStore, seconds: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        sync.main([str(store.root), "--timeout", seconds])


def test_a_store_without_mirrors_needs_nothing(store: MirrorStore) -> None:
    store.root.mkdir()
    assert sync.main([str(store.root)]) == 0


def test_a_run_that_a_later_sweep_asked_for_has_its_tag_too(
    server: WandbServer, store: MirrorStore, config: RunConfig, api_key: str
) -> None:
    """Nothing is trained for the later sweep, so that its tag comes with the next upload, and once."""
    store.train(config, [1, 5], run_id="a" * 16)
    store.train(config, [1, 5], run_id="b" * 16)
    assert sync.main([str(store.root)]) == 0
    Store(store.root).write_sweep("later", {"run_ids": ["a" * 16], "created": "2026-01-01T00:00:00Z"})
    assert sync.main([str(store.root)]) == 0
    tags = {run_id: run.fields["tags"] for run_id, run in server.runs.items()}
    assert tags["a" * 16] == ["small", "adam_l2", "ternary", "sweep:my-sweep", "mine", "sweep:later"]
    assert "sweep:later" not in tags["b" * 16]
    assert steps(server, "a" * 16) == [1, 5]
    assert server.runs["a" * 16].exit_code == 0
    requests = server.requests
    assert sync.main([str(store.root)]) == 0
    assert server.requests == requests
