"""A job killed in front of any of its file operations goes on, changes no bit and trains nothing twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_sweep.config import OptimizerConfig, OptimizerName, SweepConfig, plain

PROGRAM = Path(__file__).with_name("crash_points.py")
DIVERGING = {"lr": 1e38, "optimizer": OptimizerConfig(name=OptimizerName.adamw, clip=None)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "publications"),
    [
        ({"steps": 4, "checkpoint_every_steps": 1}, 2),
        ({"steps": 4, "checkpoint_every_steps": 3, "sweep": SweepConfig(share_stages=False)}, 1),
        ({"steps": 20, "checkpoint_every_steps": 2, **DIVERGING}, 0),
    ],
    ids=["trunk and run", "run alone", "diverging"],
)
def test_killed_at_every_file_operation(tiny, tmp_path, changes, publications):
    config = tiny(**{"probe_every_steps": 2} | changes)
    said = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(plain(config)), str(tmp_path), "3"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    trials = [json.loads(line) for line in said.splitlines()]
    assert len(trials) > 30, "too few file operations to be true"
    assert [trial["deaths"] for trial in trials if not trial["same"]] == []
    once = [1] if publications else []
    assert [trial["deaths"] for trial in trials if trial["published"] != once] == []
