"""Surroundings in which the real W&B client meets a loopback server and nothing else."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep.config import RunConfig, TrackConfig, TrackMode
from bitnet_sweep.records import LOG_LOSS, LOG_LR, LogRow, Record
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Store
from bitnet_sweep.track import Tracker, open_tracker
from tests.track.wandb_server import WandbServer

API_KEY = "0123456789abcdef" * 2 + "01234567"
"""The form of a real key; searched for in every file that a run leaves behind."""

REPO = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[WandbServer]:
    """A W&B server of the test's own; the client must not have asked it anything it cannot answer."""
    server = WandbServer()
    yield server
    server.stop()
    assert server.unknown == []


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home and a wandb-core of the test's own: the user's keys and settings are not read, nor written."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    yield home
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def reaped() -> Iterator[None]:
    """Ask after what the test killed: the client leaves a dead wandb-core unasked for."""
    yield
    for thing in gc.get_objects():
        if type(thing) is subprocess.Popen:
            thing.poll()


@pytest.fixture
def api_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the environment."""
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    return API_KEY


@pytest.fixture
def config(server: WandbServer) -> RunConfig:
    """A run tracked offline; online, it would go to the loopback server."""
    track = TrackConfig(base_url=server.url, timeout_seconds=60.0, tags=["mine"])
    return resolve(RunConfig(seed=3, wd2=0.05, track=track))


@pytest.fixture
def online(config: RunConfig, api_key: str) -> RunConfig:
    """The same run, online."""
    config.track.mode = TrackMode.online
    return config


KILLED = """
import os, signal, sys
from pathlib import Path
from bitnet_sweep.config import RunConfig, TrackConfig, TrackMode
from bitnet_sweep.stages import resolve
from tests.track.conftest import MirrorStore

root, url, mode = sys.argv[1:]
config = resolve(RunConfig(track=TrackConfig(base_url=url, mode=TrackMode[mode])))
MirrorStore(Path(root)).train(config, [1, 5, 10], samples_at=[5], state=None)
os.kill(os.getpid(), signal.SIGKILL)
"""


class MirrorStore:
    """A store with runs as the training side leaves them, and their trackers."""

    run_id = "0123456789abcdef"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wandb = root / "wandb"

    @staticmethod
    def record(step: int) -> Record:
        return {"step": step, "val/loss": 8 / step, "ternary/absmean": None, "margin/mean": step / 4}

    @staticmethod
    def log_row(step: int) -> LogRow:
        return {"step": step, LOG_LOSS: 9 / step, LOG_LR: 1e-3}

    @staticmethod
    def sample(step: int) -> dict[str, Any]:
        return {"step": step, "prompt": "The <b>", "continuation": f" after {step} é"}

    def train(
        self,
        config: RunConfig,
        steps: Collection[int],
        *,
        run_id: str = run_id,
        samples_at: Collection[int] = (),
        log_at: Collection[int] = (),
        state: str | None = "finished",
    ) -> Tracker:
        """Go on with a run from what the store has of it, over ``steps``; None leaves it open."""
        folder = Store(self.root).run(run_id)
        tracker = open_tracker(
            config,
            run_id=run_id,
            group="my-sweep",
            store=self.root,
            past=folder.records(),
            past_samples=folder.samples(),
            past_log=folder.log(),
        )
        folder.path.mkdir(parents=True, exist_ok=True)
        for step in sorted({*steps, *log_at}):
            if step in steps:
                samples = [self.sample(step)] if step in samples_at else []
                folder.append(self.record(step), samples)
                tracker.log(self.record(step))
                if samples:
                    tracker.samples(step, samples)
            if step in log_at:
                folder.append_log(self.log_row(step))
                tracker.log_row(self.log_row(step))
        if state is not None:
            tracker.finish(state, {"outcome": "stuck", "transition/loss_drop": -0.5})
        return tracker

    def train_and_be_killed(self, config: RunConfig) -> None:
        """Three records in a process of its own, which then dies without a word."""
        arguments = [str(self.root), config.track.base_url, config.track.mode.name]
        died = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=REPO)
        assert died.returncode == -signal.SIGKILL

    def inspect(self) -> list[dict[str, Any]]:
        """The records in the one offline file of the store, as ``wandb leet inspect`` prints them."""
        (path,) = self.wandb.glob("offline-run-*/*.wandb")
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        printed = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in printed.stdout.splitlines()]

    def wandb_dirs(self) -> list[str]:
        """W&B's run directories, without their times."""
        return sorted(re.sub(r"run-[0-9_]+-", "run-", path.name) for path in self.wandb.glob("*run-*/"))


@pytest.fixture
def store(tmp_path: Path) -> MirrorStore:
    """An empty store."""
    return MirrorStore(tmp_path / "store")


def without_empty(document: dict[str, Any]) -> dict[str, Any]:
    """What arrives of a config: W&B drops an empty mapping, as the options of a part that has none are."""
    kept = {k: without_empty(v) if isinstance(v, dict) else v for k, v in document.items()}
    return {key: value for key, value in kept.items() if value != {}}
