"""A small made-up sweep with every table worked out by hand: 100 steps, boundary at 50, U = 6.0."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep.report import Report, make_report, write_report
from tests.report.conftest import as_read

ReadTable = Callable[[Path, str], list[dict[str, str]]]

TRUNK: dict[int, float | None] = {1: 9.0, 10: 7.0, 20: 5.0, 30: 7.0, 40: 7.5, 50: 8.0}
RECOVERS: dict[int, float | None] = TRUNK | {60: 6.0, 70: 5.0, 100: 4.0}
STUCK: dict[int, float | None] = TRUNK | {60: 8.4, 70: 8.4, 100: 7.0}
RECOVERS_MORE: dict[int, float | None] = TRUNK | {50: 10.0, 60: 5.0, 70: 5.0, 100: 3.0}
STUCK_MORE: dict[int, float | None] = TRUNK | {50: 10.0, 60: 10.0, 70: 9.0, 100: 9.0}
TOKENS = {1: 20, 10: 9, 20: 7, 30: 4, 40: 3, 50: 2, 60: 8, 70: 9, 100: 10}
FEW = TOKENS | {60: 3, 70: 2, 100: 2}


def fill(store: Any) -> None:
    """Two seeds at hidden 64, one at hidden 128; each seed forks into wd2 = 0.0 and 0.05."""
    store.run("a", RECOVERS, TOKENS)
    store.run("b", STUCK, FEW, wd2=0.05)
    store.run("c", RECOVERS_MORE, TOKENS | {60: 11}, seed=1)
    store.run("d", STUCK_MORE, FEW | {60: 2}, seed=1, wd2=0.05)
    store.run("e", RECOVERS, TOKENS, model__hidden=128)
    store.run("f", STUCK, FEW, model__hidden=128, wd2=0.05)
    store.sweep("grid", ["a", "b", "c", "d", "e", "f"])


@pytest.fixture(scope="module")
def report(new_store: Any) -> Report:
    store = new_store()
    fill(store)
    return make_report([store.root])


@pytest.fixture(scope="module")
def out(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(report, folder)
    return folder


def test_results(report: Report) -> None:
    steps = ("10", "20", "30", "40", "50", "60", "70", "100")
    rows = as_read(report, "results").to_dict("records")
    assert [
        (row["Hidden Size"], row["seed"], row["n"], row["Stage 2→"], *(row[f"loss {s}"] for s in steps))
        for row in rows
    ] == [
        ("64", "0", "", "WD 0.1→0.0", "7.00", "5.00", "7.00", "7.50", "8.00", "6.00", "5.00", "4.00"),
        ("64", "1", "", "WD 0.1→0.0", "7.00", "5.00", "7.00", "7.50", "10.00", "5.00", "5.00", "3.00"),
        ("64", "mean", "n=2", "WD 0.1→0.0", "7.00", "5.00", "7.00", "7.50", "9.00", "5.50", "5.00", "3.50"),
        ("64", "0", "", "WD 0.1→0.05", "7.00", "5.00", "7.00", "7.50", "8.00", "8.40", "8.40", "7.00"),
        ("64", "1", "", "WD 0.1→0.05", "7.00", "5.00", "7.00", "7.50", "10.00", "10.00", "9.00", "9.00"),
        ("64", "mean", "n=2", "WD 0.1→0.05", "7.00", "5.00", "7.00", "7.50", "9.00", "9.20", "8.70", "8.00"),
        ("128", "0", "n=1", "WD 0.1→0.0", "7.00", "5.00", "7.00", "7.50", "8.00", "6.00", "5.00", "4.00"),
        ("128", "0", "n=1", "WD 0.1→0.05", "7.00", "5.00", "7.00", "7.50", "8.00", "8.40", "8.40", "7.00"),
    ]
    assert [row["Step 60"] for row in rows] == ["8", "11", "9.5", "3", "2", "2.5", "8", "3"]
    assert [row["run_id"] for row in rows] == ["a", "c", "a c", "b", "d", "b d", "e", "f"]


def test_outcomes_with_collapse_and_recovery_steps(report: Report) -> None:
    """Of 2 out of 2, Clopper-Pearson's lower bound is 0.025^(1/2) = 0.158."""
    rows = as_read(report, "results").to_dict("records")
    assert [(row["outcome"], row["collapse at"], row["recovery at"]) for row in rows] == [
        ("recovered", "30", "70"),
        ("recovered", "30", "60"),
        ("recovered 2/2 [16-100%]", "30", "1 70, 1 60"),
        ("stuck", "30", "not by 100"),
        ("stuck", "30", "not by 100"),
        ("stuck 2/2 [16-100%]", "30", "not by 100"),
        ("recovered", "30", "70"),
        ("stuck", "30", "not by 100"),
    ]


