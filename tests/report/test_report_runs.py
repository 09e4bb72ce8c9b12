"""The panel of each run: what it tells, that hostile stores stay text in it, and that it stays small."""

from __future__ import annotations

import math
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep.report import make_report, write_report
from bitnet_sweep.report.page.runs import panels
from bitnet_sweep.report.page.small import Curve, drawn
from bitnet_sweep.store.archive import pack
from bitnet_sweep.store.commands import rerun_command

RECOVERS: dict[int, float | None] = {1: 9.0, 25: 8.0, 50: 8.0, 60: 6.0, 100: 4.0}
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>$(rm -rf /)`id`"


class Panel(HTMLParser):
    """The tags, attributes and text of the panels of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.code: list[str] = []
        self._depth = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._depth += tag == "article"
        if self._depth:
            self.tags.append(tag)
            self.attributes += attrs
            if tag == "code":
                self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "article"

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.text += f"{data} "
            if self.tags[-1] == "code":
                self.code[-1] += data


def panel_of(store: Path, out: Path) -> Panel:
    write_report(make_report([store]), out)
    return Panel((out / "report.html").read_text())


@pytest.mark.slow
def test_a_panel_has_config_outcome_marks_curves_texts_and_commands(store: Any, tmp_path: Path) -> None:
    words = ["wd2=0.0", "data.path=my text.txt", "sweep.name=grid", "sweep.until_stage=1"]
    samples = [{"step": step, "prompt": "Geography", "continuation": f"at {step}\nend"} for step in (50, 100)]
    store.run("aaaa", RECOVERS, {1: 20, 100: 7}, samples=samples, status={"provenance": {"command": words}})
    store.run("bbbb", RECOVERS, wd2=0.05, lr=0.003)
    store.sweep("grid", ["aaaa", "bbbb"])
    panel = panel_of(store.root, tmp_path / "out")
    told = " ".join(panel.text.split())
    for expected in (
        "aaaa: h64 wd2=0.0 s0",
        "outcome recovered",
        "marks none (unknown: hollow, partly dead)",
        "held-out loss 8.00 at the boundary, 4.00 at the end",
        "sweeps grid",
        "lr=0.0015",
        "lr=0.003",
        "Texts at step 100 Geography at 100 ↵ end",
    ):
        assert expected in told, expected
    assert "optimizer.name=adam_l2" in told, "told of every run"
    assert "tokenizer.vocab_size" not in told, "all runs share it"
    show, remove, again = panel.code[:3]
    assert shlex.split(show) == ["bitnet-sweep", "show", "aaaa", "--store", str(store.root)]
    assert shlex.split(remove) == ["bitnet-sweep", "rm", "aaaa", "--store", str(store.root)]
    assert shlex.split(again) == ["bitnet-sweep", "run", "wd2=0.0", "data.path=my text.txt"]
    assert len(panel.code) == 3 + 2, "nobody knows the command of the second"
    assert panel.tags.count("svg") == 2 + 1, "loss of both, tokens of one"


def test_a_panel_shows_hostile_text_as_text(store: Any, tmp_path: Path) -> None:
    """Id, name, settings, command, sweep, error and texts; a command's words stay words in a shell."""
    run_id, row = HOSTILE.replace("/", ""), {"step": 100, "prompt": HOSTILE, "continuation": HOSTILE}
    status = {"provenance": {"command": [HOSTILE]}, "error": HOSTILE}
    store.run(run_id, RECOVERS, samples=[row], status=status, state="failed", scale=HOSTILE)
    store.run("bbbb", {1: 9.0, 2**70: 8.0, 100: 1e300}, wd1=[HOSTILE], status={"provenance": HOSTILE})
    named = {"run_id": run_id, "name": f"h64 {HOSTILE}", "stage_ids": [], "stage_ends": []}
    store.sweep("grid", [run_id, "bbbb"], runs=[named])
    panel = panel_of(store.root, tmp_path / "out")
    assert set(panel.tags) <= {
        *("article", "h3", "h4", "dl", "dt", "dd", "div", "figure", "figcaption", "svg", "path", "text"),
        *("p", "span", "a", "code", "b"),
    }
    assert not [name for name, _ in panel.attributes if name.startswith("on") or name == "src"]
    assert {value for name, value in panel.attributes if name == "href"} == {"#provenance", "#runs"}
    assert panel.text.count(HOSTILE) >= 5, "name, setting, error, prompt, text"
    assert [shlex.split(command)[2] for command in panel.code[:3]] == [run_id, run_id, HOSTILE]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["wd2=0", "sweep.name=x", "sweep.until_stage=2"], "bitnet-sweep run wd2=0"),
        (["data.path=a b"], "bitnet-sweep run 'data.path=a b'"),
        ([], None),
        (None, None),
        ("wd2=0", None),
        ({"a": 1}, None),
    ],
)
def test_what_trains_a_run_again(words: Any, command: str | None) -> None:
    assert rerun_command(words) == command


