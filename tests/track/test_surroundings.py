"""W&B variables and settings that somebody else left: what is documented acts, the rest is told once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import wandb

from bitnet_sweep.config import RunConfig, TrackMode, plain
from bitnet_sweep.identity import SCIENCE_VERSION
from bitnet_sweep.track import sync
from bitnet_sweep.wandb_environment import DOCUMENTED
from bitnet_sweep.wandb_names import ORIGIN
from tests.repetition import repeated
from tests.sweep.command import TINY, run
from tests.track.conftest import REPO
from tests.track.test_offline_mirror import of_type

if TYPE_CHECKING:
    from tests.track.conftest import MirrorStore
    from tests.track.wandb_server import WandbServer

pytestmark = pytest.mark.slow


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("bitnet_sweep")]


def mirrored(store: MirrorStore, config: RunConfig) -> dict[str, Any]:
    """What the one offline file says of its run, which must be ours, and of nobody else's sweep."""
    (run,) = of_type(store.inspect(), "run")
    assert run["run_id"] == store.run_id
    assert run["display_name"] == "h256 wd2=0.05 lr=1.5e-3 s3"
    assert run["run_group"] == "my-sweep"
    assert run["project"] == "bitnet_sweep"
    told = {key: value for key, value in run["config"]["update"].items() if key not in {"_wandb", ORIGIN}}
    assert told == plain(config) | {"science_version": SCIENCE_VERSION}
    assert "branch_point" not in json.dumps(run)
    assert not {"sweep_id", "notes", "job_type"} & run.keys()
    assert "theirs" not in json.dumps(run)
    return run


def settings_variables() -> list[str]:
    """A variable for each setting of the installed client, and those that it reads by other names."""
    names = {f"WANDB__{f[2:]}" if f.startswith("x_") else f"WANDB_{f}" for f in wandb.Settings.model_fields}
    names |= {value for value in vars(wandb.env).values() if isinstance(value, str) and "WANDB_" in value}
    names |= {
        "WANDB_CONFIG",
        "WANDB_CONFIG_0",
        "WANDB_ARTIFACTS",
        "WANDB_DISABLED",
        "WANDB_LAUNCH_CONFIG_PATH",
    }
    return sorted({name.upper() for name in names} - DOCUMENTED - {"WANDB_SERVICE", "WANDB_SILENT"})


