"""The workspace, the Report and its figures, saved by the real library and client to the loopback server."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitnet_sweep import files
from bitnet_sweep.config import OptimizerConfig, OptimizerName, RunConfig, plain
from bitnet_sweep.dashboard import views
from bitnet_sweep.dashboard.pictures import caption_of, key_of, upload
from bitnet_sweep.report import make_report
from bitnet_sweep.report.figures import Figure
from bitnet_sweep.report.read import read_stores
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Store
from bitnet_sweep.wandb_client import WandbError
from bitnet_sweep.wandb_names import REPORT_GROUP
from tests import commands
from tests.track.conftest import API_KEY, REPO, MirrorStore

if TYPE_CHECKING:
    from tests.track.wandb_server import WandbServer

pytest.importorskip("wandb_workspaces", reason="the extra [dashboard] is not installed")
# The library's own, of pydantic's older ways.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pydantic", "ignore::DeprecationWarning")


ONE_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def specification(view: Any) -> dict[str, Any]:
    """What would be sent of a workspace."""
    document: dict[str, Any] = view._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    return document


def filters_of(runset: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """The filters of a runset, of a workspace or of a Report, any of which may do: field, operator, value."""
    document = runset["filters"]
    while len(document.get("filters", ())) == 1:
        (document,) = document["filters"]
    several = document.get("filters", [document])
    assert {each["connector"] for each in several[1:]} <= {"OR"}
    return [(each["key"]["name"], each["op"], each["value"]) for each in several]


def test_the_workspace_groups_by_hidden_and_colours_by_wd2() -> None:
    cells = views.Groups(("model.hidden", "wd2"), ((256, 0.0), (256, 0.05), (512, 0.0), (512, 0.05)))
    section = specification(views.workspace("me", "p", cells, "grid"))["section"]
    (panels,) = (part["panels"] for part in section["panelBankConfig"]["sections"])
    assert [panel["config"]["metrics"] for panel in panels] == [[metric] for metric in views.PANELS]
    assert {panel["config"]["xAxis"] for panel in panels} == {"step"}
    (runs,) = section["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["model.value.hidden", "wd2.value"]
    assert filters_of(runs) == [("group", "=", "grid"), ("tags", "IN", ["sweep:grid"])]
    (all_runs,) = specification(views.workspace("me", "p", cells, None))["section"]["runSets"]
    assert filters_of(all_runs) == [("group", "!=", REPORT_GROUP)]
    colours = section["customRunColors"]
    assert len(colours) == 4
    for text, colour in (("0", views.COLOURS[0]), ("0.05", views.COLOURS[1])):
        of_wd2 = [c for key, c in colours.items() if f"%22value%22%3A%22{text}%22" in key]
        assert of_wd2 == [colour, colour]


@pytest.mark.parametrize(
    ("number", "text"), [(0.0, "0"), (0.05, "0.05"), (1e-05, "0.00001"), (10.0, "10"), (0.1, "0.1")]
)
def test_a_group_is_named_as_a_web_page_writes_its_number(number: float, text: str) -> None:
    assert views.as_in_json(number) == text


ADAMS = (OptimizerName.adam_l2, OptimizerName.adamw)


def test_a_workspace_groups_by_whatever_varies(tmp_path: Path) -> None:
    """Here the learning rate and the optimizer; the seed makes no group."""
    for i, (lr, name, seed) in enumerate(
        (lr, name, seed) for lr in (1e-3, 2e-3) for name in ADAMS for seed in (0, 1)
    ):
        config = resolve(RunConfig(steps=10, lr=lr, optimizer=OptimizerConfig(name=name), seed=seed))
        folder = Store(tmp_path).run(f"run-{i}")
        folder.path.mkdir(parents=True)
        files.write_json(folder.path / "config.yaml", plain(config))
        files.write_json(folder.path / "status.json", {"schema": 1, "state": "finished"})
        for step in (1, 5, 10):
            folder.append(MirrorStore.record(step))
    groups = views.Groups.of(make_report([tmp_path]).study)
    assert set(groups.keys) == {"lr", "optimizer.name"}
    assert len(groups.cells) == 4
    section = specification(views.workspace("me", "p", groups, None))["section"]
    (runs,) = section["runSets"]
    assert {key["name"] for key in runs["grouping"]} == {"lr.value", "optimizer.value.name"}
    assert len(section["customRunColors"]) == 4
    assert len(set(section["customRunColors"].values())) == 2


def test_fields_of_own_metrics_have_panels_behind_ours() -> None:
    own = ["margin/least", "margin/mean", "share/top"]
    view = views.workspace("me", "p", views.Groups((), ((),)), None, own)
    (section,) = specification(view)["section"]["panelBankConfig"]["sections"]
    told = [panel["config"]["metrics"] for panel in section["panels"]]
    assert told == [[metric] for metric in (*views.PANELS, *own)]
    (shown,) = view.sections
    assert shown.layout_settings.rows == 6, "two a row, and one row for the last of eleven"


def test_runs_that_are_all_alike_are_not_grouped() -> None:
    (runs,) = specification(views.workspace("me", "p", views.Groups((), ((),)), None))["section"]["runSets"]
    assert not runs.get("grouping")


@pytest.fixture
def grid(server: WandbServer, online: RunConfig, tmp_path: Path) -> Path:
    """A store of two finished runs, in W&B too."""
    store = MirrorStore(tmp_path / "store")
    for wd2 in (0.0, 0.05):
        config = resolve(RunConfig(steps=10, wd2=wd2, track=online.track))
        run_id = f"run-{wd2}"
        store.train(config, [1, 5, 10], run_id=run_id)
        folder = Store(store.root).run(run_id)
        files.write_json(folder.path / "config.yaml", plain(config))
        files.write_json(folder.path / "status.json", {"schema": 1, "state": "finished"})
    return store.root


def command(server: WandbServer, *arguments: str) -> tuple[int, str, str]:
    """The command in a process of its own: exit status, what it printed, what it complained of."""
    environment = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_HTTP_TIMEOUT": "100"}
    return commands.run(REPO, *arguments, module="bitnet_sweep.dashboard", env=environment)


def test_a_picture_is_told_by_its_figure() -> None:
    figure = Figure("loss_2", r"Loss [1](x) <b> \ & a|b *c*", svg="", png=b"", note="4 of 9 [shown].")
    assert (key_of(figure), caption_of(figure)) == ("figures/loss_2", f"{figure.title}. 4 of 9 [shown].")
    assert caption_of(replace(figure, note="")) == figure.title


@pytest.mark.slow
def test_all_is_saved_and_then_brought_up_to_date(
    server: WandbServer, grid: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    trained = set(server.runs)
    status, printed, complaint = command(server, "me/bitnet_sweep", str(grid))
    assert (status, complaint) == (0, "")
    assert printed.startswith(f"workspace: {server.url}/me/bitnet_sweep?nw=")
    assert f"\nreport: {server.url}/me/bitnet_sweep/reports/" in printed
    workspace, report = server.views.values()
    assert (workspace["type"], workspace["displayName"]) == ("project-view", views.NAME)
    assert (report["type"], report["displayName"]) == ("runs", views.NAME)
    assert len(workspace["spec"]["section"]["customRunColors"]) == 2
    blocks = report["spec"]["blocks"]
    text = "\n".join(block["content"] for block in blocks if block["type"] == "markdown-block")
    for title in ("## Complete results", "## Old against new second-stage decay", "| 0.05", "## Figures"):
        assert title in text
    assert "figures/" not in text
    live, images = (block["metadata"] for block in blocks if block["type"] == "panel-grid")
    shown = live["panelBankSectionConfig"]["panels"]
    assert [panel["config"]["metrics"] for panel in shown] == [
        [metric] for metric in (*views.PANELS, "margin/mean")
    ]
    (runset,) = live["runSets"]
    assert filters_of(runset) == [("group", "!=", REPORT_GROUP)]

    figures = make_report([grid]).figures
    assert len(figures) > 1
    (run_id,) = server.runs.keys() - trained
    run = server.runs[run_id]
    assert (run.fields["jobType"], run.fields["groupName"]) == ("report", REPORT_GROUP)
    (row,) = run.history
    for figure in figures:
        image = row[f"figures/{figure.name}"]
        assert run.files[image["path"]] == figure.png
        assert image["caption"] == figure.title
    (runset,) = images["runSets"]
    assert filters_of(runset) == [("name", "=", run_id)]
    panels = [panel["config"] for panel in images["panelBankSectionConfig"]["panels"]]
    assert [(panel["chartTitle"], panel["mediaKeys"]) for panel in panels] == [
        (figure.title, [f"figures/{figure.name}"]) for figure in figures
    ]

    assert command(server, "me/bitnet_sweep", str(grid)) == (0, printed, "")
    left_behind = ["WANDB_CONFIG_PATHS", "WANDB_RUN_GROUP", "WANDB_RUN_ID", "WANDB_SWEEP_ID"]
    for name in left_behind:
        monkeypatch.setenv(name, "theirs")
    status, again, complaint = command(server, "me/bitnet_sweep", str(grid))
    assert (status, again) == (0, printed)
    (line,) = complaint.splitlines()
    assert ", ".join(left_behind) in line
    assert len(server.views) == 2
    assert server.runs.keys() - trained == {run_id}
    assert (run.exit_code, [row["_step"] for row in run.history]) == (0, [0, 1, 2])
    assert list(scratch.iterdir()) == []
    for path in [*home.rglob("*"), *grid.rglob("*")]:
        assert path.suffix != ".png"
        assert not path.is_file() or API_KEY.encode() not in path.read_bytes()

    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setattr("bitnet_sweep.wandb_client.CONTACT_SECONDS", 10.0)  # the machine may be busy
    evidence = read_stores([Path("wandb:me/bitnet_sweep")])
    assert (set(evidence.runs), list(evidence.sweeps), evidence.notes) == (trained, ["my-sweep"], [])


@pytest.mark.parametrize("refused", ["CreateRunFiles", "upload"])
def test_a_picture_that_is_refused_is_no_success(
    server: WandbServer, api_key: str, tmp_path: Path, refused: str
) -> None:
    """The client itself is content."""
    server.refused.add(refused)
    with pytest.raises(WandbError, match="refused the data"):
        upload(
            [Figure("loss", "Loss", svg="", png=ONE_PIXEL)],
            tmp_path,
            server=server.url,
            entity="me",
            project="p",
            run_id="report-1",
            name="figures",
            timeout=20.0,
        )
    assert len(server.runs["report-1"].history) == 1
    assert not any(name.startswith("media/") for name in server.runs["report-1"].files)


@pytest.mark.slow
def test_it_says_what_is_wrong(server: WandbServer, grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, complaint = command(server, "me/bitnet_sweep", str(grid / "nothing"))
    assert (status, complaint.splitlines()) == (2, [f"{grid / 'nothing'}: no such store"])
    status, _, complaint = command(server, "me/bitnet_sweep", str(grid), "--sweep", "none")
    assert status == 2
    assert "not recorded here" in complaint
    for refused in ("UpsertView2", "upload"):
        server.refused = {refused}
        status, _, complaint = command(server, "me/bitnet_sweep", str(grid))
        assert status == 1
        assert len(complaint.splitlines()) == 1
    monkeypatch.delenv("WANDB_API_KEY")
    status, _, complaint = command(server, "me/bitnet_sweep", str(grid))
    assert status == 1
    assert "WANDB_API_KEY" in complaint
    assert server.views == {}