def test_outcomes_are_shares_whether_or_not_they_end_at_unigram(store: Any) -> None:
    """U is 6.0. Of 3 out of 3, Clopper-Pearson's lower bound is 0.025^(1/3) = 0.292."""
    for seed, end in enumerate((4.0, 4.0, 5.95)):
        store.run(f"a{seed}", RECOVERS | {100: end}, seed=seed)
    outcomes = list(as_read(make_report([store.root]), "results")["outcome"])
    assert outcomes == ["recovered"] * 2 + ["recovered, at unigram", "recovered 3/3 [29-100%]; 1 at unigram"]


def test_marks_stand_beside_the_outcome_and_in_the_first_lines(store: Any, tmp_path: Path) -> None:
    """A record that does not have the measures leaves them unknown, and its outcome is shown as ever."""
    alive: dict[str, float] = {"ternary/zero_frac/a": 0.5, "blocks/loss_without": 6.0}
    for seed, (end, fields) in enumerate(
        [(4.0, alive), (4.0, alive | {"blocks/loss_without": 4.0, "ternary/zero_frac/a": 1.0}), (4.0, {})], 1
    ):
        path = store.run(f"a{seed}", RECOVERS | {100: end}, seed=seed) / "records.jsonl"
        *earlier, last = path.read_text().splitlines()
        path.write_text("\n".join([*earlier, json.dumps(json.loads(last) | fields)]) + "\n")
    report = make_report([store.root])
    assert list(as_read(report, "results")["outcome"]) == [
        "recovered",
        "recovered, hollow, partly dead",
        "recovered",
        "recovered 3/3 [29-100%]; 1 hollow, 1 partly dead",
    ]
    told = "Marks: 1 hollow, 1 partly dead; of 1 run it is unknown whether it is hollow or partly dead."
    assert report.summary.marks == told
    assert (
        report.summary.verdicts[0]
        .lines[0]
        .startswith("WD 0.1→0.0: recovered 3 of 3, hollow 1, partly dead 1;")
    )
    write_report(report, tmp_path / "out")
    assert told in (tmp_path / "out" / "report.md").read_text().splitlines()[:7]
    assert told in (tmp_path / "out" / "report.html").read_text()


def test_nothing_is_said_of_marks_where_no_run_has_an_outcome(store: Any) -> None:
    store.run("a", {10: 8.0}, state="running")
    assert make_report([store.root]).summary.marks == ""


@pytest.mark.parametrize(
    ("later", "told"),
    [
        pytest.param({60: 8.4, 70: 8.4}, "not by 70", id="above U"),
        pytest.param({60: 5.0, 70: 4.0}, "unknown", id="below U"),
        pytest.param({60: 5.0, 70: None}, "unknown", id="below U, then diverged"),
    ],
)
def test_a_recovery_that_may_be_under_way_is_not_denied(
    store: Any, later: dict[int, float | None], told: str
) -> None:
    store.run("a", TRUNK | later, state="running")
    assert list(as_read(make_report([store.root]), "results")["recovery at"]) == [told]