def test_no_setting_of_the_client_can_be_slipped_in(
    store: MirrorStore, config: RunConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = settings_variables()
    assert len(names) > 150
    for name in names:
        monkeypatch.setenv(name, "theirs")
    store.train(config, [1, 5])
    mirrored(store, config)
    assert not set(names) & os.environ.keys()
    (line,) = said(caplog)
    assert all(name in line for name in names)
    assert "\n" not in line


@pytest.fixture
def theirs(tmp_path: Path) -> str:
    """A file with a config of somebody else's, of the form that agents and launchers leave."""
    path = tmp_path / "theirs.yaml"
    path.write_text('{"wandb_version": 1, "lr": {"value": "theirs"}}')
    return str(path)


LEFT_BEHIND = [
    {"RUN_ID": "theirs", "SWEEP_ID": "theirs"},
    {"SWEEP_ID": "theirs", "PROJECT": "their-project", "ENTITY": "them"},
    {"RUN_ID": "theirs", "RESUME": "must"},
    {"RESUME_FROM": "theirs?_step=3"},
    {"FORK_FROM": "theirs?_step=3"},
    {"RUN_GROUP": "theirs", "JOB_TYPE": "theirs", "NOTES": "theirs", "TAGS": "theirs", "NAME": "theirs"},
    {"CONFIG_PATHS": "FILE"},
    {"SWEEP_PARAM_PATH": "FILE", "SWEEP_ID": "theirs"},
    {"LAUNCH": "true", "LAUNCH_CONFIG_PATH": "FILE", "CONFIG": '{"lr": "theirs"}'},
    {"MODE": "disabled"},
    {"MODE": "online"},
    {"_SHARED": "true", "_LABEL": "theirs", "_PRIMARY": "false"},
    {"_SKIP_TRANSACTION_LOG": "true"},
    {"PROGRAM": "theirs", "HOST": "theirs", "DOCKER": "theirs", "USERNAME": "theirs"},
]


@pytest.mark.parametrize(
    "variables", repeated(LEFT_BEHIND, LEFT_BEHIND[:4]), ids=lambda variables: "+".join(variables)
)
def test_what_others_leave_behind_renames_nothing(
    store: MirrorStore,
    config: RunConfig,
    theirs: str,
    variables: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"WANDB_{name}", value.replace("FILE", theirs))
    store.train(config, [1, 5])
    mirrored(store, config)
    (line,) = said(caplog)
    acting = {"PROJECT", "ENTITY"}
    assert [f"WANDB_{name}" in line for name in variables] == [name not in acting for name in variables]


@pytest.mark.parametrize("place", ["user", "folder"])
def test_settings_files_rename_nothing(
    store: MirrorStore,
    config: RunConfig,
    home: Path,
    tmp_path: Path,
    place: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = home / "config" / "settings" if place == "user" else tmp_path / "wandb" / "settings"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "[default]\nsweep_id = theirs\nrun_id = theirs\nrun_notes = theirs\nrun_job_type = theirs\n"
        "entity = us\nbase_url = http://127.0.0.1:9\n"
    )
    store.train(config, [1, 5])
    assert mirrored(store, config)["entity"] == "us"
    store.train(config, [10])
    (line,) = said(caplog)
    assert f"run_id, run_job_type, run_notes, sweep_id in {path}" in line
    assert "entity" not in line


def test_what_is_documented_acts_and_is_not_told(
    store: MirrorStore,
    config: RunConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_ENTITY", "us")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("RUN_ID", "RUN_GROUP", "RESUME", "API_KEY", "SERVICE"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    store.train(config, [1, 5])
    assert mirrored(store, config)["entity"] == "us"
    assert said(caplog) == []


def test_the_guide_names_what_acts() -> None:
    guide = (REPO / "docs" / "wandb.md").read_text()
    assert [name for name in sorted(DOCUMENTED) if f"`{name}`" not in guide] == []


def test_an_upload_goes_to_its_own_run(
    server: WandbServer,
    store: MirrorStore,
    config: RunConfig,
    api_key: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.train(config, [1, 5])
    wandb.teardown()
    for name in ("RUN_ID", "SWEEP_ID", "RUN_GROUP", "NOTES"):
        monkeypatch.setenv(f"WANDB_{name}", "theirs")
    for name in ("BASE_URL", "PROJECT", "HTTP_TIMEOUT"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    assert sync.main([str(store.root)]) == 0
    (run_id,) = server.runs
    assert run_id == store.run_id
    assert server.runs[run_id].fields["groupName"] == "my-sweep"
    assert len(said(caplog)) == 1


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "inf", "nan"])
def test_a_wait_that_is_none_is_named(
    store: MirrorStore,
    config: RunConfig,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seconds: str,
) -> None:
    store.train(config, [1])
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", seconds)
    assert sync.main([str(store.root)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"WANDB_HTTP_TIMEOUT={seconds}: must be seconds" in line


def test_a_sweep_tells_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command as an agent of W&B would start it, with its empty and its foreign variables."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"line {i}: the sum of {i} and {i} is {2 * i}" for i in range(2000)))
    for name, value in {"SWEEP_ID": "a", "RUN_ID": "r", "PROJECT": "", "BASE_URL": ""}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    words = [*(word for word in TINY if word != "track=none"), f"data.path={corpus}", "model.hidden=16"]
    status, out, err = run(tmp_path, "-m", *words, "wd2=0.0,0.05", "steps=10", "hydra.launcher.n_jobs=1")
    assert status == 0, err
    store = tmp_path / "runs"
    ids = {path.name for path in (store / "runs").iterdir()}
    assert {path.name.rpartition("-")[2] for path in store.glob("wandb/offline-run-*")} == ids
    assert len(ids) == 2
    assert [line for line in (out + err).splitlines() if "WANDB_" in line] == [
        "W&B: WANDB_RUN_ID, WANDB_SWEEP_ID: left out, for it might rename or change runs; "
        "docs/wandb.md says what acts"
    ]
    projects = {
        json.loads(path.read_text())["config"]["track"]["project"] for path in store.glob("wandb/*.json")
    }
    assert projects == {"bitnet_sweep"}


def test_the_mode_of_the_key_is_not_told(
    server: WandbServer,
    store: MirrorStore,
    online: RunConfig,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert online.track.mode is TrackMode.online
    monkeypatch.setenv("WANDB_MODE", "online")
    store.train(online, [1])
    assert [*server.runs] == [store.run_id]
    assert said(caplog) == []
