"""``report wandb:ENTITY/PROJECT``: the real client reads what was mirrored back into the same tables."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError, RunConfig, plain
from bitnet_sweep.identity import SCIENCE_VERSION
from bitnet_sweep.records import Record
from bitnet_sweep.report import make_report
from bitnet_sweep.report.__main__ import main
from bitnet_sweep.report.read import read_stores
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Store
from bitnet_sweep.track import run_name
from tests import commands
from tests.track.conftest import API_KEY, REPO, MirrorStore

if TYPE_CHECKING:
    from tests.track.wandb_server import WandbServer

pytestmark = pytest.mark.slow

PROJECT = "wandb:me/bitnet_sweep"
LOSSES = {1: 8.0, 5: 7.5, 10: 7.0, 12: 6.5, 20: 5.0}
TRUNK = "t" * 16


class ForkedStore(MirrorStore):
    """Two arms of one trunk, in the store and in W&B, as a sweep leaves them."""

    @staticmethod
    def record(step: int) -> Record:
        return {
            "step": step,
            "stage": 1 if step <= 10 else 2,
            "val/loss": LOSSES[step],
            "ref/unigram_loss": 6.0,
            "ternary/absmean": None,
            "probe/unique_tokens": 3,
        }

    def arm(self, config: RunConfig, run_id: str, **status: Any) -> None:
        """One finished run, its files included."""
        log_at = [1, 2, 10, 11, 13, 20]
        tracker = self.train(config, LOSSES, run_id=run_id, samples_at=[10], log_at=log_at, state=None)
        tracker.finish("finished", {"outcome": "recovered", "stage_ids": f"{TRUNK} {run_id}"})
        folder = Store(self.root).run(run_id)
        files.write_json(folder.path / "config.yaml", plain(config))
        document = {"schema": 1, "state": "finished", "stage_ids": [TRUNK, run_id], "outcome": "recovered"}
        document["science_version"] = SCIENCE_VERSION
        files.write_json(folder.path / "status.json", document | status)


@pytest.fixture
def store(tmp_path: Path) -> ForkedStore:
    return ForkedStore(tmp_path / "store")


@pytest.fixture
def arms(server: WandbServer, online: RunConfig, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configs of two arms; the server is the one a report asks."""
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setattr("bitnet_sweep.wandb_client.CONTACT_SECONDS", 10.0)  # the machine may be busy
    return [
        resolve(RunConfig(steps=20, boundary=0.5, wd2=wd2, seed=3, track=online.track)) for wd2 in (0.0, 0.05)
    ]