def test_loss_transition(report: Report) -> None:
    """Drops -2 and -5: mean -3.5, t(0.975, 1) = 12.706, standard error 1.5, so -3.5 ± 19.06."""
    rows = [list(row.values()) for row in as_read(report, "loss_transition").to_dict("records")]
    assert [row[3:] for row in rows] == [
        ["64", "0.0", "0", "", "8.00", "6.00", "-2.00", "-25.0%", ""],
        ["64", "0.0", "1", "", "10.00", "5.00", "-5.00", "-50.0%", ""],
        ["64", "0.0", "mean", "n=2", "9.00", "5.50", "-3.50", "-37.5%", "[-22.56, 15.56] (t, df = 1)"],
        ["64", "0.05", "0", "", "8.00", "8.40", "0.40", "5.0%", ""],
        ["64", "0.05", "1", "", "10.00", "10.00", "0.00", "0.0%", ""],
        ["64", "0.05", "mean", "n=2", "9.00", "9.20", "0.20", "2.5%", "[-2.34, 2.74] (t, df = 1)"],
        ["128", "0.0", "0", "n=1", "8.00", "6.00", "-2.00", "-25.0%", ""],
        ["128", "0.05", "0", "n=1", "8.00", "8.40", "0.40", "5.0%", ""],
    ]


def test_token_transition(report: Report) -> None:
    rows = as_read(report, "token_transition").to_dict("records")
    names = ["Tokens before", "Tokens after", "Recovery Factor"]
    assert [[row[name] for name in names] for row in rows] == [
        ["2", "8", "4.0x"],
        ["2", "11", "5.5x"],
        ["2", "9.5", "4.8x"],
        ["2", "3", "1.5x"],
        ["2", "2", "1.0x"],
        ["2", "2.5", "1.2x"],
        ["2", "8", "4.0x"],
        ["2", "3", "1.5x"],
    ]


def test_stage2_contrast(report: Report) -> None:
    """New minus old at the end: 4 - 7 and 3 - 9, mean -4.5; ± 12.706 · 1.5."""
    rows = as_read(report, "stage2_contrast").to_dict("records")
    names = ["Hidden Size", "seed", "n", "Loss (old)", "Loss (new)", "Difference", "Difference, 95%", "Pair"]
    assert [[row[name] for name in names] for row in rows] == [
        ["64", "0", "", "7.00", "4.00", "-3.00", "", "fork"],
        ["64", "1", "", "9.00", "3.00", "-6.00", "", "fork"],
        ["64", "mean", "n=2/2 pairs", "8.00", "3.50", "-4.50", "[-23.56, 14.56] (t, df = 1)", ""],
        ["128", "0", "n=1", "7.00", "4.00", "-3.00", "", "fork"],
    ]
    assert [(row["wd2 (old)"], row["wd2 (new)"]) for row in rows] == [("0.05", "0.0")] * 4
    first = rows[0]
    assert (first["Outcome (old)"], first["Outcome (new)"]) == ("stuck", "recovered")
    assert (first["Tokens (old)"], first["Tokens (new)"]) == ("2", "10")
    assert (first["old run"], first["new run"]) == ("b", "a")


def test_model_sizes(report: Report) -> None:
    """h = 64, f = 128, 2 blocks, V = 300: 2·(4·64² + 3·64·128) + 2·(5·64 + 128) + 64 + 2·300·64."""
    rows = as_read(report, "model_sizes").to_dict("records")
    assert [list(row.values())[:7] for row in rows] == [
        ["64", "2", "300", "121280", "81920", "38400", "-"],
        ["128", "2", "300", "406400", "327680", "76800", "-"],
    ]


def test_records_are_the_tidy_frame(out: Path, read_table: ReadTable) -> None:
    rows = read_table(out, "records")
    assert len(rows) == 6 * 9
    row = next(row for row in rows if row["run_id"] == "d" and row["step"] == "60")
    assert row["val/loss"] == "10"
    assert (row["model.hidden"], row["wd2"], row["seed"], row["state"]) == ("64", "0.05", "1", "finished")
    assert (row["probe/unique_tokens"], row["outcome"]) == ("2", "stuck")


