"""The studies' own tables, from stores of made-up runs whose verdicts are plain."""

import json

import pytest

from bitnet_sweep.config import flatten
from bitnet_sweep.files import parse_yaml
from bitnet_sweep.identity import LARGE_SEED
from bitnet_sweep.store import opened
from tests.report.conftest import StoreWriter
from tests.studies import EXPERIMENTS, STORE, STUDIES, program

CODES, FACTORS, GENERATION = map(program, ("codes", "factors", "generation"))
THRESHOLD = program("threshold", EXPERIMENTS / "007_threshold")
DOSE = program("dose", EXPERIMENTS / "014_dose")
MODEL = {"optimizer__decay": "all", "model__activations": "int8"}
COUPLED, DECOUPLED = {"optimizer__name": "adam_l2"}, {"optimizer__name": "adamw"}
pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return StoreWriter(tmp_path / "store")


def run(store, name, at_boundary, at_end, more=None, **config):
    """A run of 100 steps, boundary at 50, unigram loss 6.0; ``more`` fields stand in its last record."""
    losses = {10: 9.0, 50: at_boundary, 60: at_end, 80: at_end, 100: at_end}
    path = store.run(name, losses, **MODEL, **config) / "records.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], json.dumps(json.loads(lines[-1]) | (more or {}))]) + "\n")


def collapsing(store, seeds):
    """Coupled decay collapses, and its end lets the run recover; decoupled decay does nothing."""
    for seed in seeds:
        run(store, f"c0{seed}", 8.0, 5.0, **COUPLED, wd2=0.0, seed=seed)
        run(store, f"c5{seed}", 8.0, 8.5, **COUPLED, wd2=0.05, seed=seed)
        run(store, f"d0{seed}", 4.0, 3.0, **DECOUPLED, wd2=0.0, seed=seed)
        run(store, f"d5{seed}", 4.0, 3.5, **DECOUPLED, wd2=0.05, seed=seed)


def factors(store):
    arms = FACTORS["make_report"]([store.root]).study.arms
    told = ("optimizer.name=", "wd2=")
    return {
        (
            row["at"],
            row["factor"],
            *(word.split("=")[1] for word in row["held"].split() if word.startswith(told)),
        ): row
        for row in FACTORS["rows_of"](arms)
    }


def test_factors_are_judged_one_at_a_time(store):
    collapsing(store, (1, 2, 3))
    rows = factors(store)
    assert {key: row["verdict"] for key, row in rows.items()} == {
        ("boundary", "optimizer.name"): "makes the collapse",
        ("end", "optimizer.name", "0.0"): "nothing to recover from",
        ("end", "optimizer.name", "0.05"): "nothing to recover from",
        ("end", "wd2", "adam_l2"): "makes the recovery",
        ("end", "wd2", "adamw"): "nothing to recover from",
    }
    row = rows["end", "wd2", "adam_l2"]
    assert (row["change"], row["n"], row["crossed"]) == ("0.0 to 0.05", "3 of 3", 3)
    assert (row["mean_loss_before"], row["mean_loss_after"], row["unigram_loss"]) == (
        "5.000",
        "8.500",
        "6.000",
    )


def test_two_seeds_judge_no_factor(store):
    collapsing(store, (1, 2))
    assert {row["verdict"] for row in factors(store).values()} == {"too few seeds"}


@pytest.mark.parametrize(
    ("ends", "crossed"),
    [pytest.param((6.5, 8.5), 3, id="in some seeds"), pytest.param((8.5, 5.0), 4, id="both ways")],
)
def test_a_factor_that_does_not_work_alike_in_every_seed_says_so(store, ends, crossed):
    collapsing(store, (1, 2, 3))
    run(store, "c04", 8.0, ends[0], **COUPLED, wd2=0.0, seed=4)
    run(store, "c54", 8.0, ends[1], **COUPLED, wd2=0.05, seed=4)
    row = factors(store)["end", "wd2", "adam_l2"]
    assert (row["verdict"], row["crossed"], row["n"]) == ("in some seeds", crossed, "4 of 4")


def test_a_factor_that_does_nothing_wants_every_seed(store):
    for seed in (1, 2, 3, 4):
        run(store, f"c0{seed}", 8.0, 8.4, **COUPLED, wd2=0.0, seed=seed)
        run(store, f"c5{seed}", 8.0, 8.5 if seed < 4 else None, **COUPLED, wd2=0.05, seed=seed)
    row = factors(store)["end", "wd2", "adam_l2"]
    assert (row["verdict"], row["crossed"], row["n"]) == ("undecided", 0, "3 of 4")


