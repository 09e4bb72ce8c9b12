"""``bitnet-sweep export`` on a real, tiny training."""

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

import bitnet_sweep as bs
from bitnet_sweep.store import Store
from tests.front.conftest import settings, verb
from tests.repetition import EVERY

HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("transformers", "accelerate"))
pytestmark = pytest.mark.slow  # it trains, and starts processes
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="the extra export is not installed")

GREEDY = """
import sys
import torch
import torch._dynamo
from transformers import AutoModelForCausalLM, AutoTokenizer
torch._dynamo.config.disable = True
model, tokenizer = (kind.from_pretrained(sys.argv[1]) for kind in (AutoModelForCausalLM, AutoTokenizer))
ids = tokenizer(sys.argv[2], return_tensors="pt").input_ids
made = model.generate(ids, max_new_tokens=12, eos_token_id=-1, attention_mask=torch.ones_like(ids))
sys.stdout.write(tokenizer.decode(made[0, ids.shape[1]:]))
"""


@pytest.fixture(scope="session")
def trained(corpus_file, tmp_path_factory):
    """A folder with ``runs``: one run for each kind of head, rows of 32 tokens."""
    folder = tmp_path_factory.mktemp("exported")
    own = settings(corpus_file, folder / "runs") | {"sequence_length": 32, "steps": 60}
    return folder, bs.sweep({"model.tied": [False, True]}, **own).run_ids


@pytest.mark.system
@needs_extra
@pytest.mark.parametrize("i", [pytest.param(0, id="untied"), pytest.param(1, id="tied", marks=EVERY)])
def test_an_export_is_checked_and_writes_the_same_text(trained, tmp_path, i):
    folder, run_ids = trained
    status, out, err = verb(folder, "export", run_ids[i], "--to=hf", tmp_path / "out")
    assert status == 0, err
    assert "bytes of weights" in out
    assert "tokens/s exported" in out
    run = bs.open_run(folder / "runs", run_ids[i])
    report = json.loads((tmp_path / "out" / "check.json").read_text())
    assert report["tokens"] == report["logits_compared"] == 4096
    assert report["largest_logit_difference"] <= 1e-5
    # the recorded loss is that of precision=mixed
    assert report["loss"] == pytest.approx(run.records["val/loss"].iloc[-1], abs=0.02)
    card = (tmp_path / "out" / "README.md").read_text()
    about = json.loads((tmp_path / "out" / "bitnet_sweep.json").read_text())
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    weights = sum(parameter.numel() for parameter in run.model.parameters())
    assert about["bytes"] == {"export": size, "float32": 4 * weights}
    assert f"{size:,} bytes of weights, {4 * weights:,} in float32" in out
    assert report["perf/tokens_per_s"].keys() == {"export", "here"}
    for told in (run.run_id, run.outcome, "held-out loss", "wd2: ", "commit: ", f"| {size:,} (", "tokens/s"):
        assert told in card
    for prompt in ("the ", "abc def", "<|endoftext|> ghi"):
        done = subprocess.run(
            [sys.executable, "-c", GREEDY, str(tmp_path / "out"), prompt],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == run.generate(prompt, 12)


@pytest.mark.system
@needs_extra
def test_a_model_that_differs_is_not_exported(trained, tmp_path):
    """Here the check's own reader sees another file than the export wrote."""
    folder, run_ids = trained
    code = (
        "import sys, json; from pathlib import Path\n"
        "from bitnet_sweep.export import hf\n"
        "whole = hf.model_config\n"
        "hf.model_config = lambda *a: whole(*a) | {'hidden_act': 'silu'}\n"
        "from bitnet_sweep.commands import main; sys.argv[0] = 'bitnet-sweep'; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", run_ids[0], "--to=hf", str(tmp_path / "out")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "the export is not the same model: 4,096 held-out tokens: loss" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.system
def test_without_the_check(trained, tmp_path):
    folder, run_ids = trained
    status, out, err = verb(folder, "export", run_ids[0], "--to=hf", tmp_path / "a" / "out", "--no-check")
    assert status == 0, err
    assert "check  not made" in out
    names = {path.name for path in (tmp_path / "a" / "out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert "check.json" not in names
    assert "not checked" in (tmp_path / "a" / "out" / "README.md").read_text()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


@pytest.mark.skipif(HAS_EXTRA, reason="the extra export is installed")
def test_a_check_that_cannot_run_is_refused(trained, tmp_path):
    folder, run_ids = trained
    status, out, err = verb(folder, "export", run_ids[0], "--to=hf", tmp_path / "out")
    assert (status, out) == (2, "")
    assert "pip install 'bitnet-sweep[export]', or --no-check" in err
    assert not list(tmp_path.iterdir())


def in_use(folder, run_ids):
    (folder / "out").mkdir()
    (folder / "out" / "mine").touch()
    return run_ids[0]


def without_weights(folder, run_ids):
    Store(folder / "runs").run(run_ids[0]).final_path.unlink()
    return run_ids[0]


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (in_use, "out: is there already; allowed: a new name, or an empty folder"),
        (without_weights, "has no final weights"),
        (lambda folder, run_ids: "nosuch", "RUN=nosuch: no run of runs has such an id or name"),
    ],
    ids=["in use", "no weights", "no such run"],
)
def test_a_refusal_is_one_line_and_2(trained, tmp_path, prepare, told):
    folder, run_ids = trained
    shutil.copytree(folder / "runs", tmp_path / "runs")
    words = prepare(tmp_path, run_ids)
    before = {path for path in tmp_path.rglob("*") if "tokens" not in path.parts}
    status, out, err = verb(tmp_path, "export", words, "--to=hf", "out", "--no-check")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert told in err
    assert {path for path in tmp_path.rglob("*") if "tokens" not in path.parts} == before


def test_a_packing_is_of_gguf(trained, tmp_path):
    words = ("export", trained[1][0], "--to=hf", tmp_path / "out")
    status, out, err = verb(trained[0], *words, "--packing=tq1_0")
    assert (status, out, err) == (2, "", "bitnet_sweep: --packing=tq1_0: allowed with --to=gguf\n")
    status, _, err = verb(trained[0], *words, "--packing=q4_0")
    assert status == 2
    assert "tq2_0" in err
    assert "tq1_0" in err
    assert not list(tmp_path.iterdir())


def test_another_target_is_refused(trained, tmp_path):
    status, _, err = verb(trained[0], "export", trained[1][0], "--to=onnx", tmp_path / "out")
    assert status == 2
    assert "hf" in err
    assert "gguf" in err
