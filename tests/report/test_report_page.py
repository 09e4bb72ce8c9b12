"""The written report: one page without a network, hostile text as text, figures that fork and repeat."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bitnet_sweep.report import Report, make_report, write_report
from bitnet_sweep.report.figures import Line, figures_of, lines_of
from bitnet_sweep.report.figures.curves import mechanism_of
from bitnet_sweep.report.figures.differences import differences_of
from bitnet_sweep.report.figures.phase import phase_map_of
from bitnet_sweep.report.page.provenance import citation

TRUNK: dict[int, float | None] = {1: 9.0, 25: 8.0, 50: 8.0}
RECOVERS: dict[int, float | None] = TRUNK | {60: 6.0, 100: 4.0}
STUCK: dict[int, float | None] = TRUNK | {60: 8.4, 100: 7.0}
HOSTILE = "<script>alert('x')</script>|`*_[a](http://evil)"


class Elements(HTMLParser):
    """Every start tag with its attributes, and that tags close in order."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def report(new_store: Any) -> Report:
    store = new_store()
    samples = [
        {"step": 50, "prompt": "Geography", "continuation": HOSTILE},
        {"step": 100, "prompt": "Geography", "continuation": "the capital of the north\nthe end\nthe end"},
    ]
    store.run("aaaa", RECOVERS, samples=samples, status={"provenance": {"commit": "c0ffee"}})
    store.run("bbbb", STUCK, wd2=0.05)
    store.run(f"x{HOSTILE.replace('/', '')}", STUCK, scale=HOSTILE, state="failed", status={"error": HOSTILE})
    store.sweep("grid", ["aaaa", "bbbb", "cccc"], command=f"sweep {HOSTILE}")
    return make_report([store.root])


