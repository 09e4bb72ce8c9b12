"""What a command says is resolved once, by the sweep; paths and flags are taken as people write them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.repetition import repeated
from tests.sweep.command import TINY, run

pytestmark = pytest.mark.slow

TEXT = "".join(f"line {i} of a text that repeats itself, as texts of tests do\n" for i in range(3000))
LAUNCHERS = (["hydra.launcher.n_jobs=1"], ["hydra/launcher=basic"])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "text.txt").write_text(TEXT)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def command(folder, *words, **environment):
    tiny = [*TINY, "model.hidden=16", "steps=10", *words]
    env = os.environ | {"HOME": str(folder / "home")} | environment
    return run(folder, *tiny, env=env)


def made(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("launcher", repeated(LAUNCHERS, LAUNCHERS[:1]), ids=str)
def test_one_time_for_a_whole_sweep(folder, launcher):
    """``%f`` is another one at each look at the clock."""
    words = ["-m", "wd2=0.0,0.05", "data.path=text.txt", "store=runs-${now:%f}", *launcher]
    status, _, err = command(folder, *words)
    assert status == 0, err
    (store,) = [name for name in made(folder) if name not in ("home", "text.txt")]
    assert len(list((folder / store / "runs").iterdir())) == 2


@pytest.mark.parametrize("launcher", repeated(LAUNCHERS, LAUNCHERS[:1]), ids=str)
def test_a_relative_store_and_corpus_with_chdir(folder, launcher):
    words = ["-m", "wd2=0.0,0.05", "data.path=text.txt", "store=rel", "hydra.job.chdir=true", *launcher]
    status, _, err = command(folder, *words)
    assert status == 0, err
    assert made(folder) == ["home", "rel", "text.txt"]
    assert not (folder / "rel" / "rel").exists()


@pytest.mark.parametrize("launcher", repeated(LAUNCHERS, LAUNCHERS[:1]), ids=str)
@pytest.mark.parametrize("quote", repeated(["", '"'], [""]), ids=["plain", "quoted"])
def test_home_in_a_sweep(folder, quote, launcher):
    paths = [f"data.path=[{quote}~/text.txt{quote}]", f"store={quote}~/x{quote}"]
    status, _, err = command(folder, "wd2=0.0,0.05", "-m", *paths, *launcher)
    assert status == 0, err
    assert made(folder) == ["home", "text.txt"]
    assert len(list((folder / "home" / "x" / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "--cfg", "job"], "--multirun --cfg=?: one of these at a time"),
        (["--cfg", "job", "--info"], "--cfg --info=?: one of these at a time"),
        (["--experimental-rerun", "nofile"], "--experimental-rerun=nofile: there is no such file"),
        (["store=~nobody-of-that-name/x"], "store=~nobody-of-that-name/x: ~nobody-of-that-name is nobody's"),
        (["-m", "seed=range(1,5,0)"], "seed=range(1,5,0): its step must not be 0"),
        (
            ["sweep.name=2026_11_28"],
            "sweep.name=2026_11_28: 20261128 is what Hydra reads; text is best quoted",
        ),
        (["-m", "store=1e3"], "store=1e3: 1000.0 is what Hydra reads; text is best quoted"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_is_one_line(folder, words, said):
    status, _, err = command(folder, "data.path=text.txt", *words)
    assert status == 2, err
    assert "Traceback" not in err
    assert f"bitnet_sweep: {said}" in err.strip().splitlines()[-1]


@pytest.mark.parametrize("words", repeated([["-O"], ["-OB"], []], [[]]), ids=str)
def test_lists_and_ranges_without_assertions(folder, words):

    grid = ["-m", "wd2=range(0,0.03,0.01)", "track.tags=[a,b]", "data.path=[text.txt]", "sweep.dry_run=true"]
    environment = os.environ | ({} if words else {"PYTHONOPTIMIZE": "1"})
    done = subprocess.run(
        [sys.executable, *words, "-m", "bitnet_sweep", *TINY, "model.hidden=16", "steps=10", *grid],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "3 runs" in done.stdout


def test_a_folder_named_as_a_library(folder):
    """``python -m`` looks into the working directory first."""
    (folder / "datasets").mkdir()
    (folder / "datasets" / "__init__.py").write_text("raise RuntimeError('not the library')\n")
    lines = [f'{{"text": "document {i} has words, and {i * i} more of them"}}\n' for i in range(3000)]
    (folder / "a.jsonl").write_text("".join(lines))
    status, _, err = command(folder, "data.path=a.jsonl", "sweep.dry_run=true")
    assert status == 0, err