def test_a_pair_without_a_loss_keeps_a_factor_from_every_seed(store):
    """A fourth run diverged: it is counted, and nothing is said of every seed."""
    collapsing(store, (1, 2, 3))
    run(store, "c04", 8.0, 5.0, **COUPLED, wd2=0.0, seed=4)
    run(store, "c54", 8.0, None, **COUPLED, wd2=0.05, seed=4)
    row = factors(store)["end", "wd2", "adam_l2"]
    assert (row["verdict"], row["crossed"], row["n"]) == ("in some seeds", 3, "3 of 4")


def test_a_store_that_varies_more_than_the_factors_is_refused(store):
    for rate in (0.0015, 0.0005):
        for wd2 in (0.0, 0.05):
            run(store, f"{rate}-{wd2}", 8.0, 5.0, **COUPLED, wd2=wd2, seed=1, lr=rate)
    with pytest.raises(ValueError, match="varies more than the factors"):
        factors(store)


def writing(store, differences, measure="sample/seq_rep_4"):
    """Recovered and healthy runs by seed, which differ so in one measure."""
    for seed, difference in enumerate(differences, start=1):
        run(store, f"c{seed}", 8.0, 5.0, {measure: 0.5 + difference}, **COUPLED, wd2=0.0, seed=seed)
        run(store, f"d{seed}", 4.0, 3.0, {measure: 0.5}, **DECOUPLED, wd2=0.0, seed=seed)
    return {row["measure"]: row for row in GENERATION["compare"](store.root)}


@pytest.mark.parametrize(
    ("measure", "differences", "verdict"),
    [
        ("sample/seq_rep_4", [0.01, 0.02, 0.03], "as well"),
        ("sample/seq_rep_4", [0.29, 0.30, 0.31], "worse"),
        ("sample/seq_rep_4", [-0.29, -0.30, -0.31], "as well"),
        ("sample/seq_rep_4", [-0.20, 0.30, 0.05], "undecided"),
        ("sample/seq_rep_4", [0.30, 0.31], "too few pairs"),
        ("sample/distinct_2", [-0.29, -0.30, -0.31], "worse"),
        ("sample/distinct_2", [0.29, 0.30, 0.31], "as well"),
    ],
)
def test_writing_is_judged_on_the_worse_side(store, measure, differences, verdict):
    rows = writing(store, differences, measure)
    assert rows[measure]["verdict"] == verdict
    assert rows["val/loss"]["mean_difference"] == "+2.000"


def test_the_interval_of_a_difference(store):
    """Mean 0.02, standard error 0.01 / sqrt(3), and 4.303 of them with two degrees of freedom."""
    row = writing(store, [0.01, 0.02, 0.03])["sample/seq_rep_4"]
    assert (row["mean_difference"], row["interval"]) == ("+0.020", "-0.005 to +0.045")


def test_a_run_that_did_not_recover_is_counted_and_not_compared(store):
    writing(store, [0.01, 0.02, 0.03])
    run(store, "c4", 8.0, 8.5, **COUPLED, wd2=0.0, seed=4)
    run(store, "d4", 4.0, 3.0, **DECOUPLED, wd2=0.0, seed=4)
    rows = {row["measure"]: row for row in GENERATION["compare"](store.root)}
    assert rows["val/loss"]["n"] == "3 of 4"


def test_a_second_pair_of_a_seed_is_refused(store):
    for rate in (0.0015, 0.0005):
        run(store, f"c{rate}", 8.0, 5.0, **COUPLED, wd2=0.0, seed=1, lr=rate)
        run(store, f"d{rate}", 4.0, 3.0, **DECOUPLED, wd2=0.0, seed=1, lr=rate)
    with pytest.raises(ValueError, match="two pairs of seed 1"):
        GENERATION["compare"](store.root)


@pytest.mark.parametrize(("both", "n"), [(True, 2), (False, "1 of 2")])
def test_a_mean_of_codes_says_of_how_many_runs_it_is(store, both, n):
    codes = dict.fromkeys((f"ternary/{field}" for field in CODES["FIELDS"]), 0.5)
    run(store, "a", 8.0, 5.0, codes, **COUPLED, seed=1)
    run(store, "b", 8.0, 5.0, codes if both else {}, **COUPLED, seed=2)
    rows = CODES["rows_of"](CODES["make_report"]([store.root]).study.arms)
    (end,) = (row for row in rows if row["at"] == "end")
    assert (end["n"], end["flip_rate"]) == (n, "0.5000")