@pytest.mark.slow
def test_a_store_that_no_command_can_change_has_none(store: Any, tmp_path: Path) -> None:
    store.run("aaaa", RECOVERS, status={"provenance": {"command": ["wd2=0.0"]}})
    archive = tmp_path / "store.tar.gz"
    pack(store.root, archive)
    assert panel_of(archive, tmp_path / "out").code == []
    assert len(panel_of(store.root, tmp_path / "out").code) == 3


def test_runs_that_are_missing_or_empty_have_a_panel(store: Any) -> None:
    store.run("aaaa", {}, state="running")
    (store.root / "runs" / "bbbb").mkdir()
    store.sweep("grid", ["aaaa", "bbbb", "cccc"])
    found = {panel.run_id: panel for panel in panels(make_report([store.root]).study, set())}
    assert list(found) == ["aaaa", "bbbb", "cccc"]
    assert dict(found["cccc"].facts)["what is wrong"] == "no store holds it"
    assert [panel.curves for panel in found.values()] == [[], [], []]


@pytest.mark.slow
@pytest.mark.system
def test_the_page_of_500_runs_says_what_it_leaves_out_and_stays_small(store: Any, tmp_path: Path) -> None:
    steps = [1, *range(5, 101, 5)]
    texts = [{"step": 100, "prompt": "word " * 40, "continuation": "word " * 400} for _ in range(4)]
    for number in range(500):
        losses: dict[int, float | None] = {step: 9.0 - step * 0.0371 - number / 1000 for step in steps}
        tokens = dict.fromkeys(steps, number % 20)
        store.run(f"{number:016x}", losses, tokens, samples=texts, seed=number)
    write_report(make_report([store.root]), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count('<article class="run"') == 300
    assert "The page has 300 of 500 runs" in page
    panel = page[page.index('<section id="runs">') : page.index('<section id="provenance">')]
    assert len(panel) < 300 * 5_000
    assert len(page) < 5_000_000


def paths(curve: Curve) -> list[str]:
    svg = drawn(curve, 100, [50])
    return [] if svg is None else re.findall(r'<path class="line s\d" d="([^"]*)"', svg)


def test_a_small_curve_has_gaps_where_values_are_missing() -> None:
    points = [(0, 1.0), (50, None), (75, 3.0), (100, 2.0)]
    (path,) = paths(Curve("x", [("a", points)]))
    assert path == "M44 100h.1M192.5 8h.1L242 54"


@pytest.mark.parametrize(
    ("points", "is_log", "drawn_points"),
    [
        ([], False, 0),
        ([(1, None)], False, 0),
        ([(1, 5.0)], False, 1),
        ([(1, 5.0), (100, 5.0)], False, 2),
        ([(1, 0.0), (50, -1.0)], True, 0),
        ([(1, 0.0), (50, 1e-4), (100, 1e-5)], True, 2),
        ([(step, math.sin(step)) for step in range(1, 101)], False, 34),
        ([(1, -1e300), (100, 1e300)], False, 2),
    ],
    ids=["nothing", "null", "one", "flat", "no logarithm", "logarithm", "thinned", "large"],
)
def test_a_small_curve_of(points: Any, is_log: bool, drawn_points: int) -> None:
    found = paths(Curve("x", [("a", points)], is_log=is_log))
    assert len(re.findall("[ML]", "".join(found))) == drawn_points
    numbers = [float(number) for number in re.findall(r"[\d.]+", "".join(found))]
    assert all(0 <= number <= 250 for number in numbers)
    if drawn_points > 1:
        assert "L242 " in found[0], "the last point is drawn"


def test_a_small_curve_is_valid_whatever_its_title() -> None:
    svg = str(drawn(Curve(HOSTILE, [("a", [(1, 2.0)])], ("r", 4.0)), 1, []))
    assert "<script" not in svg
    assert "<img" not in svg
