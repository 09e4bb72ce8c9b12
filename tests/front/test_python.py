"""``import bitnet_sweep as bs``: each call on real, tiny trainings."""

import json
import os
import signal
import subprocess
import sys
import threading
from html import unescape

import pandas as pd
import pytest
import torch

import bitnet_sweep as bs
from bitnet_sweep.api.frames import UNITS
from bitnet_sweep.records import FIELDS, LOG_FIELDS
from bitnet_sweep.store import FINISHED, Store
from tests.front.conftest import settings
from tests.sweep.command import is_training, wait_for

pytestmark = pytest.mark.slow


def test_importing_it_is_cheap_and_all_names_are_there():
    code = "import sys, bitnet_sweep as bs"
    code += "; print(*(m for m in ('torch', 'pandas', 'wandb', 'hydra') if m in sys.modules))"
    code += "; [getattr(bs, name) for name in bs.__all__]; assert set(bs.__all__) <= set(dir(bs))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize("name", ["sweep", "report", "records"])
@pytest.mark.parametrize(
    "first", ["", "import bitnet_sweep.{0}; ", "from bitnet_sweep.sweep import orchestrate; "]
)
@pytest.mark.few(2)
def test_a_name_that_is_a_module_too_can_be_called(name, first, tmp_path):
    code = first.format(name) + f"import bitnet_sweep as bs; bs.{name}('nowhere')"
    if name == "sweep":
        code = code.replace("'nowhere'", "{'wd2': []}")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip().splitlines()[-1].startswith("bitnet_sweep.config.checks.ConfigError: ")


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        getattr(bs, "swep")  # noqa: B009 - mypy knows that it is not there


def test_a_plan_trains_nothing_and_names_the_same_runs(swept, corpus_file, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "of somebody else")
    plan = bs.plan({"wd2": [0.0, 0.05]}, **settings(corpus_file, tmp_path / "store"))
    assert plan.run_ids == swept.sweep.run_ids
    assert plan.name == swept.sweep.name
    assert "2 runs sharing 1 trunk" in plan.summary
    assert list(plan.frame["state"]) == ["to train"] * 2
    assert plan.command.startswith("python -m bitnet_sweep -m wd2=0.0,0.05 scale=smoke")
    assert "trunk" in str(plan)
    assert "<table" in plan._repr_html_()
    assert not Store(tmp_path / "store").runs()
    assert not (tmp_path / "store" / "sweeps").exists()
    assert os.environ["WANDB_RUN_ID"] == "of somebody else", "the environment stays as it is"


@pytest.mark.slow
def test_a_sweep_is_what_the_command_makes(swept):
    runs = Store(swept.store).runs()
    assert {folder.id for folder in runs} == set(swept.sweep.run_ids)
    assert list(swept.sweep.frame["state"]) == [FINISHED] * 2
    document = json.loads((swept.store / "sweeps" / f"{swept.sweep.name}.json").read_text())
    assert document["command"].startswith("python -m bitnet_sweep -m wd2=0.0,0.05 scale=smoke")
    html = swept.sweep._repr_html_()
    assert all(run_id in html for run_id in swept.sweep.run_ids)


@pytest.mark.slow
def test_the_same_call_again_trains_nothing(swept, corpus_file, capsys):
    before = {path: path.stat().st_mtime_ns for path in (swept.store / "runs").rglob("*")}
    again = bs.sweep({"wd2": [0.0, 0.05]}, **settings(corpus_file, swept.store))
    assert again == swept.sweep
    assert "0 to train in 0 jobs" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (swept.store / "runs").rglob("*")}


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"wd2": [0.0, -1]}, "wd2=-1.0: must be"),
        ({"wd3": [0.0]}, "wd3=?: no such key; did you mean wd2?"),
        ({"model.hidden": ["16,32"]}, "model.hidden=16,32: must be a whole number"),
        ({"model.hidden": [16, 17]}, "model.hidden=17: must be divisible"),
        ({"optimizer": ["adagrad"]}, "optimizer=adagrad: no such choice; allowed: adam_l2, adamw"),
        ({"sweep.bisect": "wd2:0.0..0.05"}, "use the command line"),
        ({"data.path": "/nowhere.txt"}, "data.path="),
    ],
)
@pytest.mark.parametrize("call", ["plan", "sweep"])
@pytest.mark.few(5)
def test_what_the_command_refuses_is_an_exception(grid, told, call, corpus_file, tmp_path):
    others = {k: v for k, v in settings(corpus_file, tmp_path / "store").items() if k not in grid}
    with pytest.raises(bs.ConfigError) as refused:
        getattr(bs, call)(grid, **others)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Store(tmp_path / "store").runs()