def test_each_option_of_a_part_is_a_column(store: Any, tmp_path: Path, read_table: ReadTable) -> None:
    store.run("aaaa", RECOVERS, model__quantiser="trim", model__quantiser_options={"cut": 0.5, "wide": True})
    store.run("bbbb", RECOVERS, model__quantiser="trim", model__quantiser_options={"cut": 0.7, "wide": True})
    store.run("cccc", RECOVERS)
    write_report(make_report([store.root]), tmp_path)
    key = "model.quantiser_options.cut"
    records = read_table(tmp_path, "records")
    assert {(row["run_id"], row[key]) for row in records} == {("aaaa", "0.5"), ("bbbb", "0.7"), ("cccc", "")}
    rows = read_table(tmp_path, "provenance")
    assert {row["run_id"]: row[key] for row in rows} == {"aaaa": "0.5", "bbbb": "0.7", "cccc": "unknown"}
    assert make_report([store.root]).table("records").frame[key].dtype == "Float64"


def test_each_option_of_a_metric_is_a_column(store: Any, tmp_path: Path, read_table: ReadTable) -> None:
    own = {"metrics": ["margin"], "metric_versions": ["1"]}
    store.run("aaaa", RECOVERS, **own, metric_options={"margin": {"share": 0.25}})
    store.run("bbbb", RECOVERS, lr=1e-3)
    write_report(make_report([store.root]), tmp_path)
    for table, none in (("records", ""), ("provenance", "unknown")):
        rows = read_table(tmp_path, table)
        told = {(row["run_id"], row["metric_options.margin.share"]) for row in rows}
        assert told == {("aaaa", "0.25"), ("bbbb", none)}
        assert "metric_options.margin" not in rows[0]
    assert {row["factor"] for row in read_table(tmp_path, "contrasts")} == {"lr"}


@pytest.mark.parametrize("named", [True, False], ids=["named by its sweep", "named by nobody"])
@pytest.mark.slow
def test_provenance_and_records_join_by_run_id(
    store: Any, tmp_path: Path, read_table: ReadTable, named: bool
) -> None:
    """Both have the name, the sweeps and every setting of a run, whatever kind of value it is."""
    text, number = {"data__path": "=1+1", "track": {"tags": ["a", "b"]}}, 2**70
    store.run("aaaa", RECOVERS, **text)
    store.run("bbbb", STUCK, wd2=0.05, seed=number, model__tied=True, data__lines="stripped")
    store.run("cccc", RECOVERS, lr=1e-3)
    runs: list[dict[str, Any]] = [
        {"run_id": run_id, "name": f"h64 {run_id}", "stage_ids": [], "stage_ends": []}
        for run_id in ("aaaa", "bbbb")
    ]
    store.sweep("one", ["aaaa", "bbbb"], **({"runs": runs} if named else {}))
    store.sweep("two", ["bbbb"])
    write_report(make_report([store.root]), tmp_path)
    provenance = {row["run_id"]: row for row in read_table(tmp_path, "provenance")}
    records = read_table(tmp_path, "records")
    assert {row["sweep"] for row in records if row["run_id"] == "bbbb"} == {"one two"}
    assert [provenance[run_id]["sweep"] for run_id in ("aaaa", "bbbb", "cccc")] == ["one", "one two", "-"]
    assert provenance["aaaa"]["name"].startswith("h64 aaaa" if named else "h64 wd2=0.0 s0 [")
    settings = list(provenance["aaaa"])[list(provenance["aaaa"]).index("store") + 1 :]
    assert {"lr", "wd2", "seed", "data.path", "data.lines", "track.tags", "model.tied"} <= set(settings)
    none = ("unknown", "null", "")
    for row in records:
        run = provenance[row["run_id"]]
        assert row["name"] == run["name"]
        for name in settings:
            told, wanted = row[name], run[name]
            if told != wanted and not (told in none and wanted in none):
                assert told.lower() == wanted.lower() or float(told) == float(wanted), name
    assert {row["data.path"] for row in records if row["run_id"] == "aaaa"} == {"'=1+1"}


