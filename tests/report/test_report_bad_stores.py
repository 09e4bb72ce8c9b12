"""Whatever a store holds, the report is made, says what is wrong, and ``--check`` tells."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bitnet_sweep.report import make_report, write_report
from bitnet_sweep.report.__main__ import main
from bitnet_sweep.report.page import page
from bitnet_sweep.report.table import Table
from bitnet_sweep.store import Status, Store
from bitnet_sweep.store.asked_runs import AskedRun
from tests.report.conftest import as_read

HEALTHY: dict[int, float | None] = {1: 9.0, 10: 6.5, 50: 5.0, 60: 4.5, 100: 4.0}
UP_TO_60: dict[int, float | None] = {1: 9.0, 10: 6.5, 50: 5.0, 60: 4.5}


def nothing(folder: Path) -> None:
    """The run is whole."""


def half_a_line(folder: Path) -> None:
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"step": 100, "val/lo')


def broken_middle(folder: Path) -> None:
    lines = (folder / "records.jsonl").read_text().splitlines()
    (folder / "records.jsonl").write_text("\n".join([lines[0], "{oops", *lines[1:], ""]))


def binary_records(folder: Path) -> None:
    (folder / "records.jsonl").write_bytes(b"\xff\xfe\x00\n\x00\n")


def broken_config(folder: Path) -> None:
    (folder / "config.yaml").write_text("model: [unclosed\n")


def hostile_config(folder: Path) -> None:
    (folder / "config.yaml").write_text("!!python/object/apply:os.system ['true']\n")


def broken_status(folder: Path) -> None:
    (folder / "status.json").write_text('{"state": "fin')


def no_status(folder: Path) -> None:
    (folder / "status.json").unlink()


def no_records(folder: Path) -> None:
    (folder / "records.jsonl").unlink()


def newer_schema(folder: Path) -> None:
    (folder / "status.json").write_text(json.dumps({"schema": 2, "state": "finished"}))


BAD = [
    pytest.param(nothing, HEALTHY, "finished", None, id="whole"),
    pytest.param(half_a_line, HEALTHY, "finished", None, id="half-written line after the end"),
    pytest.param(half_a_line, UP_TO_60, "running", "running (records.jsonl ends in", id="half, running"),
    pytest.param(half_a_line, UP_TO_60, "finished", "no record at its last step 100", id="half, end lost"),
    pytest.param(nothing, UP_TO_60, "finished", "no record at its last step 100", id="end missing"),
    pytest.param(nothing, UP_TO_60, "running", "running", id="running"),
    pytest.param(nothing, UP_TO_60, "interrupted", "interrupted", id="interrupted"),
    pytest.param(nothing, UP_TO_60, "failed", "failed", id="failed"),
    pytest.param(broken_middle, HEALTHY, "finished", "unreadable (cannot be read: records", id="middle"),
    pytest.param(binary_records, HEALTHY, "finished", "unreadable (cannot be read: records", id="binary"),
    pytest.param(broken_config, HEALTHY, "finished", "unreadable (cannot be read: config.yaml", id="config"),
    pytest.param(hostile_config, HEALTHY, "finished", "unreadable (cannot be read: config.yaml", id="python"),
    pytest.param(broken_status, HEALTHY, "finished", "unreadable (cannot be read: status.json", id="status"),
    pytest.param(no_status, HEALTHY, "finished", "unknown (no status.json", id="no status"),
    pytest.param(no_records, HEALTHY, "finished", "finished, but no records", id="no records"),
    pytest.param(
        newer_schema, HEALTHY, "finished", "unreadable (was written by a newer version", id="schema"
    ),
]


@pytest.mark.parametrize(("spoil", "losses", "state", "reason"), BAD)
@pytest.mark.slow
@pytest.mark.few(5)
def test_one_bad_run_among_good_ones(
    store: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    losses: dict[int, float | None],
    state: str,
    reason: str | None,
) -> None:
    monkeypatch.setattr("bitnet_sweep.report.write.figures_of", lambda sections: [])
    store.run("good", HEALTHY)
    spoil(store.run("bad", losses, state=state, wd2=0.05))
    out = tmp_path / "out"
    assert main([str(store.root), "--out", str(out), "--check"]) == (0 if reason is None else 1)
    errors = capsys.readouterr().err
    if reason is None:
        assert errors == ""
        return
    assert errors.startswith("--check: bad (")
    assert reason in errors
    for name in ("report.md", "report.html"):
        assert reason.split(" (")[0] in (out / name).read_text()
    assert main([str(store.root), "--out", str(out)]) == 0, "without --check the report alone counts"


def test_a_half_written_line_after_a_whole_run_is_mentioned(store: Any) -> None:
    half_a_line(store.run("a", HEALTHY))
    summary = make_report([store.root]).summary
    assert summary.gaps == []
    assert any("half-written" in remark for remark in summary.remarks)


def test_texts_that_cannot_be_read_take_no_result_away(store: Any) -> None:
    folder = store.run("a", HEALTHY)
    (folder / "samples.jsonl").write_text("{oops\n{}\n")
    summary = make_report([store.root]).summary
    assert summary.counts == [("runs", 1), ("healthy", 1)]
    assert any("cannot be read: samples.jsonl" in remark for remark in summary.remarks)


def test_a_byte_that_is_no_utf_8_is_told_by_its_escape(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitnet_sweep.report.write.figures_of", lambda sections: [])
    command, texts = ["sweep", "a=caf\udce9"], [{"step": 50, "prompt": "\udce9", "continuation": "x"}]
    store.run("a", HEALTHY, samples=texts, status={"provenance": {"command": command}})
    store.sweep("grid", ["a"], command=command)
    write_report(make_report([store.root]), tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert html.count(r"a=caf\xe9") == 3, "of the sweep, of the run, and in what trains it again"
    assert r">\xe9<" in html
    assert r"a=caf\xe9" in (tmp_path / "tables" / "provenance.csv").read_text()


FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://evil","x")',
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "-SUM(A1)",
    "+text",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\uff1d1+1",
    "-0.5x(1)",
    "--5",
]
NUMBERS = [
    "-",
    "-0.5",
    "-1e-05",
    "+3",
    "-.5",
    "-inf",
    "1=1",
    "two\rlines",
    "",
]


@pytest.mark.parametrize("text", [*FORMULAS, *NUMBERS])
@pytest.mark.parametrize("name", ["results", "records"])
@pytest.mark.slow
def test_no_cell_is_a_formula_to_a_spreadsheet(
    text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers stay numbers, and the dash that stands for none stays one."""
    frame = pd.DataFrame({"a": [1.5, -2.5], text: [text, None]}).convert_dtypes()
    table = Table(name, "", "", data=frame)
    monkeypatch.setattr("bitnet_sweep.report.write.figures_of", lambda sections: [])
    monkeypatch.setattr("bitnet_sweep.report.write.TABLES", {name: lambda study: table})
    (tmp_path / "store").mkdir()
    report = make_report([tmp_path / "store"])
    write_report(report, tmp_path / "out")
    with (tmp_path / "out" / "tables" / f"{name}.csv").open(newline="") as file:
        header, first, second = csv.reader(file)
    expected = (f"'{text}" if text in FORMULAS else text).replace("\r", "\n")
    assert header == ["a", expected]
    assert first == ["1.5", expected]
    assert second == ["-2.5", ""]


