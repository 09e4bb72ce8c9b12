"""Every experiment: its grid composes, and its tables follow from the store beside them."""

import json
import re
import runpy
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from bitnet_sweep.app import config_folder
from bitnet_sweep.compose import Composer, sweep_settings
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.report import make_report
from bitnet_sweep.sweep.grid import make_grid, read_axes

ROOT = Path(__file__).parent.parent
OFTEN = {"001_small_stage2", "009_root_cause_seed"}
"""One study of each scale, whose figures `make test` draws again; `make test-system` draws all of them."""
STORES = sorted(path.parent for path in (ROOT / "experiments").glob("*/store"))
GRIDS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", GRIDS)
def test_grid_composes(name):
    """Every point of the grid can be trained, and there are as many as its first lines say."""
    path = config_folder() / "experiment" / f"{name}.yaml"
    parser = OverridesParser.create()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):

        def load(overrides):
            return compose("config", overrides=overrides)

        words = [f"experiment={name}"]
        params = OmegaConf.select(OmegaConf.load(path), "hydra.sweeper.params", default={})
        words += [f"{key}={values}" for key, values in params.items()]
        axes = read_axes(parser.parse_overrides(words), parser)
        settings = sweep_settings(axes, load)
        grid = make_grid(axes, settings, Composer(load, {"experiment", "optimizer"}.__contains__))
    counted = re.search(r"(\d+) (?:runs|cells)", path.read_text())
    assert counted is not None
    assert len(grid.points) == int(counted[1])
    assert {config.scale for _, config in grid.points} <= {"small", "seed", "notes"}
    assert settings.name == name
    ids = {stage_ids(config, fingerprint(config))[-1] for _, config in grid.points}
    register = ROOT / "experiments" / name / "store" / "sweeps" / f"{name}.json"
    if register.exists():  # a study whose prediction stands has no store yet
        recorded = json.loads(register.read_text())
        assert ids <= set(recorded["run_ids"]), "the study's command would train other runs"


def as_csv(frame):
    return frame.to_csv(index=False, lineterminator="\n")


def report_of(experiment):
    (sweep,) = (path.stem for path in (experiment / "store" / "sweeps").glob("*.json"))
    return make_report([experiment / "store"], sweep)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", STORES, ids=lambda path: path.name)
def test_tables_follow_from_the_store(experiment):
    report = report_of(experiment)
    assert report.study.gaps() == [], "report --check objects"
    made = {f"{table.name}.csv": as_csv(table.csv) for table in report.tables if table.name != "records"}
    kept = {path.name: path.read_text() for path in (experiment / "tables").iterdir()}
    for name in ("boundaries.csv", "contrasts.csv", "leaderboard.csv"):  # newer than most studies
        if name not in kept:
            made.pop(name)
    for extra in ("precision", "generation", "regrowth", "threshold", "factors", "codes", "dose"):
        if f"{extra}.csv" in kept:
            program = runpy.run_path(str(ROOT / "experiments" / f"{extra}.py"))
            store = experiment / "store"
            texts = program["tables"](store) if "tables" in program else {extra: program["table"](store)}
            made |= {f"{name}.csv": text for name, text in texts.items()}
    assert made == kept


@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(path, id=path.name, marks=[] if path.name in OFTEN else pytest.mark.system)
        for path in STORES
    ],
)
def test_figures_follow_from_the_store(experiment):
    made = {f"{figure.name}.svg": figure.svg for figure in report_of(experiment).figures}
    assert made == {path.name: path.read_text() for path in (experiment / "figures").iterdir()}


@pytest.mark.slow
def test_ledger_follows_from_all_stores():
    """claims.csv and the table of experiments/README.md are what ledger.py makes."""
    program = runpy.run_path(str(ROOT / "experiments" / "ledger.py"))
    claims = program["ledger"](program["stores_of"](ROOT / "experiments"))
    kept = (ROOT / "experiments" / "claims.csv").read_text()
    assert claims.to_csv(index=False, lineterminator="\n") == kept
    page = (ROOT / "experiments" / "README.md").read_text()
    assert program["insert"](page, program["as_markdown"](claims)) == page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "picture"),
    [("005_root_cause", "headline.svg"), ("009_root_cause_seed", "headline_seed.svg")],
    ids=["005", "009"],
)
def test_headline_follows_from_its_store(study, picture):
    program = runpy.run_path(str(ROOT / "experiments" / "headline.py"))
    drawn = program["headline"](ROOT / "experiments" / study / "store")
    assert drawn == (ROOT / "docs" / "img" / picture).read_text()


@pytest.mark.parametrize(
    ("name", "pair_misses", "mean_misses"),
    [("002_precision", {300}, {1300}), ("003_precision_again", {300, 400}, set())],
    ids=["002", "003"],
)
def test_precision_changes_no_outcome(name, pair_misses, mean_misses):
    """003 makes mixed the default; what the READMEs say of the probes that miss a criterion is true."""
    compare = runpy.run_path(str(ROOT / "experiments" / "precision.py"))
    rows = compare["compare"](ROOT / "experiments" / name / "store")
    assert [row["same_outcome"] for row in rows if "same_outcome" in row] == [5, 5]
    assert {row["step"] for row in rows if not row["median_within"]} == pair_misses
    assert {row["step"] for row in rows if not row["mean_within"]} == mean_misses
    assert {row["n"] for row in rows} == {5}


@pytest.mark.parametrize("experiment", STORES, ids=lambda path: path.name)
def test_no_tensors_and_a_readme(experiment):
    assert not [path for path in experiment.rglob("*") if path.suffix in {".safetensors", ".bin"}]
    readme = (experiment / "README.md").read_text()
    for needed in ("python -m bitnet_sweep", "commit", "Verdict", "Limits"):
        assert needed in readme, f"README.md lacks {needed!r}"
    commits = set(re.findall(r"\b[0-9a-f]{40}\b", readme))
    made_by = set(re.findall(r"\b[0-9a-f]{40}\b", (experiment / "tables" / "provenance.csv").read_text()))
    assert commits, "README.md names no commit"
    assert made_by <= commits, "README.md must name the commits that trained its runs"


@pytest.mark.slow
def test_what_the_pages_count_over_all_studies():
    """README.md and experiments/README.md: 66 of 88 first stages, 100 and 40 of 197 stuck runs."""
    runs = {arm.run_id: arm for arm in make_report([path / "store" for path in STORES[:12]]).study.arms}
    stuck = [arm for arm in runs.values() if arm.outcome.kind == "stuck"]
    ends = [float(arm.value(arm.steps, "val/accuracy")) for arm in stuck]
    assert (len(ends), sum(end > 0.10 for end in ends), sum(end > 0.15 for end in ends)) == (197, 100, 40)
    trunks = {
        arm.run.status["stage_ids"][0]: arm
        for arm in runs.values()
        if arm.run.config["optimizer.name"] == "adam_l2"
    }
    told = {
        trunk: [
            float(record["val/loss"] or 0) - float(record["ref/unigram_loss"] or 0)
            for record in arm.records
            if record["stage"] == 1
        ]
        for trunk, arm in trunks.items()
    }
    falls_and_rises = [
        any(heights[0] - low > 0.5 and max(heights[place:]) - low > 0.5 for place, low in enumerate(heights))
        for heights in told.values()
    ]
    assert (len(told), sum(falls_and_rises)) == (88, 66)
    assert min(min(heights) for heights in told.values()) >= 0