def test_what_only_the_command_finds_out_is_the_same_exception(corpus_file, tmp_path):
    with pytest.raises(bs.ConfigError) as refused:
        bs.sweep({"hydra.launcher.n_jobs": 0, "wd2": [0.0]}, **settings(corpus_file, tmp_path / "store"))
    assert refused.value.key == "hydra.launcher.n_jobs"


@pytest.mark.slow
@pytest.mark.system
def test_a_failed_run_is_an_exception_and_the_others_are_finished(corpus_file, tmp_path):
    store = tmp_path / "store"
    planned = bs.plan({"seed": [0, 1]}, **settings(corpus_file, store))
    (Store(store).run(planned.run_ids[0]).final_path / "in the way").mkdir(parents=True)
    with pytest.raises(bs.FailedRunError, match="1 of 2 runs are not finished"):
        bs.sweep({"seed": [0, 1]}, **settings(corpus_file, store))
    assert bs.open_run(store, planned.run_ids[1]).state == FINISHED


@pytest.mark.slow
@pytest.mark.system
def test_an_interrupt_keeps_what_is_trained_and_the_same_call_goes_on(swept, corpus_file, tmp_path):
    store = tmp_path / "store"
    long = settings(corpus_file, store) | {"steps": 900, "probe_every_steps": 300}

    def interrupt():
        wait_for(lambda: is_training(store))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        bs.sweep({"seed": [0]}, **long)
    thread.join()
    run = bs.open_run(store, "h16")
    assert run.state == "interrupted"
    assert list(store.rglob("latest.json")), "a checkpoint to go on from"
    bs.sweep({"seed": [0]}, **long)
    assert (run.state, len(run.records)) == (FINISHED, 5)  # steps 1, 300, 450, 600 and 900


@pytest.mark.slow
@pytest.mark.system
def test_a_sweep_ends_when_its_program_does(corpus_file, tmp_path):
    store = tmp_path / "store"
    long = settings(str(corpus_file), str(store)) | {"steps": 20_000, "probe_every_steps": 5_000}
    code = f"import bitnet_sweep as bs; bs.sweep({{'seed': [0]}}, **{long!r})"
    program = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for(lambda: is_training(store))
    program.kill()
    program.wait()
    wait_for(lambda: bs.open_run(store, "h16").state == "interrupted", 60)


@pytest.mark.slow
def test_records_have_settings_and_units(swept):
    frame = bs.records(swept.store)
    assert list(frame["run_id"].unique()) == swept.sweep.run_ids
    assert len(frame) == 2 * 20
    assert set(frame["wd2"]) == {0.0, 0.05}
    assert set(frame["lr"]) == {1.5e-3}
    assert set(frame["optimizer.eps"]) == {1e-8}, "YAML calls 1e-08 text"
    assert set(frame["optimizer.name"]) == {"adam_l2"}
    assert set(frame["sweep"]) >= {swept.sweep.name}
    assert all(name.startswith("h16 wd2=") for name in frame["name"])
    assert frame.attrs["units"]["val/loss"] == "nats per token"
    assert frame.attrs["units"]["ternary/absmean/blocks.0.attention.qkv"] == "weight"
    assert not frame.columns.duplicated().any()
    best = frame[frame["step"] == 20].sort_values("val/loss").iloc[0]
    assert best["run_id"] in swept.sweep.run_ids
    pd.testing.assert_frame_equal(frame, bs.records(str(swept.store), sweep=swept.sweep.name))
    pd.testing.assert_frame_equal(frame, swept.sweep.records())


@pytest.mark.slow
def test_the_training_loss_of_a_run_is_a_frame(swept):
    run = bs.open_run(swept.store, swept.sweep.run_ids[0])
    frame = run.training_loss
    assert list(frame["step"]) == list(range(1, 21)), "1 % of 20 steps is less than one"
    assert frame.attrs["units"] == {
        "step": "steps",
        "log/train_loss": "nats per token",
        "log/lr": "dimensionless",
    }
    batches = run.records["train/loss_batch"]
    assert list(frame["log/train_loss"]) == list(batches), "both are of every step here"
    (run.folder / "log.jsonl").rename(run.folder / "aside")
    assert list(run.training_loss.columns) == list(frame.columns)
    assert run.training_loss.empty
    (run.folder / "aside").rename(run.folder / "log.jsonl")


@pytest.mark.parametrize("field", [*FIELDS, *LOG_FIELDS])
def test_every_field_has_a_unit(field):
    assert UNITS[field]


