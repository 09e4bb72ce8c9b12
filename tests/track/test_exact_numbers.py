"""Whole numbers past 2**53 arrive in W&B, and come back from it, with every digit."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from bitnet_sweep.config import RunConfig, TrackMode, plain
from bitnet_sweep.identity import SCIENCE_VERSION
from bitnet_sweep.report.read import read_stores
from bitnet_sweep.report.settings import number, whole
from bitnet_sweep.stages import resolve
from bitnet_sweep.track.sync import sync
from tests.track.conftest import without_empty

if TYPE_CHECKING:
    from tests.track.conftest import MirrorStore
    from tests.track.wandb_server import WandbServer

SEEDS = (2**53 + 1, 1764331200123456789, 2**63 - 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", TrackMode)
@pytest.mark.slow
def test_there_and_back(
    server: WandbServer,
    store: MirrorStore,
    online: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    mode: TrackMode,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setattr("bitnet_sweep.wandb_client.CONTACT_SECONDS", 10.0)  # the machine may be busy
    track = dataclasses.replace(online.track, mode=mode)
    config = resolve(RunConfig(steps=20, seed=seed, wd2=0.1 + 0.2, lr=1 / 3, track=track))
    store.train(config, [1, 20])
    if mode is TrackMode.offline:
        assert sync(store.root, 30.0) == 0
    (run,) = server.runs.values()
    arrived = {key: value for key, value in run.config.items() if key != "_wandb"}
    assert whole(arrived["seed"]) == seed
    assert arrived | {"seed": seed} == without_empty(plain(config)) | {"science_version": SCIENCE_VERSION}
    assert f"s{seed}" in str(run.fields["displayName"])
    (read,) = read_stores(["wandb:me/bitnet_sweep"]).runs.values()  # type: ignore[list-item]
    assert whole(read.config["seed"]) == seed
    assert number(read.config["wd2"]) == 0.1 + 0.2
    assert number(read.config["lr"]) == 1 / 3
