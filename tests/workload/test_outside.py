"""A task of a package that lies outside: swept, killed, resumed, forked, mirrored and reported."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from bitnet_sweep.api import open_run
from bitnet_sweep.config import ConfigError
from bitnet_sweep.store import Store
from tests.sweep.command import is_training, run, science, start, states, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extend.md").read_text()
TOY = [
    "plugins=[toybox]",
    "task=toy",
    "lr=0.1",
    "steps=40",
    "probe_every_steps=10",
    "checkpoint_every_steps=3",
]
GRID = ["-m", *TOY, "wd2=0.0,0.5", "seed=0,1"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the package is found, and nothing of it lies in the repository."""
    folder: Path = tmp_path_factory.mktemp("elsewhere")
    (folder / "toybox").mkdir()
    shutil.copy(Path(__file__).with_name("toys.py"), folder / "toybox" / "__init__.py")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.mark.system
def test_it_is_killed_resumed_forked_mirrored_and_reported(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """One test, as its sweeps are what takes the time."""
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    straight.mkdir()
    disturbed.mkdir()
    status, out, err = run(straight, *GRID, "track=none", "sweep.share_stages=false", env=environment)
    assert status == 0, err
    assert "4 runs sharing 0 trunks" in out
    assert "disk: not known beforehand" in out
    process = start(disturbed, *GRID, env=environment | {"TOY_PAUSE": "0.05"})
    wait_for(lambda: is_training(disturbed / "runs") and [*disturbed.glob("runs/*/*/latest.json")])
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert "finished" not in states(disturbed / "runs")
    status, out, err = run(disturbed, *GRID, env=environment)
    assert status == 0, err
    assert "4 runs sharing 2 trunks" in out
    assert re.search(r"[1-9][0-9]* done", out), "it goes on from what the killed one left"
    assert science(disturbed / "runs") == science(straight / "runs")
    assert len(science(straight / "runs")) == 4
    _say_what_trained_them(disturbed)
    assert len([*(disturbed / "runs" / "wandb").glob("offline-run-*")]) == 4, "one mirror a run"
    _need_no_package(disturbed)
    _are_opened_without_the_package(disturbed)


def _say_what_trained_them(disturbed: Path) -> None:
    for path in (disturbed / "runs" / "runs").iterdir():
        folder = Store(disturbed / "runs").run(path.name)
        config, status = folder.config(), folder.status()
        assert (config.task, config.task_version) == ("toy", "1")
        assert config.task_options == {"width": 4, "explodes_at": 0}
        assert status is not None
        assert "task toy: toybox/__init__.py" in status.code
        told = folder.config_path.read_text()
        assert "hidden" not in told
        assert "vocab_size" not in told


def _need_no_package(disturbed: Path) -> None:
    words = ("runs", "--out", "report", "--check")
    status, _, err = run(disturbed, *words, module="bitnet_sweep.report")
    assert status == 0, err
    report = disturbed / "report"
    with (report / "tables" / "contrasts.csv").open() as file:
        (row,) = list(csv.DictReader(file))
    assert (row["factor"], row["n"], row["pair"]) == ("wd2", "2", "fork")
    assert float(row["difference"]) != 0
    page = (report / "report.html").read_text()
    assert "toy wd2=0.5 lr=0.1 s1" in page
    assert '"name":"toy","changes":[20]' in page, "the chart's panel"
    with (report / "tables" / "leaderboard.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    status, out, err = run(disturbed, "runs", module="bitnet_sweep.status")
    assert status == 0, err
    assert "toy wd2=0.5 lr=0.1 s1" in out


def _are_opened_without_the_package(disturbed: Path) -> None:
    found = open_run(disturbed / "runs", "toy wd2=0.5 lr=0.1 s1")
    assert found.config.task == "toy"
    assert found.records["val/loss"].notna().all()
    assert "model/2.weight" in found.weights
    with pytest.raises(ConfigError, match="is of task=toy; only runs of the transformer have this"):
        found.model  # noqa: B018


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=toy"], "task=toy: no such task; allowed: transformer"),
        (
            ["task=toi", "plugins=[toybox]"],
            "task=toi: no such task; did you mean toy? allowed: transformer, toy",
        ),
        (["task=toy", "plugins=[toybix]"], "plugins=toybix: there is no such module"),
        ([*TOY, "task_options.width=x"], "task_options.width=x: must be a whole number"),
        (
            [*TOY, "task_options.widht=3"],
            "task_options.widht=3: task toy has no such option; did you mean width?",
        ),
        ([*TOY, "model.hidden=64"], "model.hidden=64: is the transformer's own; task=toy takes task_options"),
        ([*TOY, "scale=smoke"], "model.hidden=32: is the transformer's own; task=toy takes task_options"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    environment: dict[str, str], tmp_path: Path, words: list[str], said: str
) -> None:
    status, _, err = run(tmp_path, *words, env=environment)
    assert status == 2
    assert err.splitlines()[-1].startswith(f"bitnet_sweep: {said}")
    assert not (tmp_path / "runs" / "runs").exists()


@pytest.mark.system
def test_the_task_of_the_page(tmp_path: Path) -> None:
    """docs/extend.md, as it is written down there."""
    ((name, text),) = re.findall(r"```python\n# (line\.py)\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / name).write_text(text)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    commands = re.findall(r"^PYTHONPATH=\. bitnet-sweep run (-m plugins=\[line\] .*)$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    for command, count in zip(
        commands, (4, 5), strict=True
    ):  # of two widths one is the default, trained before
        words = [*command.replace("steps=200", "steps=20").split(), "track=none"]
        status, _, err = run(tmp_path, *words, env=environment)
        assert status == 0, err
        assert states(tmp_path / "runs") == ["finished"] * count
    for word in text.splitlines():
        assert len(word) <= 110
    assert len(text[text.index("@dataclass") :].splitlines()) <= 40
