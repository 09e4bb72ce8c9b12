"""Every experiment: its grid composes, and its tables follow from the store beside them."""

import json
import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from bitnet_sweep.app import config_folder
from bitnet_sweep.compose import Composer, sweep_settings
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.report import make_report
from bitnet_sweep.store import opened
from bitnet_sweep.sweep.grid import make_grid, read_axes
from tests.pictures import assert_same_picture
from tests.studies import EXPERIMENTS, ROOT, STORE, STUDIES, extra_tables, program

PUBLISH = program("publish")
GRIDS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.system
@pytest.mark.few(7)
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
    if EXPERIMENTS / name in STUDIES:  # a study whose prediction stands has no store yet
        with opened(EXPERIMENTS / name / STORE) as store:
            recorded = json.loads((store / "sweeps" / f"{name}.json").read_text())
            trained = OmegaConf.load(next(store.glob("runs/*/config.yaml")))
        if OmegaConf.select(trained, "data.name") == "text":  # 013: the hub's text cannot be had here
            assert "data=text" in (EXPERIMENTS / name / "README.md").read_text()
        else:
            assert ids <= set(recorded["run_ids"]), "the study's command would train other runs"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", STUDIES, ids=lambda path: path.name)
def test_tables_follow_from_the_store(experiment):
    report = PUBLISH["report_of"](experiment)
    assert report.study.gaps() == [], "report --check objects"
    made = PUBLISH["tables_of"](report)
    kept = {path.name: path.read_text() for path in (experiment / "tables").iterdir()}
    for name in ("boundaries.csv", "contrasts.csv", "leaderboard.csv"):  # newer than most studies
        if name not in kept:
            made.pop(name)
    made |= {f"{name}.csv": text for name, text in extra_tables(experiment).items()}
    assert made == kept


@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment", [path for path in STUDIES if (path / "figures").exists()], ids=lambda path: path.name
)
@pytest.mark.system
@pytest.mark.few(3)
def test_figures_follow_from_the_store(experiment):
    made = {f"{figure.name}.svg": figure.svg for figure in PUBLISH["report_of"](experiment).figures}
    for path in (experiment / "figures").iterdir():
        assert_same_picture(made[path.name], path.read_text())


@pytest.mark.slow
def test_ledger_follows_from_all_stores():
    """claims.csv and the table of experiments/README.md are what ledger.py makes."""
    defined = program("ledger")
    claims = defined["ledger"](defined["stores_of"](EXPERIMENTS))
    kept = (EXPERIMENTS / "claims.csv").read_text()
    assert claims.to_csv(index=False, lineterminator="\n") == kept
    page = (EXPERIMENTS / "README.md").read_text()
    assert defined["insert"](page, defined["as_markdown"](claims)) == page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "picture"),
    [("005_root_cause", "headline.svg"), ("009_root_cause_seed", "headline_seed.svg")],
    ids=["005", "009"],
)
def test_headline_follows_from_its_store(study, picture):
    drawn = program("headline")["headline"](EXPERIMENTS / study / STORE)
    assert_same_picture(drawn, (ROOT / "docs" / "img" / picture).read_text())


@pytest.mark.parametrize(
    ("name", "pair_misses", "mean_misses"),
    [("002_precision", {300}, {1300}), ("003_precision_again", {300, 400}, set())],
    ids=["002", "003"],
)
def test_precision_changes_no_outcome(name, pair_misses, mean_misses):
    """003 makes mixed the default; what the READMEs say of the probes that miss a criterion is true."""
    rows = program("precision")["compare"](EXPERIMENTS / name / STORE)
    assert [row["same_outcome"] for row in rows if "same_outcome" in row] == [5, 5]
    assert {row["step"] for row in rows if not row["median_within"]} == pair_misses
    assert {row["step"] for row in rows if not row["mean_within"]} == mean_misses
    assert {row["n"] for row in rows} == {5}


@pytest.mark.parametrize("experiment", STUDIES, ids=lambda path: path.name)
@pytest.mark.slow
def test_no_tensors_and_a_readme(experiment):
    with opened(experiment / STORE) as store:
        kept = {path.suffix for path in store.rglob("*") if path.is_file()}
    assert kept <= {".json", ".jsonl", ".yaml"}
    readme = (experiment / "README.md").read_text()
    for needed in ("python -m bitnet_sweep", "commit", "Verdict", "Limits"):
        assert needed in readme, f"README.md lacks {needed!r}"
    commits = set(re.findall(r"\b[0-9a-f]{40}\b", readme))
    made_by = set(re.findall(r"\b[0-9a-f]{40}\b", (experiment / "tables" / "provenance.csv").read_text()))
    assert commits, "README.md names no commit"
    assert made_by <= commits, "README.md must name the commits that trained its runs"
    shown = PUBLISH["shown_in"](experiment / "README.md")
    assert {path.name for path in (experiment / "figures").glob("*")} == shown
    parts = {path.name for path in experiment.iterdir() if path.suffix != ".py"} - {"__pycache__"}
    assert parts <= {"README.md", STORE, "tables", "figures"}


@pytest.mark.slow
def test_what_the_pages_count_over_all_studies():
    """README.md and experiments/README.md: 66 of 88 first stages, 100 and 40 of 197 stuck runs."""
    runs = {arm.run_id: arm for arm in make_report([path / STORE for path in STUDIES[:12]]).study.arms}
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


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *EXPERIMENTS.rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_programs_of_a_page_are_there(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [link.partition("#")[0] for link in links if not re.match("[a-z]+:", link)]
    missing = [link for link in local if not (page.parent / link).exists()]
    missing += [path for path in re.findall(r"\bexperiments/[\w/]+\.py", text) if not (ROOT / path).exists()]
    assert missing == []
