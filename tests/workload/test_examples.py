"""The tasks in ``examples/`` train, fork and go on to the same bits, and learn something."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from bitnet_sweep.store import Store
from tests.sweep.command import run, science

ROOT = Path(__file__).parents[2]
SMALL = {
    "chars": ["task_options.width=16", "task_options.batch=4", "task_options.text={corpus}"],
    "headings": ["task_options.width=16", "task_options.layers=1"],
}
ALIKE = [
    "-m",
    "steps=12",
    "lr=3e-3",
    "probe_every_steps=4",
    "checkpoint_every_steps=2",
    "wd2=0.0,0.5",
    "track=none",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "chars",
        pytest.param(
            "headings",
            marks=[
                pytest.mark.system,
                pytest.mark.skipif(
                    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
                ),
            ],
        ),
    ],
)
def test_an_example(name: str, tmp_path: Path, corpus_file: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "examples"), str(ROOT)])}
    words = [f"plugins=[{name}]", f"task={name}", *(word.format(corpus=corpus_file) for word in SMALL[name])]
    for store, share in (("shared", "true"), ("alone", "false")):
        sharing = [f"store={store}", f"sweep.share_stages={share}"]
        status, _, err = run(tmp_path, *ALIKE, *words, *sharing, env=environment)
        assert status == 0, err
    found = science(tmp_path / "shared")
    assert found == science(tmp_path / "alone")
    assert len(found) == 2
    for records, _, _ in found.values():
        assert records[-1]["val/loss"] < records[0]["val/loss"]
    for folder in Store(tmp_path / "shared").runs():
        ended = folder.status()
        assert ended is not None
        assert ended.outcome in ("healthy", "stuck", "recovered", "late collapse")