def test_thresholds_beside_the_law(tmp_path):
    """At hidden 256: 2 * 4096 * 256 embeddings and head, 4 * 655,360 in layers, 25 gains or so."""
    cells = [
        {
            "overrides": ["model.hidden=256", "lr=0.0015", "seed=1"],
            "verdict": "found",
            "interval": [0.006, 0.008],
            "probes": [{}, {}, {}],
        },
        {
            "overrides": ["model.hidden=256", "lr=0.0005", "seed=2"],
            "verdict": "recovers everywhere",
            "interval": None,
            "probes": [{}],
        },
    ]
    (tmp_path / "store.json").write_text("{}")
    (tmp_path / "bisections").mkdir()
    (tmp_path / "bisections" / "s.json").write_text(json.dumps({"cells": cells}))
    found, without = THRESHOLD["rows_of"]({"cells": cells})
    law = (256 / (2 * 4096 * 256 + 4 * 655_360)) ** 0.5
    assert float(found["predicted_clipped"]) == pytest.approx(law, rel=2e-3)
    assert float(found["predicted_collapsed"]) == pytest.approx(0.05 * law, rel=2e-2)
    assert (found["middle"], found["probes"]) == ("0.00700", 3)
    assert float(found["over_clipped"]) == pytest.approx(0.007 / law, abs=0.006)
    assert (without["verdict"], without["middle"], without["over_clipped"]) == ("recovers everywhere", "", "")
    tables = THRESHOLD["tables"](tmp_path)
    assert {name: text.count("\n") for name, text in tables.items()} == {"threshold": 3, "threshold_means": 3}


def test_thresholds_over_the_seeds():
    def cell(seed, middle):
        return {
            "overrides": ["model.hidden=512", "lr=0.0005", f"seed={seed}"],
            "verdict": "found" if middle else "at both ends",
            "interval": [middle - 1e-4, middle + 1e-4] if middle else None,
            "probes": [],
        }

    law = THRESHOLD["predicted"](512, 1.0)
    cells = [cell(1, 0.004), cell(2, 0.008), cell(3, None)]
    (row,) = THRESHOLD["means_of"](THRESHOLD["rows_of"]({"cells": cells}))
    assert (row["n"], row["mean_middle"], row["verdicts"]) == ("2 of 3", "0.00600", "found, at both ends")
    assert row["over_clipped"] == f"{0.004 / law:.2f} to {0.008 / law:.2f}"
    (nowhere,) = THRESHOLD["means_of"](THRESHOLD["rows_of"]({"cells": [cell(1, None)]}))
    assert (nowhere["n"], nowhere["mean_middle"], nowhere["over_clipped"]) == ("0 of 1", "", "")


def test_publishing_replaces_what_is_there_only_by_something_whole(store, tmp_path):
    collapsing(store, (1,))
    (store.root / "runs" / "c01" / "final.safetensors").write_bytes(b"")
    store.sweep("s", ["c01", "c51", "never-begun"])
    (store.root / "store.json").write_text("{}")
    publish = program("publish")["publish"]
    target = tmp_path / "experiments" / "001_s"
    publish(store.root, "s", target)

    def published():
        files = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*.*")}
        del files["tables/provenance.csv"]  # names the folder that was read, as these configs name no store
        return files

    kept = published()
    assert {STORE, "tables/results.csv"} <= kept.keys()
    with opened(target / STORE) as archived:
        names = {path.relative_to(archived).as_posix() for path in archived.rglob("*") if path.is_file()}
        for name in names:
            assert (archived / name).read_bytes() == (store.root / name).read_bytes()
    runs = {f"runs/{run}/{name}" for run in ("c01", "c51") for name in publish.__globals__["KEPT"]}
    assert names == {"store.json", "sweeps/s.json", *runs}
    assert "tables/records.csv" not in kept
    assert {path.name for path in target.iterdir()} == {STORE, "tables"}, "no README shows a figure"
    with pytest.raises(FileNotFoundError):
        publish(store.root, "misspelt", target)
    publish(store.root, "s", target)
    assert published() == kept