def test_a_field_that_is_called_like_a_setting_stays_the_records_own(
    store: Any, tmp_path: Path, read_table: ReadTable
) -> None:
    folder = store.run("aaaa", {1: 9.0})
    (folder / "records.jsonl").write_text('{"step": 1, "lr": 0.25, "name": 7}\n')
    make_report([store.root]).table("records")
    write_report(make_report([store.root]), tmp_path)
    (row,) = read_table(tmp_path, "records")
    assert (row["lr"], row["name"]) == ("0.25", "7")


def test_the_summary(report: Report) -> None:
    assert report.summary.counts == [("runs", 6), ("recovered", 3), ("stuck", 3)]
    assert report.summary.verdicts[0].lines == [
        "WD 0.1→0.0: recovered 3 of 3; loss -50.0% to -25.0% within a tenth of the run.",
        "WD 0.1→0.05: stuck 3 of 3; loss 0.0% to 5.0% within a tenth of the run.",
    ]
    (wd_0, tiles), _ = report.summary.verdicts[0].rows
    assert wd_0 == "WD 0.1→0.0"
    assert [(tile.text, tile.detail) for tile in tiles if tile] == [
        ("recovered 2/2", "8.00 → 4.00, 10.00 → 3.00"),
        ("recovered", "8.00 → 4.00"),
    ]
    assert report.summary.gaps == []


def test_a_mean_says_of_how_many_it_is(store: Any) -> None:
    store.run("a0", {1: 9.0}, state="running")
    for seed in (1, 2, 3, 4):
        store.run(f"a{seed}", RECOVERS, seed=seed)
    ((_, (tile,)),) = make_report([store.root]).summary.verdicts[0].rows
    assert tile is not None
    assert tile.detail == "mean 8.00 → 4.00 (4/5)"


def test_a_mean_cites_its_own_cell(report: Report) -> None:
    rows = report.table("results").rows
    assert [(row.of, " ".join(row.run_ids)) for row in rows] == [
        *(("run", "a"), ("run", "c"), ("mean", "a c"), ("run", "b"), ("run", "d"), ("mean", "b d")),
        *(("run", "e"), ("run", "f")),
    ]


def test_the_row_of_all_sizes_cites_its_own_two_decays(store: Any) -> None:
    """Six pairs of 0.05 and 0.0 have such a row; the single pairs with 0.1 have none."""
    for hidden in (64, 128):
        for seed in range(3):
            store.run(f"new{hidden}{seed}", RECOVERS, model__hidden=hidden, seed=seed)
            store.run(f"old{hidden}{seed}", STUCK, model__hidden=hidden, seed=seed, wd2=0.05)
    store.run("more", STUCK, model__hidden=64, seed=0, wd2=0.1)
    (row,) = [row for row in make_report([store.root]).table("stage2_contrast").rows if row.of == "all"]
    assert row.run_ids == tuple(
        f"{side}{h}{s}" for h in (64, 128) for s in range(3) for side in ("old", "new")
    )
    assert row["Difference"].words == "lower in 6, higher in 0, equal in 0"


def test_a_single_seed_shows_nothing_but_its_run(store: Any) -> None:
    store.run("a", RECOVERS, TOKENS)
    report = make_report([store.root])
    part = report.table("loss_transition").parts[0]
    assert part.headings == ["Model", "Loss at Step 50", "Loss at Step 60", "Drop", "% Improvement"]
    assert part.caption == "wd2 = 0.0, n = 1 (seed 0)"


