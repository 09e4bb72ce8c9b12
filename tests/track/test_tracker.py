"""What every tracker does, W&B or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitnet_sweep.config import RunConfig, TrackName
from bitnet_sweep.track import NoTracker
from bitnet_sweep.track.mirror import Mirror

if TYPE_CHECKING:
    from tests.track.conftest import MirrorStore


@pytest.mark.parametrize(
    ("state", "exit_code"), [("finished", 0), ("failed", 1), ("interrupted", 130), (None, 130)], ids=str
)
def test_exit_codes_tell_the_states_apart(state: str | None, exit_code: int) -> None:
    assert Mirror("id", "group", "name", [], {}, state).exit_code == exit_code


def test_track_none_writes_nothing(store: MirrorStore, config: RunConfig) -> None:
    config.track.name = TrackName.none
    tracker = store.train(config, [1, 5], samples_at=[5])
    assert isinstance(tracker, NoTracker)
    assert not store.wandb.exists()


def test_a_broken_wandb_fails_nothing(
    store: MirrorStore,
    config: RunConfig,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bitnet_sweep.track.wandb_tracker", None)
    assert isinstance(store.train(config, [1, 5]), NoTracker)
    (warning,) = caplog.records
    assert "is not mirrored" in warning.getMessage()


def test_importing_the_package_does_not_import_wandb() -> None:
    script = "import sys, bitnet_sweep.track; sys.exit('wandb' in sys.modules)"
    repo = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=repo).returncode == 0