@pytest.fixture(scope="module")
def out(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(report, folder)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> Elements:
    elements = Elements()
    elements.feed((out / "report.html").read_text())
    elements.close()
    return elements


def test_everything_that_was_asked_for_is_written(out: Path) -> None:
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    tables = "boundaries contrasts leaderboard loss_transition model_sizes provenance records results"
    tables += " stage2_contrast token_transition trajectory"
    assert names == [
        *(
            f"figures/{name}.{form}"
            for name in ("loss_1", "loss_2", "paired_differences")
            for form in ("png", "svg")
        ),
        "report.html",
        "report.md",
        *(
            f"tables/{name}.{form}"
            for name in tables.split()
            for form in ("csv", "tex")
            if form == "csv" or name not in ("provenance", "records")
        ),
    ]


def test_the_page_is_whole_and_fetches_nothing(page: Elements) -> None:
    assert page.open == []
    assert not {tag for tag, _ in page.found} & {"img", "iframe", "object", "embed", "base", "form"}
    assert [attributes for tag, attributes in page.found if tag == "link"] == [
        {"rel": "icon", "href": "data:,"}
    ]
    for tag, attributes in page.found:
        for name in ("src", "href", "xlink:href", "action", "data"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:,")), f"<{tag} {name}={target}>"
        assert not [name for name in attributes if name.startswith("on")]


@pytest.mark.slow
def test_the_page_of_a_sweep_over_lr_and_optimizer_is_about_that_sweep(store: Any, tmp_path: Path) -> None:
    """Overlay, leaderboard, results and contrasts in this order; no empty table, no column of the notes."""
    grid = [(lr, name) for lr in (1e-3, 3e-3) for name in ("adam_l2", "adamw")]
    for number, (lr, name) in enumerate(grid):
        losses = RECOVERS | {100: 4.0 + number}
        store.run(f"run{number}", losses, lr=lr, optimizer__name=name, model__activations="int8")
    write_report(make_report([store.root]), tmp_path)
    page = (tmp_path / "report.html").read_text()
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections == [
        *("chart", "leaderboard", "results", "contrasts", "loss_transition", "token_transition"),
        *("model_sizes", "trajectory", "figures", "runs", "provenance", "definitions"),
    ]
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert re.findall(r'href="#(\w+)"', contents) == sections
    sizes = page[page.index('<section id="model_sizes">') : page.index('<section id="trajectory">')]
    assert "Published" not in sizes
    assert "notes" not in sizes
    (data,) = re.findall(r'id="chart-data">(.*?)</script>', page)
    (panel,) = json.loads(data)["panels"]
    assert {arm["name"].split(", seed")[0] for arm in panel["arms"]} == {
        f"lr={lr} optimizer={name} wd2=0.0" for lr in (0.001, 0.003) for name in ("adam_l2", "adamw")
    }
    trajectory = page[page.index('<section id="trajectory">') : page.index('<section id="figures">')]
    assert trajectory.count("<details") == 4
    assert trajectory.count("<details open") == 1
    assert (tmp_path / "tables" / "stage2_contrast.csv").exists(), "a table without rows has a file still"


def test_links_within_the_page_have_their_targets(page: Elements) -> None:
    ids = {attributes.get("id") for _, attributes in page.found}
    targets = {(a.get("href") or "")[1:] for tag, a in page.found if tag == "a"}
    assert targets
    assert targets <= ids


def test_hostile_text_is_shown_as_text(page: Elements, out: Path) -> None:
    shown = "".join(page.text)
    assert [attributes for tag, attributes in page.found if tag == "script"] == [
        {"type": "application/json", "id": "chart-data"},
        {},
    ], "the chart's data and the page's own script, and no other"
    assert shown.count(HOSTILE) >= 4, "sample, section, error and command"
    markdown = (out / "report.md").read_text()
    assert "<script" not in markdown
    assert not re.search(r"(?<!\\)\]\(http", markdown), "brackets are escaped, so this is no link"


def test_the_top_says_what_became_of_the_runs_and_what_is_missing(page: Elements) -> None:
    shown = " ".join("".join(page.text).split())
    top = shown[: shown.index("One row an arm")]
    assert "WD 0.1→0.0: recovered 1 of 1; loss -25.0% within a tenth of the run." in top
    assert "WD 0.1→0.05: stuck 1 of 1" in top
    assert "1 cell missing, unfinished or failed" in top
    assert "cccc (settings unknown): missing (no store holds it)" in top


def test_samples_stand_side_by_side_and_provenance_is_told(page: Elements) -> None:
    shown = "".join(page.text)
    assert "the capital of the north ↵ the end ↵ the end" in shown, "line breaks take no lines"
    assert "c0ffee" in shown
    assert "trunk-h64-s0" in shown


def test_light_dark_and_print(out: Path) -> None:
    text = (out / "report.html").read_text()
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "currentColor" in text, "the figures' ink follows the page"


def test_arms_of_a_trunk_are_one_line_that_forks(report: Report) -> None:
    arms = [arm for arm in report.study.arms if arm.run_id in ("aaaa", "bbbb")]
    assert lines_of(arms, "val/loss") == [
        Line([1, 25, 50], [9.0, 8.0, 8.0], None),
        Line([50, 60, 100], [8.0, 6.0, 4.0], 0.0),
        Line([50, 60, 100], [8.0, 8.4, 7.0], 0.05),
    ]


def test_arms_trained_apart_are_lines_of_their_own(store: Any) -> None:
    alone: dict[str, Any] = {"stage_ids": [], "parent_stage_id": None}
    store.run("a", RECOVERS, status=alone)
    store.run("b", STUCK, status=alone, wd2=0.05)
    lines = lines_of(make_report([store.root]).study.arms, "val/loss")
    assert [(line.steps[0], line.wd2) for line in lines] == [(1, 0.0), (1, 0.05)]


def test_the_trunk_is_drawn_from_the_arm_that_got_further(store: Any) -> None:
    store.run("a", {1: 9.0}, state="running")
    store.run("b", STUCK, wd2=0.05)
    lines = lines_of(make_report([store.root]).study.arms, "val/loss")
    assert [(line.steps, line.wd2) for line in lines] == [([1, 25, 50], None), ([50, 60, 100], 0.05)]


@pytest.mark.slow
def test_figures_are_drawn_with_units_and_names_and_repeat_to_the_byte(report: Report) -> None:
    first, again = figures_of(report.study.sections), figures_of(report.study.sections)
    assert first == again
    svg = next(figure.svg for figure in first if figure.name == "loss_2")
    ElementTree.fromstring(svg)
    for text in (
        "held-out loss (nats per token)",
        "step (completed updates)",
        "hidden 64",
        "wd2=0.05",
        "unigram",
    ):
        assert f">{text}<" in svg
    assert not re.search(r"20\d\d-\d\d-\d\d", svg), "a date would differ from day to day"


@pytest.mark.slow
def test_pictures_are_told_without_colour(store: Any) -> None:
    """The phase map carries words, the mechanism the clamp, the differences their mean and interval."""
    for index, (lr, hidden) in enumerate([(0.001, 64), (0.001, 128), (0.002, 64), (0.002, 128)]):
        store.run(f"a{index}", RECOVERS, lr=lr, model__hidden=hidden)
        store.run(f"b{index}", STUCK, lr=lr, model__hidden=hidden, wd2=0.05)
    records = store.root / "runs" / "a0" / "records.jsonl"
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    fields = {
        "ternary/absmean": 1e-4,
        "ternary/flip_rate": 0.5,
        "ternary/zero_frac": 0.3,
        "probe/entropy": 5.0,
    }
    records.write_text("".join(json.dumps(line | fields | {"ref/ln_vocab": 5.7}) + "\n" for line in lines))
    figures = {figure.name: figure for figure in figures_of(make_report([store.root]).study.sections)}
    assert sorted(figures) == ["loss_1", "loss_2", "mechanism_1", "paired_differences", "phase_map"]
    expected = {
        "phase_map": ("recovered", "stuck", "0.001", "0.002", "peak learning rate (per step)", "WD 0.1→0.05"),
        "mechanism_1": ("clamp 1e-5", "uniform, ln V", "1e-4", "(share of codes, one step)", "wd2=0.0"),
        "paired_differences": ("-3.00, n = 1", "hidden 128, wd2 0.05→0.0"),
    }
    for name, texts in expected.items():
        ElementTree.fromstring(figures[name].svg)
        assert figures[name].png.startswith(b"\x89PNG")
        for text in texts:
            assert f">{text}<" in figures[name].svg, name


def test_a_phase_map_of_mixed_cells_is_told_in_one_order(store: Any) -> None:
    healthy, late = {1: 8.0, 50: 5.0, 100: 4.0}, {1: 8.0, 50: 5.0, 100: 7.0}
    cell = {"stuck": STUCK, "healthy": healthy, "recovered": RECOVERS, "late collapse": late}
    for index, losses in enumerate([*cell.values(), STUCK]):
        store.run(f"a{index}", losses, seed=index)
    store.run("b0", state="failed", model__hidden=128)
    for index, losses in enumerate([*cell.values(), None]):
        store.run(f"c{index}", losses, seed=index, lr=0.002, state="finished" if losses else "failed")
    store.run("c5", seed=5, lr=0.002, state="running")
    figure = phase_map_of(make_report([store.root]).study.sections)
    assert figure is not None
    texts = re.findall(r"<text [^>]*>([^<]+)</text>", figure.svg)
    told = [text for text in texts if re.match("healthy|recovered|stuck|late|failed|no run|.* others", text)]
    assert told == [
        *("healthy 1", "recovered 1", "stuck 2", "late collapse 1"),
        *("healthy 1", "recovered 1", "stuck 1", "3 others"),
        "failed",
        "no run",
    ]


def test_every_column_of_a_phase_map_ends_with_its_learning_rates(store: Any) -> None:
    for index in range(10):
        store.run(f"a{index}", RECOVERS, lr=(0.001, 0.002)[index % 2], wd2=index // 2 / 100)
    figure = phase_map_of(make_report([store.root]).study.sections)
    assert figure is not None
    assert figure.svg.count("WD 0.1→") == 5
    places = re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>0\.001</text>', figure.svg)
    columns, heights = zip(*places, strict=True)
    assert len(set(columns)) == 3, "five panels stand as three and two"
    assert len(set(heights)) == 2


def test_a_panel_of_the_phase_map_names_settings_whole(store: Any) -> None:
    for heads in (1, 2):
        for lr in (0.001, 0.002):
            store.run(f"a{heads}{lr}", RECOVERS, lr=lr, model__num_heads=heads, optimizer__name="adamw")
    figure = phase_map_of(make_report([store.root]).study.sections)
    assert figure is not None
    assert figure.svg.count(">model.num_heads=1<") == figure.svg.count(">model.num_heads=2<") == 1


@pytest.mark.slow
def test_the_training_loss_is_a_figure_of_its_own(store: Any, tmp_path: Path) -> None:
    """Lines of the log, which forks as the records do; one damaged line is left out and nothing else."""
    trunk = {1: 9.0, 20: 8.5, 50: 8.0}
    store.run("aaaa", RECOVERS, log=trunk | {52: 7.0, 100: None})
    folder = store.run("bbbb", STUCK, wd2=0.05, log=trunk | {52: 7.5, 99: 7.25})
    text = (folder / "log.jsonl").read_bytes()
    (folder / "log.jsonl").write_bytes(text + b'{"step": 60, "log\n[1]\n{"step": "x"}\n\xff\n' + b"[" * 5000)
    store.run("cccc", RECOVERS, seed=1)
    report = make_report([store.root])
    arms = [arm for arm in report.study.arms if arm.run_id != "cccc"]
    assert [(line.steps, line.wd2) for line in lines_of(arms, "log/train_loss")] == [
        ([1, 20, 50], None),
        ([50, 52, 100], 0.0),
        ([50, 52, 99], 0.05),
    ]
    assert not report.summary.gaps
    assert not report.summary.remarks
    write_report(report, tmp_path)
    svg = (tmp_path / "figures" / "training_loss.svg").read_text()
    assert ">training loss (nats per token)<" in svg
    page = (tmp_path / "report.html").read_text()
    assert "Training loss against step" in page
    assert page.count("training loss (nats per token)</figcaption>") == 2, (
        "of no run without a log or such records"
    )
    (folder / "log.jsonl").unlink()
    (store.root / "runs" / "aaaa" / "log.jsonl").unlink()
    write_report(make_report([store.root]), tmp_path)
    assert not (tmp_path / "figures" / "training_loss.svg").exists()


def test_what_cannot_be_drawn_is_no_figure(store: Any) -> None:
    store.run("a", RECOVERS)
    sections = make_report([store.root]).study.sections
    assert phase_map_of(sections) is None, "one cell is no map"
    assert mechanism_of(sections[0], "") is None, "nothing of it is on record"


def test_figures_say_what_they_leave_out(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One size of the two, and one dot of the two seeds at hidden 64."""
    monkeypatch.setattr("bitnet_sweep.report.figures.curves.PANELS_A_ROW", 1)
    monkeypatch.setattr("bitnet_sweep.report.figures.differences.MOST_DOTS", 1)
    for hidden, seed, wd2 in ((64, 0, 0.0), (64, 0, 0.05), (64, 1, 0.0), (64, 1, 0.05), (128, 0, 0.0)):
        folder = store.run(f"{hidden}-{seed}-{wd2}", STUCK, model__hidden=hidden, seed=seed, wd2=wd2)
        records = folder / "records.jsonl"
        records.write_text(records.read_text().replace("train/loss_batch", "probe/entropy"))
    sections = make_report([store.root]).study.sections
    mechanism, differences = mechanism_of(sections[0], ""), differences_of(sections)
    assert mechanism is not None
    assert differences is not None
    assert mechanism.note.startswith("Shown: 4 of 5 runs (at most 1 sizes and 4 seeds of each arm)")
    assert differences.note.startswith("Shown: at most 1 dots of a row,")


def test_only_the_reports_own_stale_figures_are_deleted(store: Any, tmp_path: Path) -> None:
    store.run("a", RECOVERS)
    figures = tmp_path / "figures"
    figures.mkdir()
    for name in ("loss_7.svg", "tokens.png", "phase_map.svg", "loss.txt", "my_loss.svg", "loss_final.png"):
        (figures / name).write_text("old")
    write_report(make_report([store.root]), tmp_path)
    left = sorted(path.name for path in figures.iterdir())
    assert left == ["loss.png", "loss.svg", "loss.txt", "loss_final.png", "my_loss.svg"]


def test_a_row_names_its_runs_and_each_run_its_origin(store: Any, tmp_path: Path) -> None:
    store.run("aaaa", RECOVERS, status={"provenance": {"commit": "c0ffee", "versions": {"torch": "2.13.0"}}})
    store.run("bbbb", RECOVERS, seed=1)
    report = make_report([store.root])
    table_rows = report.table("results").parts[0].rows
    assert [row.run_ids for row in table_rows] == [("aaaa",), ("bbbb",), ("aaaa", "bbbb")]
    write_report(report, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert '<a href="#run-0">aaaa</a>' in page
    assert '<article class="run" id="run-0">' in page
    assert "run aaaa, commit c0ffee" in page
    rows = (tmp_path / "tables" / "provenance.csv").read_text().splitlines()
    assert rows[0].startswith("run_id,name,sweep,state,commit,command,versions,machine,")
    assert rows[1].startswith("aaaa,h64 wd2=0.0 s0,-,finished,c0ffee,unknown,torch 2.13.0,")


def test_a_citation_says_that_a_commit_is_not_known(store: Any) -> None:
    store.run("aaaa", RECOVERS)
    cited = citation("grid", make_report([store.root]).study.arms)
    assert cited == "grid, table results, h64 wd2=0.0 s0: run aaaa, commit unknown"


def test_provenance_says_what_a_run_was_begun_with(store: Any) -> None:
    store.run("aaaa", RECOVERS)
    earlier = [{"commit": "c0ffee", "versions": {"torch": "2.12"}}, {"threads": 2}]
    store.run("bbbb", RECOVERS, seed=1, status={"provenance": {"commit": "beef", "earlier": earlier}})
    told = make_report([store.root]).table("provenance").frame.set_index("run_id")["earlier"]
    assert dict(told) == {"aaaa": "-", "bbbb": "commit c0ffee, versions torch 2.12; threads 2"}


def test_the_policy_of_the_page_lets_its_own_script_run_and_no_other(out: Path) -> None:
    text = (out / "report.html").read_text()
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


@pytest.mark.slow
@pytest.mark.system
def test_a_sweep_of_100_runs_fits_in_three_megabytes(store: Any, tmp_path: Path) -> None:
    steps = [1, *range(5, 101, 5)]
    texts = [
        {"step": s, "prompt": f"p{i} " * 20, "continuation": "word " * 60}
        for s in (50, 100)
        for i in range(4)
    ]
    for number in range(100):
        hidden, seed, wd2 = 64 * (number // 2 % 4 + 1), number // 8, (number % 2) * 0.05
        losses: dict[int, float | None] = {step: 9.0 - step * 0.0371 * (wd2 == 0) for step in steps}
        folder = store.run(
            f"{number:016x}",
            losses,
            dict.fromkeys(steps, 7),
            samples=texts,
            wd2=wd2,
            seed=seed,
            model__hidden=hidden,
        )
        lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
        fields = {"ternary/absmean": 1e-4, "ternary/flip_rate": 0.512345678, "probe/entropy": 5.123456789}
        text = "".join(json.dumps(line | fields) + "\n" for line in lines)
        (folder / "records.jsonl").write_text(text)
    write_report(make_report([store.root]), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert 300_000 < len(page.encode()) < 3_000_000
    assert "Shown: 64 of 100 runs (at most 8 sizes and 8 seeds of each arm)" in page


@pytest.mark.slow
def test_writing_twice_gives_the_same_bytes(report: Report, out: Path, tmp_path: Path) -> None:
    for path in write_report(make_report([Path(report.study.arms[0].run.store)]), tmp_path):
        assert path.read_bytes() == (out / path.relative_to(tmp_path)).read_bytes(), path.name


@pytest.mark.slow
def test_importing_the_report_is_cheap() -> None:
    code = "import bitnet_sweep.report, sys; print(sorted({'torch', 'hydra', 'wandb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("value", "has_column"), [(None, False), ("whole", False), ("stripped", True)])
@pytest.mark.slow
def test_an_added_knob_has_a_column_once_a_run_uses_it(
    store: Any, tmp_path: Path, value: str | None, has_column: bool
) -> None:
    """Published tables stay as they are whatever knobs come later."""
    store.run("aaaa", RECOVERS)
    store.run("bbbb", RECOVERS, seed=2, **({"data__lines": value} if value else {}))
    write_report(make_report([store.root]), tmp_path)
    header = (tmp_path / "tables" / "provenance.csv").read_text().splitlines()[0].split(",")
    assert ("data.lines" in header) is has_column
    assert "data.targets" not in header