SECTIONS = [
    pytest.param({"lr": 0.003}, ["lr=0.0015", "lr=0.003"], id="learning rates"),
    pytest.param(
        {"optimizer__name": "adamw"}, ["optimizer.name=adam_l2", "optimizer.name=adamw"], id="optimizers"
    ),
    pytest.param({"model__weights": "full"}, ["model.weights=full", "model.weights=ternary"], id="weights"),
    pytest.param({"scale": "seed"}, ["scale=seed", "scale=small"], id="scales"),
    pytest.param({"boundary": 0.3}, ["boundary=0.3", "boundary=0.5"], id="boundaries"),
    pytest.param({"steps": 200}, ["steps=100", "steps=200"], id="schedule lengths"),
    pytest.param({"model__ffn": 100}, ["model.ffn=1.5625 x hidden", "model.ffn=2 x hidden"], id="widths"),
    pytest.param({"model__tied": None}, ["model.tied=False", "model.tied=null"], id="null in one"),
    pytest.param(
        {"model__activations": "int8"},
        ["model.activations=int8", "model.activations=unknown"],
        id="absent in one",
    ),
]


@pytest.mark.parametrize(("change", "labels"), SECTIONS)
def test_whatever_else_differs_makes_a_section_and_is_never_averaged(
    store: Any, change: dict[str, Any], labels: list[str]
) -> None:
    store.run("a", RECOVERS, TOKENS)
    store.run("b", RECOVERS, TOKENS, seed=1, **change)
    report = make_report([store.root])
    assert [section.label for section in report.study.sections] == labels
    assert set(as_read(report, "results")["n"]) == {"n=1"}
    assert any("never averaged" in remark for remark in report.summary.remarks)


@pytest.mark.parametrize(
    ("runs", "sections"),
    [
        pytest.param({"a": (0, 6.0), "b": (1, 4.5)}, {"4.5": ["b"], "6": ["a"]}, id="edited between seeds"),
        pytest.param(
            {"b0": (0, 6.0), "a1": (1, 6.0), "a0": (0, 4.5), "b1": (1, 4.5)},
            {"4.5": ["a0", "b1"], "6": ["b0", "a1"]},
            id="a sweep repeated after the edit",
        ),
        pytest.param(
            {"a": (0, 6.0), "b": (1, 4.5), "c": (2, 4.5), "d": (3, None)},
            {"4.5": ["b", "c", "d"], "6": ["a"]},
            id="what tells no text goes with most",
        ),
    ],
)
def test_unlike_texts_of_one_name_make_sections(
    store: Any, runs: dict[str, tuple[int, float | None]], sections: dict[str, list[str]]
) -> None:
    """By seed and unigram loss."""
    for run_id, (seed, unigram) in runs.items():
        store.run(run_id, RECOVERS, TOKENS, seed=seed, unigram=unigram)
    found = make_report([store.root]).study.sections
    assert {section.label: [arm.run_id for arm in section.arms] for section in found} == {
        f"ref/unigram_loss={text}": run_ids for text, run_ids in sections.items()
    }


def test_stages_by_hand_are_told_apart_in_a_word(store: Any) -> None:
    for run_id, rate in (("a", 1e-3), ("b", 2e-3)):
        halves = [{"steps": 50, "weight_decay": d, "lr": [{"step": 0, "lr": rate}]} for d in (0.1, 0.0)]
        store.run(run_id, RECOVERS, TOKENS, stages=halves)
    labels = [section.label for section in make_report([store.root]).study.sections]
    assert len(set(labels)) == 2
    assert all(re.fullmatch(r"stages=#[0-9a-f]{6}", label) for label in labels)


def test_what_cannot_change_a_result_makes_no_section(store: Any) -> None:
    store.run("a", RECOVERS, TOKENS, threads=1, store="x", checkpoint_every_steps=5)
    store.run("b", RECOVERS, TOKENS, seed=1, threads=2, store="y", checkpoint_every_steps=7)
    assert [section.label for section in make_report([store.root]).study.sections] == [""]