def test_a_store_cannot_put_a_formula_into_any_table(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a run, its settings or its fields are called."""
    monkeypatch.setattr("bitnet_sweep.report.write.figures_of", lambda sections: [])
    evil = "=cmd|' C calc'!A0"
    command = {"provenance": {"command": [evil], "commit": evil, "host": evil}}
    for run_id, wd2 in ((evil, 0.0), (f"+{evil}", 0.05), (f"@{evil}", 0.1)):
        store.run(run_id, HEALTHY, wd2=wd2, scale=evil, status=command, model__weights=evil)
        with (store.root / "runs" / run_id / "records.jsonl").open("a") as file:
            file.write(json.dumps({"step": 100, "stage": 2, "val/loss": -0.5, evil: -1.5}) + "\n")
    write_report(make_report([store.root]), tmp_path)
    paths = list((tmp_path / "tables").glob("*.csv"))
    for path in paths:
        with path.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))], path.name
    records = pd.read_csv(tmp_path / "tables" / "records.csv")
    assert set(records["run_id"]) == {f"'{evil}", f"'+{evil}", f"'@{evil}"}
    assert records[f"'{evil}"].min() == -1.5


def test_cells_say_why_they_are_empty(store: Any) -> None:
    store.run("a", UP_TO_60, state="running")
    store.run("b", UP_TO_60, state="failed", model__hidden=128)
    store.run("c", {1: 9.0, 50: 5.0, 100: 4.0}, model__hidden=192)
    store.run("d", {1: 9.0, 10: 8.0, 50: 5.0, 60: None}, model__hidden=256)
    store.run("e", HEALTHY | {60: None}, model__hidden=320)
    csv = as_read(make_report([store.root]), "results")
    assert list(csv["loss 60"]) == ["4.50", "4.50", "missing", "diverged", "unknown"]
    assert list(csv["loss 100"]) == ["running", "failed", "4.00", "diverged", "4.00"]
    assert list(csv["outcome"]) == ["running", "failed", "healthy", "diverged", "healthy"]


def test_a_step_between_two_probes_is_not_said_to_be_missing(store: Any) -> None:
    store.run("a", {1: 9.0, 50: 5.0, 75: 4.5, 100: 4.0}, probe_every_steps=25)
    store.run("b", {1: 9.0, 50: 5.0, 100: 4.0}, probe_every_steps=25, seed=1)
    report = make_report([store.root])
    assert set(as_read(report, "results")["loss 60"]) == {"not probed"}
    assert report.summary.gaps == []


def test_a_step_behind_the_end_is_not_said_to_be_missing(store: Any) -> None:
    """The boundary lies so late that a tenth behind it there is no run."""
    store.run("a", {1: 9.0, 50: 8.5, 95: 8.0, 100: 4.0}, boundary=0.95)
    (arm,) = make_report([store.root]).study.arms
    assert arm.value(105, "val/loss") == "not probed"


def test_the_last_line_of_an_error_is_told(store: Any) -> None:
    error = "Traceback (most recent call last):\n  ...\nOSError: disk full"
    store.run("a", UP_TO_60, state="failed", status={"error": error})
    ((_, why),) = make_report([store.root]).summary.gaps
    assert why == "failed (OSError: disk full)"


def test_a_diverged_run_is_a_result(store: Any, tmp_path: Path) -> None:
    store.run("a", UP_TO_60 | {61: None})
    store.run("b", UP_TO_60, status={"outcome": "diverged"}, seed=1)
    report = make_report([store.root])
    assert report.summary.counts == [("runs", 2), ("diverged", 2)]
    assert report.summary.gaps == []
    assert as_read(report, "results")["outcome"].iloc[-1] == "diverged 2/2 [16-100%]"


def test_nan_in_a_record_is_no_number(store: Any) -> None:
    folder = store.run("a", HEALTHY)
    text = (folder / "records.jsonl").read_text().replace('"val/loss": 4.0', '"val/loss": NaN')
    (folder / "records.jsonl").write_text(text)
    report = make_report([store.root])
    assert list(as_read(report, "results")["outcome"]) == ["diverged"]
    assert pd.isna(report.table("records").frame["val/loss"].iloc[-1])


def test_a_step_recorded_twice_counts_once_and_is_told(store: Any) -> None:
    folder = store.run("a", HEALTHY)
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"step": 100, "val/loss": 3.0}\n{"val/loss": 1.0}\n')
    report = make_report([store.root])
    assert list(as_read(report, "results")["loss 100"]) == ["3.00"]
    told = " ".join(report.summary.remarks)
    assert "step 100 is recorded twice" in told
    assert "a record without a step was left out" in told


def test_numbers_that_yaml_reads_as_text_are_numbers(store: Any) -> None:
    """YAML 1.1 takes 1e-3 for a string; 0.001 and 1e-3 must not make two sections."""
    store.run("a", HEALTHY, lr="1e-3")
    store.run("b", HEALTHY, lr=0.001, seed=1)
    assert [section.label for section in make_report([store.root]).study.sections] == [""]


def test_a_minimal_config_makes_unknown_what_it_does_not_hold(store: Any) -> None:
    """The least that a config may say, written with dotted keys."""
    folder = store.run("a", {1: 9.0, 20: 5.0, 30: 7.0, 50: 8.0, 60: 6.5, 100: 4.0})
    (folder / "config.yaml").write_text(
        "scale: small\nlr: 0.0015\nwd1: 0.1\nwd2: 0.0\nseed: 0\nsteps: 100\nboundary: 0.5\n"
        "model.hidden: 64\nmodel.weights: ternary\noptimizer.name: adam_l2\n"
    )
    report = make_report([store.root])
    row = as_read(report, "results").iloc[0]
    assert (row["outcome"], row["collapse at"], row["recovery at"]) == ("recovered", "unknown", "100")
    sizes = as_read(report, "model_sizes").iloc[0]
    assert (sizes["Params"], sizes["Ternary"], sizes["Layers"]) == ("unknown", "unknown", "unknown")


def test_sizes_follow_from_the_least_that_tells_them(store: Any) -> None:
    """One block of h = 4, f = 5, V = 10, nothing ternary, tied: 40 + 4·16 + 3·4·5 + (8 + 12 + 5) + 4."""
    folder = store.run("a", HEALTHY)
    (folder / "config.yaml").write_text(
        "model: {hidden: 4, num_layers: 1, ffn: 5, tied: true, weights: full}\ntokenizer: {vocab_size: 10}\n"
    )
    sizes = as_read(make_report([store.root]), "model_sizes").iloc[0]
    assert (sizes["Params"], sizes["Ternary"], sizes["Embedding"]) == ("193", "0", "40")


def test_a_config_without_steps_still_makes_a_report(store: Any) -> None:
    folder = store.run("a", HEALTHY)
    (folder / "config.yaml").write_text("model: {hidden: 64}\n")
    row = as_read(make_report([store.root]), "results").iloc[0]
    assert (row["loss 1/10"], row["Stage 2→"], row["outcome"]) == ("unknown", "unknown", "unknown")


class TestMissing:
    """A sweep lists runs that no store holds."""

    def test_a_missing_run_takes_its_place_in_the_grid(self, store: Any) -> None:
        store.run("a", HEALTHY)
        store.run("b", HEALTHY, wd2=0.05)
        store.run("d", HEALTHY, wd2=0.05, model__hidden=128)
        overrides = ["model.hidden=64,128", "wd2=0.0,0.05"]
        store.sweep("grid", ["a", "b", "c", "d"], overrides=overrides)
        report = make_report([store.root])
        csv = as_read(report, "results")
        row = csv[csv["run_id"] == "c"].iloc[0]
        assert (row["Hidden Size"], row["Stage 2→"], row["loss 50"]) == ("128", "WD 0.1→0.0", "missing")
        assert row["outcome"] == "missing"
        assert report.summary.gaps == [("c (h128 wd2=0.0 s0)", "missing (no store holds it)")]
        contrast = as_read(report, "stage2_contrast")
        assert list(contrast["Pair"]) == ["fork", "missing"]

    def test_a_run_that_has_not_begun_has_its_name_and_its_trunks_error(self, store: Any) -> None:
        store.run("a", HEALTHY)
        asked = [
            AskedRun("b", "h64 wd2=0.1", ("t", "b"), (50, 100)),
            AskedRun("c", "h64 wd2=0.2", ("u", "c"), (50, 100)),
        ]
        runs = [{"run_id": "a", "name": "", "stage_ids": [], "stage_ends": []}]
        runs += [run.document() for run in asked]
        store.sweep("grid", ["a", "b", "c"], runs=runs)
        error = "Traceback ...\nOSError: no space left\n"
        Store(store.root).stage("u").write_status(Status("failed", ["u"], error=error))
        assert make_report([store.root]).summary.gaps == [
            ("b (h64 wd2=0.1)", "missing (no store holds it)"),
            ("c (h64 wd2=0.2)", "missing (a trunk before it failed: OSError: no space left)"),
        ]

    def test_where_the_grid_contradicts_a_run_nothing_is_placed(self, store: Any) -> None:
        store.run("a", HEALTHY, wd2=0.05)
        store.sweep("grid", ["a", "b"], overrides=["wd2=0.0,0.05"])
        report = make_report([store.root])
        assert list(as_read(report, "results")["run_id"]) == ["a"]
        assert [name.split(" ")[0] for name, _ in report.summary.gaps] == ["b"]

    @pytest.mark.parametrize(
        "overrides",
        [
            pytest.param(["wd2=0.0,0.05,0.1"], id="more points than runs"),
            pytest.param(["wd2=range(0,2)"], id="no plain list"),
            pytest.param(["experiment=one,two"], id="a setting that no config tells"),
            pytest.param([], id="none"),
        ],
    )
    def test_where_the_grid_does_not_tell_nothing_is_placed(self, store: Any, overrides: list[str]) -> None:
        store.run("a", HEALTHY)
        store.sweep("grid", ["a", "b"], overrides=overrides)
        report = make_report([store.root])
        assert list(as_read(report, "results")["run_id"]) == ["a"]
        assert len(report.summary.gaps) == 1

    def test_runs_outside_a_recorded_sweep_are_not_checked(self, store: Any, tmp_path: Path) -> None:
        store.run("a", HEALTHY)
        store.run("stray", UP_TO_60, state="failed", seed=5)
        store.sweep("grid", ["a"])
        assert main([str(store.root), "--out", str(tmp_path / "out"), "--check"]) == 0

    def test_a_failed_run_of_no_sweep_is_told_beside_whole_ones(self, store: Any) -> None:
        store.run("a", HEALTHY)
        store.run("stray", UP_TO_60, state="failed", seed=5, status={"error": "OSError: disk full"})
        store.sweep("grid", ["a"])
        report = make_report([store.root])
        assert "stray (h64 wd2=0.0 s5): failed (OSError: disk full)" in report.summary.remarks
        html = page(report.study, report.summary, [], [])
        assert "Every cell of the recorded sweeps is there and finished." in html

    def test_a_sweep_file_that_cannot_be_read_is_told(self, store: Any) -> None:
        store.run("a", HEALTHY)
        store.sweep("grid", ["a"])
        (store.root / "sweeps" / "grid.json").write_text('{"run_ids": ')
        assert any("sweep grid" in remark for remark in make_report([store.root]).summary.remarks)


class TestCommand:
    """The command's own errors: one line, exit 2."""

    def test_no_such_store(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        gone = tmp_path / "gone"
        assert main([str(gone), "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err == f"STORE={gone}: there is no such folder\n"
        assert not (tmp_path / "out").exists()

    def test_no_such_sweep(self, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        store.sweep("grid", [])
        assert main([str(store.root), "--out", str(tmp_path / "out"), "--sweep", "gird"]) == 2
        assert capsys.readouterr().err == "--sweep=gird: not recorded here; recorded: grid\n"

    def test_a_report_that_cannot_be_written(
        self, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("")
        assert main([str(store.root), "--out", str(tmp_path / "file" / "out")]) == 2
        assert capsys.readouterr().err.startswith(f"--out={tmp_path / 'file' / 'out'}: cannot be written")

    def test_an_empty_store(self, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "out"
        assert main([str(store.root), "--out", str(out), "--check", "--claims", "notes"]) == 1
        assert "the store holds no runs" in capsys.readouterr().err
        assert "The store holds no runs." in (out / "report.html").read_text()
        tables = {path.stem: pd.read_csv(path) for path in (out / "tables").glob("*.csv")}
        assert len(tables) == 12
        assert set(tables.pop("claims")["verdict"]) == {"not tested"}
        assert all(table.empty for table in tables.values()), "every table has its header even so"

    def test_an_empty_sweep_among_runs(self, store: Any, tmp_path: Path) -> None:
        store.run("a", HEALTHY)
        store.sweep("grid", [])
        assert main([str(store.root), "--out", str(tmp_path / "o"), "--sweep", "grid", "--check"]) == 1
