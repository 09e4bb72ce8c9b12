"""One run without ``-m``: what is wrong before it starts, and what goes wrong in it."""

import json
from pathlib import Path

import pytest

from bitnet_sweep.config import ConfigError
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.store import Store
from bitnet_sweep.sweep import run
from bitnet_sweep.sweep.exits import FailedRunError
from bitnet_sweep.sweep.job import Job


def test_a_store_of_a_newer_version_is_refused_before_anything_starts(tiny):
    config = tiny()
    folder = Store(Path(config.store)).run(stage_ids(config, fingerprint(config))[-1])
    folder.path.mkdir(parents=True)
    (folder.path / "status.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(ConfigError, match="newer version"):
        run.run_alone(config, [])
    assert not (Path(config.store) / "sweeps").exists()


def test_what_becomes_wrong_after_the_start_is_a_failed_run(tiny, monkeypatch):
    """Exit status 2 says that nothing has started."""

    def complete(job):
        raise ConfigError("data.path", "corpus.txt", "there is no such file")

    monkeypatch.setattr(Job, "complete", complete)
    with pytest.raises(FailedRunError, match=r"data\.path=corpus\.txt: there is no such file"):
        run.run_alone(tiny(), [])
