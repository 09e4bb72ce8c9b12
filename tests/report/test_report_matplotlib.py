"""Figures are made by the project's own settings, whatever matplotlib is told by the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from bitnet_sweep.report import make_report, write_report
from bitnet_sweep.report.figures import Figure
from bitnet_sweep.report.figures.drawing import drawing, figure_of

pytestmark = pytest.mark.system

DRAW = """
import hashlib, json, locale, os, sys
from pathlib import Path
from bitnet_sweep.report.figures.drawing import drawing, figure_of

def draw():
    before = os.environ | {"MPLCONFIGDIR": ""}, os.getcwd(), locale.setlocale(locale.LC_ALL)
    with drawing() as Canvas:
        canvas = Canvas(figsize=(3, 2), layout="constrained")
        axes = canvas.subplots()
        axes.plot([1, 2, 3], [1, -2, 3000], label="a_b $x$")
        axes.legend()
        figure = figure_of(canvas, "loss", "a title")
    after = os.environ | {"MPLCONFIGDIR": ""}, os.getcwd(), locale.setlocale(locale.LC_ALL)
    assert before == after  # but for a folder for its cache
    return hashlib.sha256(figure.svg.encode()).hexdigest(), hashlib.sha256(figure.png).hexdigest()

assert "matplotlib" not in sys.modules
for folder, variables in json.loads(sys.argv[1]):
    if os.fork() == 0:  # a process for each without a start for each
        os.chdir(Path(folder, "cwd"))
        os.environ |= variables
        os.dup2(os.open("../said", os.O_WRONLY | os.O_CREAT), 2)
        print(*draw(), flush=True, file=open("../drawn", "w"))
        os._exit(0)
    os.wait()
"""

LOOKS = b"lines.linewidth: 9\naxes.facecolor: red\nfont.size: 30\nsavefig.format: pdf\nsavefig.bbox: tight\n"
TEX = b"text.usetex: True\ntext.latex.preamble: \\nonsense\n"
ELSEWHERE = b"backend: tkagg\naxes.formatter.use_locale: True\ntimezone: Mars/Olympus\n"
NO_TEXT = b"\xff\xfe\x00"
NONSENSE = b"no colon\nno.such.key: 1\nfont.size: green\n"

SETTINGS: dict[str, tuple[dict[str, str], dict[str, bytes]]] = {
    # variables, with {} for the test's folder, and files in it; the program runs in its folder cwd
    "nothing": ({}, {}),
    "backend of a notebook": ({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, {}),
    "backend that is not there": ({"MPLBACKEND": "nonsense"}, {}),
    "backend with windows": ({"MPLBACKEND": "tkagg"}, {}),
    "a file's looks": ({"MATPLOTLIBRC": "{}/rc"}, {"rc": LOOKS}),
    "a file's TeX": ({"MATPLOTLIBRC": "{}/rc", "TEXINPUTS": "{}"}, {"rc": TEX}),
    "a file's backend and locale": ({"MATPLOTLIBRC": "{}/rc", "LC_ALL": "C.UTF-8"}, {"rc": ELSEWHERE}),
    "a file that is no text": ({"MATPLOTLIBRC": "{}/rc"}, {"rc": NO_TEXT}),
    "a file of nonsense": ({"MATPLOTLIBRC": "{}/rc"}, {"rc": NONSENSE}),
    "a folder's looks": ({"MATPLOTLIBRC": "{}"}, {"matplotlibrc": LOOKS}),
    "here, looks": ({}, {"cwd/matplotlibrc": LOOKS}),
    "here, TeX": ({}, {"cwd/matplotlibrc": TEX}),
    "here, no text": ({}, {"cwd/matplotlibrc": NO_TEXT}),
    "here, nonsense": ({}, {"cwd/matplotlibrc": NONSENSE}),
    "configuration folder, looks": ({"MPLCONFIGDIR": "{}"}, {"matplotlibrc": LOOKS}),
    "configuration folder, no text": ({"MPLCONFIGDIR": "{}"}, {"matplotlibrc": NO_TEXT}),
    "home, TeX": ({"HOME": "{}"}, {".config/matplotlib/matplotlibrc": TEX}),
    "home, a style that is no text": (
        {"HOME": "{}"},
        {".config/matplotlib/stylelib/classic.mplstyle": NO_TEXT},
    ),
    "XDG, nonsense": ({"XDG_CONFIG_HOME": "{}"}, {"matplotlib/matplotlibrc": NONSENSE}),
    "configuration folder that is a file": ({"MPLCONFIGDIR": "{}/rc"}, {"rc": b""}),
    "configuration folder nobody may make": ({"MPLCONFIGDIR": "/proc/none"}, {}),
    "home nobody may make": ({"HOME": "/proc/none"}, {}),
}
OURS = ("MPLBACKEND", "MATPLOTLIBRC", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")


def run(arguments: list[str], here: Path, variables: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in OURS} | variables
    done = subprocess.run(
        [sys.executable, *arguments], cwd=here, env=environment, capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What each drew and what it said."""
    root = tmp_path_factory.mktemp("settings")
    folders = {name: root / str(number) for number, name in enumerate(SETTINGS)}
    told = []
    for name, (variables, contents) in SETTINGS.items():
        folder = folders[name]
        (folder / "cwd").mkdir(parents=True)
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        (folder / "drawn").touch()
        told.append((str(folder), {name: value.format(folder) for name, value in variables.items()}))
    run(["-c", DRAW, json.dumps(told)], root, {})
    return {
        name: ((folder / "drawn").read_text(), (folder / "said").read_text())
        for name, folder in folders.items()
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_a_figure_is_the_same(name: str, drawn: dict[str, tuple[str, str]]) -> None:
    figure, said = drawn[name]
    assert said == ""
    assert figure == drawn["nothing"][0] != ""


def test_the_report_of_a_notebooks_shell(store: Any, tmp_path: Path) -> None:
    """All of its pictures, by the command."""
    store.run("aaaa", {1: 9.0, 50: 8.0, 60: 6.0, 100: 4.0})
    store.run("bbbb", {1: 9.0, 50: 8.0, 60: 7.0, 100: 7.0}, wd2=0.05)
    store.run("cccc", {1: 9.0, 50: 8.0, 60: 6.0, 100: 4.0}, model__hidden=128)
    write_report(make_report([store.root]), tmp_path / "expected")
    (tmp_path / "matplotlibrc").write_bytes(LOOKS)
    command = ["-m", "bitnet_sweep.report", str(store.root), "--out", "out"]
    run(command, tmp_path, {"MPLBACKEND": "module://matplotlib_inline.backend_inline"})
    figures = sorted((tmp_path / "expected" / "figures").iterdir())
    assert len(figures) > 4
    for path in figures:
        assert (tmp_path / "out" / "figures" / path.name).read_bytes() == path.read_bytes()


def test_what_a_notebook_has_set_by_then_is_left_out_and_left_alone() -> None:
    def figure() -> Figure:
        with drawing() as Canvas:
            canvas = Canvas(figsize=(3, 2))
            canvas.subplots().plot([1, 2, 30])
            return figure_of(canvas, "loss", "a title")

    plain = figure()
    looks: dict[Any, Any] = {"lines.linewidth": 9, "text.usetex": True, "savefig.bbox": "tight"}
    with mpl.rc_context(looks | {"backend": "svg"}):
        assert figure() == plain
        assert {name: mpl.rcParams[name] for name in looks} == looks
