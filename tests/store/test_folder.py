"""Run and trunk folders: status, records, and what a newer version left."""

import json

import pytest

from bitnet_sweep.config import ConfigError, RunConfig, plain
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import FINISHED, RUNNING, Folder, Status, Store
from bitnet_sweep.store.codec import SCHEMA


def test_status_round_trip(tmp_path):
    folder = Folder(tmp_path / "ab12")
    assert folder.status() is None
    status = Status(state=RUNNING, stage_ids=["p", "ab12"], run_id="ab12", parent_stage_id="p", attempts=1)
    folder.write_status(status)
    assert folder.status() == status
    document = json.loads((folder.path / "status.json").read_text())
    wanted = {"schema": 1, "run_id": "ab12", "state": "running", "parent_stage_id": "p", "outcome": None}
    assert wanted.items() <= document.items()
    assert document["updated"].endswith("Z")


def test_unknown_status_fields_are_ignored(tmp_path):
    (tmp_path / "status.json").write_text(
        json.dumps({"schema": 1, "state": FINISHED, "stage_ids": ["a"], "extra": 1})
    )
    assert Folder(tmp_path).status() == Status(state=FINISHED, stage_ids=["a"])


@pytest.mark.parametrize("schema", [SCHEMA + 1, "2", None])
def test_newer_status_is_refused(tmp_path, schema):
    (tmp_path / "status.json").write_text(json.dumps({"schema": schema, "state": FINISHED, "stage_ids": []}))
    with pytest.raises(ConfigError, match="newer version"):
        Folder(tmp_path).status()


def test_records_append_and_rewrite(tmp_path):
    folder = Folder(tmp_path)
    folder.rewrite([{"step": 1, "val/loss": 2.0}], [])
    folder.append({"step": 2, "val/loss": float("nan")}, [{"step": 2, "prompt": "a\nb", "continuation": "é"}])
    folder.append({"step": 3, "val/loss": 1.5})
    assert folder.records() == [
        {"step": 1, "val/loss": 2.0},
        {"step": 2, "val/loss": None},
        {"step": 3, "val/loss": 1.5},
    ]
    assert folder.records(until_step=2) == folder.records()[:2]
    assert folder.samples() == [{"step": 2, "prompt": "a\nb", "continuation": "é"}]
    folder.rewrite(folder.records(2), folder.samples(1))
    assert [record["step"] for record in folder.records()] == [1, 2]
    assert folder.samples() == []


def test_store_notes_its_schema(tmp_path):
    store = Store(tmp_path / "new" / "store")
    store.open_for_writing()
    store.open_for_writing()
    assert json.loads((store.root / "store.json").read_text()) == {"schema": SCHEMA}
    assert [path.name for path in store.root.iterdir()] == ["store.json"]


def test_newer_store_is_refused(tmp_path):
    (tmp_path / "store.json").write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(ConfigError, match="newer version"):
        Store(tmp_path).open_for_writing()


def test_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        Store(tmp_path / "file").open_for_writing()
    assert caught.value.key == "store"


@pytest.mark.parametrize(
    "text",
    ["{oops", "when: 2026-99-99", "\xff\xfe", "", "- lr", "lr: -1", "model: {hiden: 3}"],
    ids=["no YAML", "no date", "no text", "empty", "a list", "a wrong value", "another program's key"],
)
def test_a_config_that_is_none_is_refused_in_a_line(tmp_path, text):
    folder = Store(tmp_path).run("a")
    folder.path.mkdir(parents=True)
    folder.config_path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as error:
        folder.config()
    assert "\n" not in str(error.value)


def test_a_config_comes_back_as_it_was_written(tmp_path):
    folder = Store(tmp_path).run("a")
    config = resolve(RunConfig(wd2=0.05, boundary=0.3))
    folder.path.mkdir(parents=True)
    folder.write_config(plain(config))
    assert folder.config() == config


def test_a_config_with_a_key_of_an_older_version_is_read(tmp_path):
    """Every store of before has ``sweep.until_stage``, the trunks' with a number."""
    folder = Store(tmp_path).stage("a")
    config = resolve(RunConfig())
    document = plain(config)
    document["sweep"]["until_stage"] = 1
    folder.write_config(document)
    assert folder.config() == config