def test_figures_are_published_that_the_readme_shows(store, tmp_path):
    """Those of an earlier README go, and so does a file that was put there by hand."""
    collapsing(store, (1,))
    store.sweep("s", ["c01", "c51"])
    (store.root / "store.json").write_text("{}")
    readme = tmp_path / "README.md"
    readme.write_text(
        "![one](figures/loss.svg) and [two](figures/paired_differences.svg), not figures/mechanism.svg"
    )
    publish = program("publish")["publish"]
    publish(store.root, "s", tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"loss.svg", "paired_differences.svg"}
    (tmp_path / "figures" / "by_hand.svg").write_text("")
    readme.write_text("![one](figures/loss.svg)")
    publish(store.root, "s", tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"loss.svg"}
    readme.write_text("none")
    publish(store.root, "s", tmp_path)
    assert not (tmp_path / "figures").exists()


WRITTEN_ALONE = ("stages", "boundary", "schedule.lr_bend_from", "schedule.lr_bend_to", "schedule.lr_final")
"""Fractions such as 2/3, which no grid held: only those of grids were once cut to 12 digits."""


@pytest.mark.system
def test_no_published_config_holds_a_number_that_was_read_or_written_wrongly():
    """Seeds that a float would cut, signed zeros, more digits than a sweep once took, one input column."""
    published: dict[tuple[str, str], bytes] = {}
    for study in STUDIES:
        with opened(study / STORE) as store:
            found = sorted(store.glob("runs/*/config.yaml"))
            published |= {(study.name, path.parent.name): path.read_bytes() for path in found}
    assert len(published) > 400
    for path, text in published.items():
        config = flatten(parse_yaml(text))
        assert 0 <= config["seed"] < LARGE_SEED < 2**53, path
        assert min(config["model.hidden"], config["model.ffn"] or 32) >= 32, path
        for key, value in config.items():
            assert "-0.0" not in str(value).replace("e-0", ""), (path, key)
            if isinstance(value, int | float) and key not in WRITTEN_ALONE:
                assert value == float(f"{value:.12g}"), (path, key)


@pytest.mark.parametrize(
    ("data", "are_kept"), [("world_factbook", True), ("text", False), ("wikitext2", False), (None, False)]
)
def test_samples_are_published_of_free_texts_alone(store, tmp_path, data, are_kept):
    run(store, "a", 8.0, 5.0, **COUPLED, wd2=0.0, seed=1, data__name=data)
    (store.root / "runs" / "a" / "samples.jsonl").write_text('{"prompt": "a secret"}\n')
    store.sweep("s", ["a"])
    (store.root / "store.json").write_text("{}")
    target = tmp_path / "experiments" / "001_s"
    program("publish")["publish"](store.root, "s", target)
    with opened(target / STORE) as archived:
        kept = {path.name for path in (archived / "runs" / "a").iterdir()}
        texts = [path.read_text() for folder in (archived, target) for path in folder.rglob("*.[cjy]*")]
    assert kept == {"config.yaml", "status.json", "records.jsonl"} | (
        {"samples.jsonl"} if are_kept else set()
    )
    assert any("a secret" in text for text in texts) is are_kept


def test_doses_by_hand():
    """lr 0.01: decoupled 0.5 takes 0.005; coupled 0.1 of a weight of 0.2 beside a gradient of 0.03 0.02."""
    shrinkage = DOSE["shrinkage"]
    assert shrinkage("adamw", 0.01, 0.5, 0.03, 0.2) == pytest.approx(0.005)
    assert shrinkage("adam_l2", 0.01, 0.1, 0.03, 0.2) == pytest.approx(0.02)
    assert shrinkage("adam_l2", 0.01, 0.0, 0.03, 0.2) == 0.0
    assert shrinkage("adam_l2", 0.01, 1e6, 0.03, 0.2) == pytest.approx(0.01 / 0.2, rel=1e-3)


def test_doses_of_runs_from_a_real_store():
    """001: hidden 256 has 4,726,016 parameters and clips to 1, so g is 1 over their root."""
    header, *rows = DOSE["table"](EXPERIMENTS / "001_small_stage2" / STORE).splitlines()
    first = dict(zip(header.split(","), rows[0].split(","), strict=True))
    assert len(rows) == 16
    assert float(first["g"]) == pytest.approx(4_726_016**-0.5, rel=1e-2)
    assert (first["optimizer"], first["wd1"], first["step"]) == ("adam_l2", "0.1", "100")
    assert first["loss_at_boundary"] == "8.290"