def test_two_runs_of_the_same_settings_are_no_replicates(store: Any) -> None:
    store.run("a", RECOVERS, TOKENS)
    store.run("b", STUCK, TOKENS)
    report = make_report([store.root])
    assert [section.label for section in report.study.sections] == ["copy=1", "copy=2"]
    assert list(as_read(report, "results")["n"]) == ["n=1", "n=1"]


def test_schedules_of_several_lengths_share_columns_by_tenths(store: Any) -> None:
    store.run("a", {10: 7.0, 100: 4.0})
    store.run("b", {20: 6.5, 200: 3.0}, steps=200)
    report = make_report([store.root])
    csv = as_read(report, "results")
    assert list(csv["loss 1/10"]) == ["7.00", "6.50"]
    assert list(csv["loss 10/10"]) == ["4.00", "3.00"]
    assert "Step 200" in report.table("results").parts[4].headings


def test_a_boundary_off_the_published_steps_is_told_with_its_step(store: Any) -> None:
    store.run("a", RECOVERS, TOKENS, boundary=0.35)
    row = as_read(make_report([store.root]), "results").iloc[0]
    names = list(row.index)
    assert row["Stage 2→"] == "WD 0.1→0.0 at 35"
    assert names.index("Step 30") < names.index("Stage 2→") < names.index("Step 40")


def test_three_stages_change_decay_where_their_config_says(store: Any) -> None:
    stages = [
        {"steps": 40, "weight_decay": 0.1, "lr": [{"step": 0, "lr": 0.0}, {"step": 40, "lr": 0.001}]},
        {"steps": 20, "weight_decay": 0.1, "lr": [{"step": 0, "lr": 0.001}, {"step": 20, "lr": 0.0005}]},
        {"steps": 40, "weight_decay": 0.0, "lr": [{"step": 0, "lr": 0.0005}, {"step": 40, "lr": 0.0}]},
    ]
    losses: dict[int, float | None] = {50: 5.0, 60: 8.0, 70: 7.0, 100: 4.0}
    store.run("a", losses, boundary=0.6, stages=stages)
    other = [*stages[:2], stages[2] | {"weight_decay": 0.05}]
    store.run("b", losses, boundary=0.6, stages=other, wd2=0.05)
    report = make_report([store.root])
    assert [section.label for section in report.study.sections] == [""]
    assert list(as_read(report, "results")["Stage 3→"]) == ["WD 0.1→0.0", "WD 0.1→0.05"]
    assert list(as_read(report, "loss_transition")["Loss before"]) == ["8.00", "8.00"]
    assert list(as_read(report, "results")["outcome"]) == ["recovered", "recovered"]


def test_a_decay_that_never_changes_keeps_its_nominal_boundary(store: Any) -> None:
    store.run("a", STUCK, FEW)
    store.run("b", STUCK, FEW, wd2=0.1)
    report = make_report([store.root])
    assert [section.label for section in report.study.sections] == [""]
    assert list(as_read(report, "results")["Stage 2→"]) == ["WD 0.1→0.0", "WD 0.1→0.1"]


def test_several_stores_merge_by_run_id_and_the_copy_that_got_further_counts(
    store: Any, other_store: Any
) -> None:
    store.run("a", {1: 9.0}, state="running")
    store.run("b", STUCK, wd2=0.05)
    other_store.run("a", RECOVERS)
    other_store.sweep("grid", ["a", "b"])
    report = make_report([store.root, other_store.root])
    assert report.summary.counts == [("runs", 2), ("recovered", 1), ("stuck", 1)]
    assert report.summary.gaps == []


def test_one_sweep_of_several(store: Any) -> None:
    store.run("a", RECOVERS)
    store.run("b", STUCK, wd2=0.05)
    store.sweep("first", ["a"])
    store.sweep("second", ["b"])
    report = make_report([store.root], "second")
    assert list(as_read(report, "results")["run_id"]) == ["b"]
    assert report.summary.name == "second"