def table(out: Path, name: str) -> list[dict[str, str]]:
    with (out / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_project_gives_the_tables_of_the_store(
    server: WandbServer, store: ForkedStore, arms: list[RunConfig], tmp_path: Path, home: Path
) -> None:
    for config, run_id in zip(arms, ("a" * 16, "b" * 16), strict=True):
        store.arm(config, run_id)
    server.runs["b" * 16].exported = 3
    runs = [
        {"run_id": run_id, "name": run_name(config), "stage_ids": [TRUNK, run_id], "stage_ends": [10, 20]}
        for config, run_id in zip(arms, ("a" * 16, "b" * 16), strict=True)
    ]
    Store(store.root).write_sweep("my-sweep", {"run_ids": [run["run_id"] for run in runs], "runs": runs})
    assert main([str(store.root), "--out", str(tmp_path / "here")]) == 0
    status, said = report_command(PROJECT, server.url, tmp_path / "there")
    assert status == 0
    assert "wandb" not in said.split("Written to")[0].lower()
    names = {path.name for path in (tmp_path / "here" / "tables").iterdir()}
    assert names == {path.name for path in (tmp_path / "there" / "tables").iterdir()}
    for name in sorted(names):
        here, there = (
            table(tmp_path / side, name.removesuffix(".csv"))
            if name.endswith(".csv")
            else (tmp_path / side / "tables" / name).read_text()
            for side in ("here", "there")
        )
        assert here == there, name
    (contrast,) = table(tmp_path / "there", "stage2_contrast")
    assert "fork" in contrast.values()  # paired by the trunk's id, not by likeness
    for path in home.rglob("*"):  # nothing is kept of what was read, and no key
        assert path.suffix != ".parquet"
        assert not path.is_file() or API_KEY.encode() not in path.read_bytes()
    arms_here, arms_there = (make_report([Path(source)]).study.arms for source in (store.root, PROJECT))
    for one, other in zip(arms_here, arms_there, strict=True):
        assert one.by_step == other.by_step
        assert list(one.by_step) == list(LOSSES), "a row of the log is no record"
        assert list(one.log_by_step) == [1, 2, 10, 11, 13, 20]
        assert one.log_by_step == other.log_by_step
    (sweep,) = read_stores([Path(PROJECT)]).sweeps.values()
    assert (sweep.name, sweep.run_ids) == ("my-sweep", ["a" * 16, "b" * 16])


def test_a_group_is_a_sweep_and_stores_merge_with_projects(
    server: WandbServer, store: ForkedStore, arms: list[RunConfig], tmp_path: Path
) -> None:
    for config, run_id in zip(arms, ("a" * 16, "b" * 16), strict=True):
        store.arm(config, run_id)
    server.runs["b" * 16].fields["groupName"] = "other"
    evidence = read_stores([Path(PROJECT)], sweep="other")
    assert (list(evidence.runs), list(evidence.sweeps)) == (["b" * 16], ["other"])
    # "other" trained it, and "later" only asked for it, as the tags say
    server.runs["b" * 16].fields["tags"] = ["small", "sweep:later"]
    evidence = read_stores([Path(PROJECT)], sweep="later")
    assert (list(evidence.runs), list(evidence.sweeps)) == (["b" * 16], ["later"])
    assert "later" in read_stores([Path(PROJECT)]).sweeps
    with pytest.raises(ConfigError, match="not recorded here"):
        read_stores([Path(PROJECT)], sweep="small")
    with pytest.raises(ConfigError, match="not recorded here"):
        read_stores([Path(PROJECT)], sweep="none")
    # The store has lost one run and half of the other; W&B has both.
    Store(store.root).run("b" * 16).path.rename(tmp_path / "elsewhere")
    folder = Store(store.root).run("a" * 16)
    status = files.read_json(folder.path / "status.json")
    files.write_json(folder.path / "status.json", status | {"state": "interrupted"})
    merged = read_stores([Path(PROJECT), store.root])
    assert {run_id[0]: (run.state, run.store) for run_id, run in merged.runs.items()} == {
        "a": ("finished", PROJECT),
        "b": ("finished", PROJECT),
    }
    files.write_json(folder.path / "status.json", status)
    report = make_report([Path(PROJECT), store.root])
    assert report.study.evidence.runs["a" * 16].store == str(store.root)
    (section,) = report.study.sections  # a config from W&B and one from a file say the same
    assert len(section.arms) == 2


@pytest.mark.parametrize(
    ("on_server", "noted", "state"),
    [
        ("finished", "finished", "finished"),
        ("running", "interrupted", "running"),
        ("failed", "failed", "failed"),
        ("failed", "interrupted", "interrupted"),
        ("failed", None, "failed"),
        ("crashed", None, "interrupted"),
        ("pending", None, "unknown"),
    ],
)
def test_states(
    server: WandbServer,
    store: ForkedStore,
    arms: list[RunConfig],
    on_server: str,
    noted: str | None,
    state: str,
) -> None:
    add(server, "a" * 16, arms[0], state=on_server, summary={"state": noted} if noted else {})
    (run,) = read_stores([Path(PROJECT)]).runs.values()
    assert run.state == state


def add(
    server: WandbServer,
    run_id: str,
    config: RunConfig | dict[str, Any] | str,
    *,
    state: str = "finished",
    summary: dict[str, Any] | None = None,
    rows: list[dict[str, Any]] | None = None,
) -> None:
    """A run on the server that no client of ours has written."""
    from tests.track.wandb_server import HISTORY, SUMMARY, ServerRun

    plain_config = plain(config) if isinstance(config, RunConfig) else config
    if isinstance(plain_config, dict):
        plain_config = json.dumps({key: {"value": value} for key, value in plain_config.items()})
    fields: dict[str, Any] = {
        "project": "bitnet_sweep",
        "displayName": "n",
        "tags": [],
        "config": plain_config,
    }
    run = server.runs[run_id] = ServerRun(fields | {"groupName": "g"}, state=state)
    run.streams[HISTORY] = {i: json.dumps(row) for i, row in enumerate(rows or [])}
    run.streams[SUMMARY] = {0: json.dumps(summary or {})}


def test_what_is_not_a_run_of_ours_is_left_out_and_named(
    server: WandbServer, arms: list[RunConfig], tmp_path: Path
) -> None:
    good: list[dict[str, Any]] = [
        {"_step": 1, "step": 1, "val/loss": 8.0},
        {"_step": 3, "step": 3, "log/train_loss": "<b>", "log/lr": 1e-3},
        {"_step": 4, "step": "x", "log/train_loss": 7.0},
        {"_step": 20, "step": 20, "val/loss": "NaN", "log/train_loss": 5.0},
    ]
    add(server, "good", arms[0], rows=good, summary={"outcome": "diverged"})
    bad: list[dict[str, Any]] = [
        {"_step": 1, "val/loss": 8.0},
        {"_step": 2, "step": "<b>"},
        {"_step": 20, "step": 20.0},
    ]
    add(server, "bad", arms[1], rows=bad)
    add(server, "another", {"lr": 1e-3, "model": "resnet"})
    add(server, "broken", "{oops")
    add(server, "deep", '{"a":' * 5000 + "1" + "}" * 5000)
    for letter in "vwxyz":
        add(server, letter, {})
    report = make_report([Path(PROJECT)])
    assert sorted(report.study.evidence.runs) == ["bad", "good"]
    remarks = "\n".join(report.summary.remarks)
    assert "run another left out, not of bitnet_sweep: the config has no scale, model.hidden" in remarks
    assert "runs v, w, x and 2 more left out" in remarks
    assert "run broken left out, cannot be read" in remarks
    assert "run deep left out, cannot be read" in remarks
    found = report.study.evidence.runs
    assert found["good"].records[-1] == {"step": 20, "val/loss": None}
    (good_arm,) = (arm for arm in report.study.arms if arm.run_id == "good")
    assert good_arm.log_by_step == {3: {"step": 3, "log/lr": 1e-3}, 20: {"step": 20, "log/train_loss": 5.0}}
    assert [record["step"] for record in found["bad"].records] == [20]
    assert sum("without a step" in problem for problem in found["bad"].problems) == 2
    assert ("diverged", 1) in report.summary.counts


def test_a_history_that_cannot_be_read_is_one_unreadable_run(
    server: WandbServer, arms: list[RunConfig]
) -> None:
    add(server, "a", arms[0])
    server.refused.add("RunParquetHistory")
    (run,) = read_stores([Path(PROJECT)]).runs.values()
    assert run.state == "unreadable"
    assert "cannot be read: history" in run.problems[0]


def test_more_than_a_page_of_runs(server: WandbServer, arms: list[RunConfig]) -> None:
    for number in range(120):
        add(server, f"run{number:03}", {})
    (note,) = read_stores([Path(PROJECT)]).notes
    assert note.startswith(f"{PROJECT}: runs run000, run001, run002 and 117 more left out")


def report_command(source: str, url: str, out: Path, **environment: str) -> tuple[int, str]:
    """The command in a process of its own: its exit status, what it said."""
    environment = os.environ | {"WANDB_BASE_URL": url} | environment
    status, said, complaint = commands.run(
        REPO, source, "--out", out, module="bitnet_sweep.report", env=environment
    )
    return status, said + complaint


def test_without_a_key_it_says_what_to_do(server: WandbServer, tmp_path: Path) -> None:
    status, said = report_command(PROJECT, server.url, tmp_path / "out")
    assert status == 2
    assert "WANDB_API_KEY" in said
    assert len(said.splitlines()) == 1
    assert server.requests == 0


@pytest.mark.parametrize("ailment", ["stop", "refuse", pytest.param("hang", marks=pytest.mark.slow)])
def test_without_a_server_it_ends_soon_and_says_so(
    server: WandbServer, tmp_path: Path, api_key: str, ailment: str
) -> None:
    server.fall_ill(ailment)
    status, said = report_command(PROJECT, server.url, tmp_path / "out")
    assert status == 2
    (line,) = said.splitlines()
    assert server.url in line
    assert ("verify credentials" if ailment == "refuse" else "no answer within 2.5 s") in line
    assert api_key not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["wandb:", "wandb:me", "wandb:me/p/r", "wandb:me/p q"])
def test_a_project_has_two_names(source: str) -> None:
    with pytest.raises(ConfigError, match="ENTITY/PROJECT"):
        read_stores([Path(source)])


def test_no_such_project(server: WandbServer, arms: list[RunConfig]) -> None:
    with pytest.raises(ConfigError, match=r"wandb:me/nothing.*Could not find project nothing"):
        read_stores([Path("wandb:me/nothing")])


def test_a_report_on_stores_does_not_import_wandb() -> None:
    script = "import sys, bitnet_sweep.report.__main__; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPO).returncode == 0