def test_records_of_an_empty_store(tmp_path):
    assert bs.records(tmp_path).empty
    with pytest.raises(bs.ConfigError, match="not recorded here"):
        bs.records(tmp_path, sweep="none")
    with pytest.raises(bs.ConfigError, match="no such folder"):
        bs.records(tmp_path / "none")


@pytest.mark.slow
@pytest.mark.parametrize("by", ["id", "prefix", "name", "words", "number"])
def test_a_run_is_opened_by(swept, by):
    run_id = swept.sweep.run_ids[1]
    name = swept.sweep.frame["name"][1]
    text = {"id": run_id, "prefix": run_id[:6], "name": name, "words": "h16 wd2=0.05", "number": "wd2=5e-2"}[
        by
    ]
    run = bs.open_run(swept.store, text)
    assert (run.run_id, run.name) == (run_id, name)
    assert run.config.wd2 == 0.05
    assert run.folder.is_dir()
    assert list(run.records["step"]) == list(range(1, 21))
    assert run.records.attrs["units"]["step"] == "steps"
    assert set(run.samples) >= {"step", "prompt", "continuation"}
    assert run.status is not None
    assert run.outcome == run.status.outcome is not None
    assert isinstance(run.marks, list)
    assert "finished" in repr(run)
    assert run_id in run._repr_html_()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("h16", "means 2 runs"),
        ("", "no run of"),
        ("../..", "no run of"),
        ("wd2=0.07", "no run of"),
        (" ", "no run of"),
    ],
)
def test_what_names_not_exactly_one_run(swept, text, told):
    with pytest.raises(bs.ConfigError, match=told) as refused:
        bs.open_run(swept.store, text)
    assert all(run_id in str(refused.value) for run_id in swept.sweep.run_ids)


@pytest.mark.slow
def test_a_run_writes_on_as_its_samples_do(swept):
    run = bs.open_run(swept.store, swept.sweep.run_ids[0])
    last = run.samples[run.samples["step"] == 20].iloc[0]
    ids = run.tokenizer.encode(last["prompt"], add_special_tokens=False).ids
    if (
        len(ids) == 8 and run.tokenizer.decode(ids) == last["prompt"]
    ):  # a prompt may be cut inside of a letter
        assert run.generate(last["prompt"], 48) == last["continuation"]
    assert run.generate("ab", 5) == run.generate("ab", max_tokens=5)
    assert isinstance(run.generate("", 3), str)
    assert run.status is not None
    assert sum(p.numel() for p in run.model.parameters()) == run.status.parameters["total"]
    again = bs.load_run(swept.store, run.run_id)
    assert torch.equal(run.model.get_parameter("embedding"), again.get_parameter("embedding"))
    with pytest.raises(bs.ConfigError, match="max_tokens=0: must be a whole number, 1 or more"):
        run.generate("ab", 0)


@pytest.mark.slow
def test_a_report_has_its_tables_and_is_saved(swept, tmp_path):
    report = bs.report(swept.store)
    assert set(report.results.frame["run_id"]) == set(swept.sweep.run_ids)
    assert "loss_transition" in dir(report)
    assert report.results.title in report._repr_html_()
    assert "2 runs" in repr(report)
    assert report.results.about in unescape(report.results._repr_html_())
    with pytest.raises(AttributeError, match="no table 'resluts'"):
        _ = report.resluts
    written = report.save(tmp_path / "out")
    assert tmp_path / "out" / "report.html" in written
    assert all(path.is_file() for path in written)
    assert repr(swept.sweep.report()) == repr(bs.report(swept.store, sweep=swept.sweep.name))
    (tmp_path / "file").write_text("")
    with pytest.raises(bs.ConfigError, match="cannot be written"):
        report.save(tmp_path / "file")


def test_nothing_of_a_store_becomes_html_unescaped(tmp_path):
    sweeps = tmp_path / "sweeps"
    sweeps.mkdir()
    bad = "<script>alert(1)</script>"
    run = {"run_id": "0" * 16, "name": bad, "stage_ids": ["0" * 16], "stage_ends": [2]}
    document = {"command": bad, "overrides": [], "run_ids": ["0" * 16], "runs": [run], "created": ""}
    (sweeps / "<b>.json").write_text(json.dumps(document))
    swept = bs.Sweep(tmp_path, "<b>")
    opened = bs.open_run(tmp_path, "000")
    for html in (swept._repr_html_(), opened._repr_html_(), bs.report(tmp_path)._repr_html_()):
        assert "<script" not in html
        assert "<b>" not in html
