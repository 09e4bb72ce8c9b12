"""A job killed in front of its file operations goes on, changes no bit and trains nothing twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_sweep.config import OptimizerConfig, OptimizerName, SweepConfig, plain
from tests.repetition import EVERY

PROGRAM = Path(__file__).with_name("crash_points.py")
DIVERGING = {"lr": 1e38, "optimizer": OptimizerConfig(name=OptimizerName.adamw, clip=None)}


ALONE = {"steps": 4, "checkpoint_every_steps": 3, "sweep": SweepConfig(share_stages=False)}


@pytest.mark.system
@pytest.mark.parametrize(
    ("changes", "publications", "stride"),
    [
        pytest.param({"steps": 4, "checkpoint_every_steps": 1}, 2, 6, id="trunk and run"),
        pytest.param(ALONE, 1, 15, id="run alone"),
        pytest.param({"steps": 20, "checkpoint_every_steps": 2, **DIVERGING}, 0, 15, id="diverging"),
        pytest.param({"steps": 4, "checkpoint_every_steps": 1}, 2, 1, id="trunk and run, each", marks=EVERY),
        pytest.param(ALONE, 1, 2, id="run alone, closer", marks=EVERY),
        pytest.param(
            {"steps": 20, "checkpoint_every_steps": 2, **DIVERGING}, 0, 2, id="diverging, closer", marks=EVERY
        ),
    ],
)
def test_killed_at_file_operations(tiny, tmp_path, changes, publications, stride):
    config = tiny(**{"probe_every_steps": 2} | changes)
    said = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(plain(config)), str(tmp_path), "3", str(stride)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    trials = [json.loads(line) for line in said.splitlines()]
    assert len(trials) > 30 / stride, "too few file operations to be true"
    assert [trial["deaths"] for trial in trials if not trial["same"]] == []
    once = [1] if publications else []
    assert [trial["deaths"] for trial in trials if trial["published"] != once] == []
